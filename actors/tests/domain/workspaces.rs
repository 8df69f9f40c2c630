use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use pgflow_actors::change::{Change, ChangeType, Target};
use pgflow_actors::executor::{ChangeExecutor, FileExecutor};
use pgflow_actors::locate::{LocateError, locate};
use pgflow_actors::workspace::{Applied, Reverted, Workspace, WorkspaceError};
use proptest::prelude::*;
use tempfile::TempDir;
use uuid::Uuid;

const ONE: Uuid = Uuid::from_u128(1);
const TWO: Uuid = Uuid::from_u128(2);

fn change(target: Target, content: &str) -> Change {
    Change { change_type: ChangeType::BugFix, content: content.into(), target }
}

fn file(path: &str) -> Target {
    Target::File(path.into())
}

fn module(name: &str) -> Target {
    Target::Module(name.into())
}

/// A workspace with `billing/tax.py`, `src/app.rs` and `docs/tax.md`.
fn made() -> (TempDir, Workspace) {
    let folder = TempDir::new().unwrap();
    for (path, content) in [("billing/tax.py", "rate = 7\n"), ("src/app.rs", "fn main() {}\n"), ("docs/guide.md", "#")]
    {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let workspace = Workspace::open(folder.path()).unwrap();
    (folder, workspace)
}

fn text(folder: &TempDir, path: &str) -> Option<String> {
    fs::read_to_string(folder.path().join(path)).ok()
}

#[test]
fn a_module_names_the_file_with_its_stem() {
    let (folder, _workspace) = made();
    let root = folder.path().canonicalize().unwrap();
    let find = |target| locate(&root, &target);
    assert_eq!(find(module("billing::tax")).unwrap(), Path::new("billing/tax.py"));
    assert_eq!(find(module("billing/tax.py")).unwrap(), Path::new("billing/tax.py"));
    assert_eq!(find(module("app")).unwrap(), Path::new("src/app.rs"), "by the end of the path");
    assert_eq!(find(module("new/file.rs")).unwrap(), Path::new("new/file.rs"), "with extension it may be new");
    assert!(matches!(find(module("nowhere")), Err(LocateError::Unknown(_))));
    assert!(matches!(find(module("x")), Err(LocateError::Unknown(_))), "not by the end of a name: tax");
    fs::write(root.join("billing/tax.md"), "").unwrap();
    let ambiguous = find(module("billing::tax")).unwrap_err();
    assert_eq!(
        ambiguous.to_string(),
        "ambiguous_target: `billing::tax` could be billing/tax.md, billing/tax.py; name one by `file`"
    );
    fs::write(root.join("app.rs"), "").unwrap();
    assert_eq!(find(module("app")).unwrap(), Path::new("app.rs"), "the exact path wins");
}

#[test]
fn no_path_leads_outside() {
    let (folder, _workspace) = made();
    let root = folder.path().canonicalize().unwrap();
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("secret"), "").unwrap();
    symlink(outside.path(), root.join("door")).unwrap();
    symlink(outside.path().join("secret"), root.join("window.rs")).unwrap();
    symlink(root.join("billing/tax.py"), root.join("inner.rs")).unwrap();
    let tag = |target| locate(&root, &target).unwrap_err().to_string();
    for path in [
        "../x",
        "a/../../x",
        "/etc/passwd",
        "",
        " ",
        ".",
        "a/",
        "a\0b",
        "..\\x",
        "..",
        ".git/hooks/x",
        ".evolution/lock",
        "./.GIT/config",
        "vendor/x/.git/config",
        "vendor/.Git",
    ] {
        assert!(tag(file(path)).starts_with("outside_workspace"), "{path}");
        assert!(tag(module(path)).starts_with("outside_workspace"), "{path}");
    }
    assert!(tag(module("..::x")).starts_with("outside_workspace"));
    for path in ["door/secret", "door/new.rs", "window.rs", "inner.rs"] {
        assert!(tag(file(path)).starts_with("symlink_refused"), "{path}");
    }
    assert!(tag(module("door::secret")).starts_with("symlink_refused"), "a path that exists behind a link");
    assert!(tag(file("billing")).starts_with("not_a_file"));
    assert!(tag(file("billing/tax.py/x")).starts_with("not_a_file"));
}

