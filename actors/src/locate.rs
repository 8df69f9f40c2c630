//! From a change's target to a file of the workspace, and never to one outside it.
//!
//! The rule: an explicit `file` (or `target_file`) is a path and may be new. A module (`target_module`, `module`,
//! `target`) is a path too if it has an extension; else its `::` become `/` and it names the one existing file whose
//! path without extension is that, or ends in it: `billing::tax` finds `billing/tax.rs` and `src/billing/tax.rs`.
//! Several candidates are an error, none is one too.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::change::Target;

/// The workspace's own folder.
pub(crate) const OWN_FOLDER: &str = ".evolution";

/// Folders nothing is looked up in, besides hidden ones.
const SKIPPED: [&str; 2] = ["target", "node_modules"];

/// Most files looked through.
const FILES_MAX: usize = 50_000;

/// Why a target is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocateError {
    /// It points outside, or into a folder that is not the change's business.
    #[error("outside_workspace: `{0}` is not a plain relative path in the workspace")]
    Outside(String),
    /// A part of it is a symbolic link, which may lead anywhere.
    #[error("symlink_refused: `{0}` is a symbolic link")]
    Symlink(String),
    /// It is there, but no regular file.
    #[error("not_a_file: `{0}` is not a regular file")]
    NotAFile(String),
    /// No file has that name.
    #[error("unknown_target: no file is called `{0}`; name one by `file`")]
    Unknown(String),
    /// Several files have that name.
    #[error("ambiguous_target: `{name}` could be {}; name one by `file`", candidates.join(", "))]
    Ambiguous {
        /// The module.
        name: String,
        /// The files, at most five.
        candidates: Vec<String>,
    },
    /// Too many files to look through.
    #[error("workspace_too_large: more than {FILES_MAX} files; name the target by `file`")]
    TooLarge,
    /// The disk said no.
    #[error("reading the workspace: {0}")]
    Io(#[from] io::Error),
}

/// The file a target means, relative to `root`, which must be canonical.
pub fn locate(root: &Path, target: &Target) -> Result<PathBuf, LocateError> {
    match target {
        Target::File(path) => inside(root, path),
        Target::Module(name) => {
            let path = name.trim().replace("::", "/");
            let relative = inside_unchecked(&path)?;
            if relative.extension().is_some() || root.join(&relative).is_file() {
                return inside(root, &path);
            }
            let found = by_stem(root, &relative, name)?;
            inside(root, &found)
        }
    }
}

/// Accepts a relative path whose parts are neither links nor special; the last may be missing.
pub(crate) fn inside(root: &Path, path: &str) -> Result<PathBuf, LocateError> {
    let relative = inside_unchecked(path)?;
    let mut at = root.to_path_buf();
    let last = relative.components().count();
    for (index, part) in relative.components().enumerate() {
        at.push(part);
        let kind = match fs::symlink_metadata(&at) {
            Ok(metadata) => metadata.file_type(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => break,
            Err(e) => return Err(e.into()),
        };
        if kind.is_symlink() {
            return Err(LocateError::Symlink(path.to_owned()));
        }
        let fits = if index + 1 == last { kind.is_file() } else { kind.is_dir() };
        if !fits {
            return Err(LocateError::NotAFile(path.to_owned()));
        }
    }
    Ok(relative)
}

fn inside_unchecked(path: &str) -> Result<PathBuf, LocateError> {
    let outside = || LocateError::Outside(path.to_owned());
    if path.trim().is_empty() || path.contains(['\0', '\\']) || path.ends_with('/') {
        return Err(outside());
    }
    let mut relative = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => relative.push(name),
            _ => return Err(outside()),
        }
    }
    let is = |part: Component<'_>, name: &str| part.as_os_str().eq_ignore_ascii_case(name);
    // Git would run what is written into a repository's own folder, also a nested one's.
    let gits = relative.components().any(|part| is(part, ".git"));
    match relative.components().next() {
        Some(first) if !gits && !is(first, OWN_FOLDER) => Ok(relative),
        _ => Err(outside()),
    }
}

fn by_stem(root: &Path, wanted: &Path, name: &str) -> Result<String, LocateError> {
    let mut files = Vec::new();
    walk(root, Path::new(""), &mut files)?;
    files.sort();
    let exact: Vec<&PathBuf> = files.iter().filter(|f| f.with_extension("") == wanted).collect();
    let found = if exact.is_empty() {
        files.iter().filter(|f| f.with_extension("").ends_with(wanted)).collect()
    } else {
        exact
    };
    let text = |file: &PathBuf| file.to_string_lossy().into_owned();
    match found.as_slice() {
        [] => Err(LocateError::Unknown(name.to_owned())),
        [one] => Ok(text(one)),
        many => {
            let candidates = many.iter().take(5).map(|f| text(f)).collect();
            Err(LocateError::Ambiguous { name: name.to_owned(), candidates })
        }
    }
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), LocateError> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let name = entry.file_name();
        let kind = entry.file_type()?;
        let shown = name.to_string_lossy();
        if shown.starts_with('.') {
            continue;
        }
        if kind.is_dir() && !SKIPPED.contains(&shown.as_ref()) {
            walk(root, &folder.join(&name), files)?;
        } else if kind.is_file() {
            if files.len() >= FILES_MAX {
                return Err(LocateError::TooLarge);
            }
            files.push(folder.join(&name));
        }
    }
    Ok(())
}
