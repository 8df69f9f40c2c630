//! A workspace that is a git repository: every change is a commit, and taking it back is another one that reverts it.
//!
//! The bytes come from the before-image, which is exact and survives a crash; git gets the history of it. Only the changed
//! file is committed, whatever else is staged. No hook runs: what agents wrote has no business in the instance's process.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use uuid::Uuid;

/// A repository whose top is the workspace.
#[derive(Debug, Clone)]
pub(crate) struct Git {
    root: PathBuf,
}

/// What git knows of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tracked {
    /// As committed, or not there yet and not ignored.
    Clean,
    /// Changed since the last commit.
    Dirty,
    /// None of git's business: ignored, or never added.
    No,
}

const CONFIG: [&str; 10] = [
    "-c",
    "user.name=evolution",
    "-c",
    "user.email=evolution@localhost",
    "-c",
    "commit.gpgsign=false",
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.fsmonitor=false",
];

/// The line of a commit by which it is found again.
const TRAILER: &str = "Evolution-Proposal";

impl Git {
    /// The repository at `root`, if there is one. A repository further up is somebody else's.
    pub(crate) fn at(root: &Path) -> Option<Self> {
        root.join(".git").exists().then(|| Self { root: root.to_owned() })
    }

    /// What git knows of a file.
    pub(crate) fn tracked(&self, file: &str) -> io::Result<Tracked> {
        let status = self.run(["status", "--porcelain", "--ignored", "--untracked-files=all", "--", file])?;
        Ok(match status.get(..2) {
            None => Tracked::Clean,
            Some("!!" | "??") => Tracked::No,
            Some(_) => Tracked::Dirty,
        })
    }

    /// Is a file that is not there yet ignored?
    pub(crate) fn ignores(&self, file: &str) -> bool {
        self.run(["check-ignore", "--quiet", "--", file]).is_ok()
    }

    /// Commits a change. Nothing to commit is fine: a run before this one did.
    pub(crate) fn commit_change(&self, proposal: Uuid, file: &str) -> io::Result<()> {
        self.commit(file, &format!("Change {file}\n\n{TRAILER}: {proposal}"))
    }

    /// Commits the restored file, as `git revert` of the change's commit does.
    pub(crate) fn commit_revert(&self, proposal: Uuid, file: &str) -> io::Result<()> {
        let trailer = format!("--grep=^{TRAILER}: {proposal}$");
        let change = self.run(["log", "-1", "--format=%H", &trailer, "--", file])?;
        let reverts = if change.trim().is_empty() {
            String::new()
        } else {
            format!("This reverts commit {}.\n\n", change.trim())
        };
        self.commit(file, &format!("Revert \"Change {file}\"\n\n{reverts}{TRAILER}: {proposal}"))
    }

    fn commit(&self, file: &str, message: &str) -> io::Result<()> {
        // A file that is neither on disk nor in the index is one that git does not take; its removal, if any, is staged.
        if self.root.join(file).exists() || !self.run(["ls-files", "--", file])?.is_empty() {
            self.run(["add", "--all", "--", file])?;
        }
        if self.run(["status", "--porcelain", "--untracked-files=all", "--", file])?.is_empty() {
            return Ok(());
        }
        self.run(["commit", "--quiet", "--no-verify", "--message", message, "--only", "--", file]).map(drop)
    }

    fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> io::Result<String> {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.root).args(CONFIG).args(arguments).stdin(Stdio::null());
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            command.env_remove(name);
        }
        let output = command.env("GIT_TERMINAL_PROMPT", "0").output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("git failed: {}", said.trim())))
    }
}