#[test]
fn apply_and_revert_an_existing_file() {
    let (folder, workspace) = made();
    let path = folder.path().join("billing/tax.py");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let applied = workspace.apply(ONE, &change(module("billing::tax"), "rate = 19\n")).unwrap();
    assert_eq!(applied, Applied { file: "billing/tax.py".into(), created: false, again: false });
    assert_eq!(text(&folder, "billing/tax.py").unwrap(), "rate = 19\n");
    assert_eq!(mode(), 0o750);
    assert!(!workspace.verify_reverted(ONE).unwrap());
    assert_eq!(workspace.revert(ONE).unwrap(), Reverted::Restored);
    assert_eq!(text(&folder, "billing/tax.py").unwrap(), "rate = 7\n");
    assert_eq!(mode(), 0o750);
    assert!(workspace.verify_reverted(ONE).unwrap());
    fs::write(&path, "written later").unwrap();
    assert_eq!(workspace.revert(ONE).unwrap(), Reverted::Already);
    assert_eq!(text(&folder, "billing/tax.py").unwrap(), "written later", "repeating does nothing");
    assert_eq!(workspace.revert(TWO).unwrap(), Reverted::NeverApplied);
}

#[test]
fn reverting_a_new_file_removes_it_and_its_folders() {
    let (folder, workspace) = made();
    let applied = workspace.apply(ONE, &change(file("a/b/new.rs"), "x")).unwrap();
    assert!(applied.created);
    assert_eq!(text(&folder, "a/b/new.rs").unwrap(), "x");
    assert_eq!(workspace.revert(ONE).unwrap(), Reverted::Removed);
    assert!(!folder.path().join("a").exists());
    assert!(workspace.verify_reverted(ONE).unwrap());
    workspace.apply(TWO, &change(file("a/b/new.rs"), "x")).unwrap();
    fs::write(folder.path().join("a/other"), "y").unwrap();
    assert_eq!(workspace.revert(TWO).unwrap(), Reverted::Removed);
    assert_eq!(text(&folder, "a/other").unwrap(), "y", "what others put there stays");
    assert!(!folder.path().join("a/b").exists());
}

#[test]
fn the_check_may_have_touched_or_removed_the_file() {
    let (folder, workspace) = made();
    workspace.apply(ONE, &change(module("app"), "fn main() { new() }")).unwrap();
    fs::remove_dir_all(folder.path().join("src")).unwrap();
    assert_eq!(workspace.revert(ONE).unwrap(), Reverted::Restored);
    assert_eq!(text(&folder, "src/app.rs").unwrap(), "fn main() {}\n");
    workspace.apply(TWO, &change(file("made/up.rs"), "x")).unwrap();
    fs::remove_dir_all(folder.path().join("made")).unwrap();
    assert_eq!(workspace.revert(TWO).unwrap(), Reverted::Removed);
}

/// A process that died in the middle of an execution: the next one opens the workspace and gets the order again.
#[test]
fn a_redelivery_restores_and_runs_again() {
    let (folder, workspace) = made();
    let the_change = change(module("billing::tax"), "rate = 19\n");
    workspace.apply(ONE, &the_change).unwrap();
    fs::write(folder.path().join("billing/tax.py"), "half writ").unwrap();
    drop(workspace);
    let workspace = Workspace::open(folder.path()).unwrap();
    let applied = workspace.apply(ONE, &the_change).unwrap();
    assert!(applied.again && !applied.created);
    assert_eq!(text(&folder, "billing/tax.py").unwrap(), "rate = 19\n");
    assert_eq!(workspace.revert(ONE).unwrap(), Reverted::Restored);
    assert_eq!(text(&folder, "billing/tax.py").unwrap(), "rate = 7\n", "the image of the first run counts");
}

/// Killed after the bytes of the before-image, before its record: nothing was written yet, so it is taken anew.
#[test]
fn a_half_saved_before_image_is_taken_again() {
    let (folder, workspace) = made();
    let own = folder.path().join(".evolution").join(ONE.to_string());
    fs::create_dir(&own).unwrap();
    fs::write(own.join("before.bytes"), "garbage").unwrap();
    fs::write(own.join("writing"), "left over").unwrap();
    assert_eq!(workspace.revert(ONE).unwrap(), Reverted::NeverApplied);
    workspace.apply(ONE, &change(module("billing::tax"), "rate = 19\n")).unwrap();
    workspace.revert(ONE).unwrap();
    assert_eq!(text(&folder, "billing/tax.py").unwrap(), "rate = 7\n");
}

#[test]
fn a_damaged_before_image_is_reported_not_restored() {
    let (folder, workspace) = made();
    workspace.apply(ONE, &change(module("billing::tax"), "rate = 19\n")).unwrap();
    fs::write(folder.path().join(".evolution").join(ONE.to_string()).join("before.bytes"), "x").unwrap();
    let error = workspace.revert(ONE).unwrap_err();
    assert!(error.to_string().contains("wrong length"), "{error}");
    assert_eq!(text(&folder, "billing/tax.py").unwrap(), "rate = 19\n");
}

