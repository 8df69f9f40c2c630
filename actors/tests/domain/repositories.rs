//! A workspace that is a git repository: a change is a commit, its end another.

use std::path::Path;
use std::process::Command;

use pgflow_actors::change::{Change, ChangeType, Target};
use pgflow_actors::workspace::{Reverted, Workspace, WorkspaceError};
use tempfile::TempDir;
use uuid::Uuid;

const ONE: Uuid = Uuid::from_u128(1);
const TWO: Uuid = Uuid::from_u128(2);

fn git(folder: &Path, arguments: &[&str]) -> String {
    let identity = ["-c", "user.name=someone", "-c", "user.email=someone@example.com"];
    let output = Command::new("git").arg("-C").arg(folder).args(identity).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn repository() -> (TempDir, Workspace) {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    git(at, &["init", "--quiet"]);
    std::fs::write(at.join("tax.py"), b"rate = 7\n\xff").unwrap();
    std::fs::write(at.join("other.py"), "other\n").unwrap();
    std::fs::write(at.join(".gitignore"), "*.log\n").unwrap();
    git(at, &["add", "--all"]);
    git(at, &["commit", "--quiet", "--message", "first"]);
    let workspace = Workspace::open(at).unwrap();
    (folder, workspace)
}

fn change(file: &str, content: &str) -> Change {
    Change { change_type: ChangeType::Refactoring, content: content.into(), target: Target::File(file.into()) }
}

/// Fear: git_revert is a word, or leaves a tree that is not the one before.
#[test]
fn a_rollback_is_a_commit_that_reverts_the_change() {
    let (folder, workspace) = repository();
    let at = folder.path();
    let before = git(at, &["rev-parse", "HEAD"]);
    workspace.apply(ONE, &change("tax.py", "rate = 8\n")).unwrap();
    let applied = git(at, &["rev-parse", "HEAD"]);
    assert_eq!(git(at, &["diff", "--name-only", &before, &applied]), "tax.py");
    assert!(git(at, &["log", "-1", "--format=%B"]).contains(&format!("Evolution-Proposal: {ONE}")));
    assert_eq!(workspace.revert(ONE).unwrap(), Reverted::Restored);
    assert_eq!(git(at, &["diff", &before, "HEAD"]), "", "the tree is the one before");
    let told = git(at, &["log", "-1", "--format=%B"]);
    assert!(
        told.starts_with("Revert \"Change tax.py\"") && told.contains(&format!("This reverts commit {applied}.")),
        "{told}"
    );
    assert_eq!(git(at, &["status", "--porcelain"]), "");
    assert_eq!(git(at, &["rev-list", "--count", "HEAD"]), "3");
    assert!(workspace.verify_reverted(ONE).unwrap());
    assert_eq!(workspace.revert(ONE).unwrap(), Reverted::Already);
    assert_eq!(git(at, &["rev-list", "--count", "HEAD"]), "3");
}

/// Fear: a new file stays in the history's tree, or an ignored one is forced into it.
#[test]
fn new_files_are_committed_and_ignored_ones_are_not() {
    let (folder, workspace) = repository();
    let at = folder.path();
    let before = git(at, &["rev-parse", "HEAD"]);
    workspace.apply(ONE, &change("deep/new.py", "x\n")).unwrap();
    assert_eq!(git(at, &["ls-files", "deep"]), "deep/new.py");
    assert_eq!(workspace.revert(ONE).unwrap(), Reverted::Removed);
    assert_eq!(git(at, &["diff", &before, "HEAD"]), "");
    workspace.apply(TWO, &change("run.log", "x\n")).unwrap();
    assert_eq!(git(at, &["status", "--porcelain"]), "");
    assert_eq!(workspace.revert(TWO).unwrap(), Reverted::Removed);
    assert_eq!(git(at, &["rev-list", "--count", "HEAD"]), "3");
}

/// Fear: somebody's unfinished work is committed under an agent's name, or something else that is staged.
#[test]
fn what_others_left_uncommitted_stays_theirs() {
    let (folder, workspace) = repository();
    let at = folder.path();
    std::fs::write(at.join("other.py"), "unfinished\n").unwrap();
    git(at, &["add", "other.py"]);
    let refused = workspace.apply(ONE, &change("other.py", "x\n")).unwrap_err();
    assert!(matches!(refused, WorkspaceError::Uncommitted(_)) && refused.is_permanent());
    workspace.apply(TWO, &change("tax.py", "rate = 8\n")).unwrap();
    workspace.revert(TWO).unwrap();
    assert_eq!(git(at, &["status", "--porcelain"]), "M  other.py", "still staged, still not committed");
}

/// Fear: a crash between file and commit leaves one without the other for ever.
#[test]
fn a_run_that_was_cut_short_is_made_good() {
    let (folder, workspace) = repository();
    let at = folder.path();
    let before = git(at, &["rev-parse", "HEAD"]);
    workspace.apply(ONE, &change("tax.py", "rate = 8\n")).unwrap();
    // Cut before its commit: the file is written, the history knows nothing.
    git(at, &["reset", "--quiet", "--mixed", &before]);
    assert!(workspace.apply(ONE, &change("tax.py", "rate = 8\n")).unwrap().again);
    assert_eq!(git(at, &["rev-list", "--count", "HEAD"]), "2");
    // Cut after its commit.
    assert!(workspace.apply(ONE, &change("tax.py", "rate = 8\n")).unwrap().again);
    assert_eq!(git(at, &["rev-list", "--count", "HEAD"]), "2");
    workspace.revert(ONE).unwrap();
    assert_eq!(git(at, &["diff", &before, "HEAD"]), "");
    assert_eq!(git(at, &["status", "--porcelain"]), "");
}

/// Fear: of a new file, what a crash or a full disk left half done can never be taken back.
#[test]
fn taking_a_new_file_back_can_be_repeated_wherever_it_was_cut() {
    let (folder, workspace) = repository();
    let at = folder.path();
    let before = git(at, &["rev-parse", "HEAD"]);
    let reopened = |standing: &str| {
        let record = at.join(".evolution").join(ONE.to_string()).join("before.json");
        let text = std::fs::read_to_string(&record).unwrap();
        assert!(text.contains(standing), "{text}");
        std::fs::write(&record, text.replace(standing, "\"open\"")).unwrap();
    };
    // Cut before the change's commit: git never heard of the file.
    workspace.apply(ONE, &change("deep/new.py", "x\n")).unwrap();
    git(at, &["reset", "--quiet", "--mixed", &before]);
    assert_eq!(workspace.revert(ONE).unwrap(), Reverted::Removed);
    // Cut before the record was closed.
    reopened("\"reverted\"");
    assert_eq!(workspace.revert(ONE).unwrap(), Reverted::Removed);
    assert_eq!(git(at, &["rev-parse", "HEAD"]), before);
    // Cut while the removal was committed: it is staged.
    workspace.apply(ONE, &change("deep/new.py", "x\n")).unwrap();
    git(at, &["rm", "--quiet", "deep/new.py"]);
    assert_eq!(workspace.revert(ONE).unwrap(), Reverted::Removed);
    assert_eq!(git(at, &["diff", &before, "HEAD"]), "");
    assert_eq!(git(at, &["status", "--porcelain"]), "");
    assert_eq!(git(at, &["rev-list", "--count", "HEAD"]), "3");
    assert!(workspace.verify_reverted(ONE).unwrap());
}
