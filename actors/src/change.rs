//! What a `code_change` object asks for (domain §5.4): its type, what it writes, and where.

use serde_json::Value;

use crate::json::Object;
use crate::tag::tagged;

tagged! {
    /// Kinds of change an instance can execute.
    pub enum ChangeType {
        /// Documentation.
        Documentation = "documentation",
        /// The same behaviour, better written.
        Refactoring = "refactoring",
        /// A repair.
        BugFix = "bug_fix",
        /// Quality work.
        Quality = "quality",
        /// A learned pattern taken over.
        PatternAdoption = "pattern_adoption",
        /// Anything else; must name its target.
        Generic = "generic",
    }
}

tagged! {
    /// Why a change cannot be executed as it is.
    pub enum ChangeError {
        /// It writes nothing.
        EmptyContent = "empty_content",
        /// It does not say where.
        MissingTargetModule = "missing_target_module",
    }
}

impl std::error::Error for ChangeError {}

/// Keys that carry the new content, in order of preference.
const CONTENT_KEYS: [&str; 6] = ["content", "new_code", "fixed_code", "improved_code", "refactored_code", "code"];

/// Keys that name a file, and may create it.
const FILE_KEYS: [&str; 2] = ["file", "target_file"];

/// Keys that name a module, looked up among the workspace's files.
const MODULE_KEYS: [&str; 3] = ["target_module", "module", "target"];

/// Where a change is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A path in the workspace.
    File(String),
    /// A module name, or a path without extension.
    Module(String),
}

/// A change that can be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its type.
    pub change_type: ChangeType,
    /// The whole new content of the target.
    pub content: String,
    /// Where to.
    pub target: Target,
}

/// The change type: from the metadata, else from the change, else generic.
pub fn change_type(metadata_type: Option<&str>, change: &Object) -> ChangeType {
    let named = metadata_type.or_else(|| change.get("type").and_then(Value::as_str));
    named.and_then(ChangeType::from_tag).unwrap_or(ChangeType::Generic)
}

/// The new content, if there is any that is not blank. Looked for in the change itself, then in its `details`.
pub fn content(change: &Object) -> Option<String> {
    text_at(change, &CONTENT_KEYS)
}

/// Where the change goes; an explicit file wins over a module.
pub fn target(change: &Object) -> Option<Target> {
    let file = text_at(change, &FILE_KEYS).map(Target::File);
    file.or_else(|| text_at(change, &MODULE_KEYS).map(Target::Module))
}

/// What conflicts with another open change (domain §7.16): the same file or module, however it is written.
pub fn target_key(change: &Object) -> Option<String> {
    target(change).map(|t| match t {
        Target::File(name) | Target::Module(name) => {
            let path = name.trim().replace("::", "/");
            let path = path.trim_start_matches("./");
            let cut = path.rfind('/').map_or(0, |slash| slash + 1);
            match path[cut..].rfind('.') {
                Some(dot) if dot > 0 => path[..cut + dot].to_owned(),
                _ => path.to_owned(),
            }
        }
    })
}

/// Reads a `code_change` for execution.
pub fn read_change(metadata_type: Option<&str>, change: &Object) -> Result<Change, ChangeError> {
    Ok(Change {
        change_type: change_type(metadata_type, change),
        content: content(change).ok_or(ChangeError::EmptyContent)?,
        // Upstream asks this of generic changes only; here every change is written to a file, so all must say where.
        target: target(change).ok_or(ChangeError::MissingTargetModule)?,
    })
}

fn text_at(change: &Object, keys: &[&str]) -> Option<String> {
    let details = change.get("details").and_then(Value::as_object);
    [Some(change), details].into_iter().flatten().find_map(|place| {
        let text = keys.iter().find_map(|key| place.get(*key)?.as_str().filter(|t| !t.trim().is_empty()))?;
        Some(text.to_owned())
    })
}