#[test]
fn an_open_change_owns_its_file_until_kept() {
    let (folder, workspace) = made();
    workspace.apply(ONE, &change(module("billing::tax"), "one")).unwrap();
    let busy = workspace.apply(TWO, &change(module("billing::tax"), "two")).unwrap_err();
    assert!(matches!(busy, WorkspaceError::Busy { by: ONE, .. }) && !busy.is_permanent());
    workspace.apply(Uuid::from_u128(3), &change(module("app"), "elsewhere")).unwrap();
    workspace.keep(ONE).unwrap();
    workspace.apply(TWO, &change(module("billing::tax"), "two")).unwrap();
    let superseded = workspace.revert(ONE).unwrap_err();
    assert!(matches!(superseded, WorkspaceError::Superseded(_)) && superseded.is_permanent());
    assert_eq!(workspace.revert(TWO).unwrap(), Reverted::Restored);
    assert_eq!(workspace.revert(ONE).unwrap(), Reverted::Restored, "a kept change can go while nothing newer is there");
    assert_eq!(text(&folder, "billing/tax.py").unwrap(), "rate = 7\n");
}

#[test]
fn a_workspace_has_one_owner() {
    let (folder, workspace) = made();
    assert!(matches!(Workspace::open(folder.path()), Err(WorkspaceError::InUse(_))));
    drop(workspace);
    Workspace::open(folder.path()).unwrap();
    let missing = Workspace::open(folder.path().join("missing")).unwrap_err();
    assert!(!missing.is_permanent());
}

/// A link put in the way after the change must not send the restore elsewhere.
#[test]
fn reverting_does_not_follow_a_new_link() {
    let (folder, workspace) = made();
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("tax.py"), "theirs").unwrap();
    workspace.apply(ONE, &change(module("billing::tax"), "one")).unwrap();
    fs::remove_dir_all(folder.path().join("billing")).unwrap();
    symlink(outside.path(), folder.path().join("billing")).unwrap();
    assert!(workspace.revert(ONE).unwrap_err().is_permanent());
    assert_eq!(fs::read_to_string(outside.path().join("tax.py")).unwrap(), "theirs");
}

#[tokio::test]
async fn the_executor_does_the_same_off_the_async_threads() {
    let (folder, workspace) = made();
    let executor = FileExecutor::new(workspace);
    executor.apply(ONE, change(module("app"), "new")).await.unwrap();
    assert!(!executor.verify(ONE).await.unwrap());
    assert_eq!(executor.revert(ONE).await.unwrap(), Reverted::Restored);
    assert!(executor.verify(ONE).await.unwrap());
    executor.keep(ONE).await.unwrap();
    assert_eq!(text(&folder, "src/app.rs").unwrap(), "fn main() {}\n");
    assert_eq!(executor.workspace().root(), folder.path().canonicalize().unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_byte_comes_back(before in prop::option::of(prop::collection::vec(any::<u8>(), 0..2000)), after in ".*", again: bool) {
        let (folder, workspace) = made();
        let path = folder.path().join("billing/data.bin");
        if let Some(bytes) = &before {
            fs::write(&path, bytes).unwrap();
        }
        let the_change = change(file("billing/data.bin"), &after);
        workspace.apply(ONE, &the_change).unwrap();
        if again {
            workspace.apply(ONE, &the_change).unwrap();
        }
        prop_assert_eq!(fs::read(&path).unwrap(), after.into_bytes());
        workspace.revert(ONE).unwrap();
        prop_assert_eq!(fs::read(&path).ok(), before);
        prop_assert!(workspace.verify_reverted(ONE).unwrap());
    }

    #[test]
    fn whatever_the_path_it_stays_inside(path in "[a./\\\\: ~-]{0,12}") {
        let folder = TempDir::new().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for target in [file(&path), module(&path)] {
            if let Ok(found) = locate(&root, &target) {
                prop_assert!(root.join(&found).starts_with(&root));
                prop_assert!(found.components().all(|c| matches!(c, std::path::Component::Normal(_))));
            }
        }
    }
}

/// Fear: what was taken back is kept on disk for ever.
#[test]
fn the_next_change_forgets_what_was_taken_back() {
    let (folder, workspace) = made();
    workspace.apply(ONE, &change(file("docs/guide.md"), "x")).unwrap();
    workspace.revert(ONE).unwrap();
    assert!(workspace.before_image(ONE).unwrap().is_some());
    workspace.apply(TWO, &change(file("billing/tax.py"), "y")).unwrap();
    assert!(workspace.before_image(ONE).unwrap().is_none());
    assert_eq!(workspace.revert(ONE).unwrap(), Reverted::NeverApplied);
    assert!(workspace.verify_reverted(ONE).unwrap());
    assert_eq!(text(&folder, "docs/guide.md").unwrap(), "#");
    workspace.forget(TWO).unwrap();
    assert_eq!(workspace.revert(TWO).unwrap(), Reverted::Restored, "what is in place is not forgotten");
    workspace.forget(TWO).unwrap();
    assert_eq!(workspace.revert(TWO).unwrap(), Reverted::NeverApplied);
}
