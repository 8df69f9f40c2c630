//! Why a change could not be written or taken back, and whether another try helps.

use std::io;
use std::path::PathBuf;

use uuid::Uuid;

use crate::locate::LocateError;

/// Why a change could not be written or taken back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkspaceError {
    /// The target is not acceptable.
    #[error(transparent)]
    Target(#[from] LocateError),
    /// Another change to the same file is not finished.
    #[error("target_busy: `{file}` is being changed by proposal {by}")]
    Busy {
        /// The file.
        file: String,
        /// The other proposal.
        by: Uuid,
    },
    /// The change was kept, and the file has been written since.
    #[error("superseded: `{0}` was written again after this change was kept")]
    Superseded(String),
    /// The file has changes of somebody else's.
    #[error("uncommitted_changes: `{0}` differs from its last commit; commit or discard that first")]
    Uncommitted(String),
    /// Another process owns this workspace.
    #[error("workspace_in_use: another process holds {0}")]
    InUse(PathBuf),
    /// The disk said no.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
}

impl WorkspaceError {
    /// Would the same call fail for ever? Then the proposal fails instead of being tried again.
    pub const fn is_permanent(&self) -> bool {
        match self {
            Self::Target(LocateError::Io(_)) | Self::Io { .. } | Self::Busy { .. } | Self::InUse(_) => false,
            Self::Target(_) | Self::Superseded(_) | Self::Uncommitted(_) => true,
        }
    }
}

/// Names the step an input/output error happened in.
pub(super) fn at<T>(what: &'static str, result: io::Result<T>) -> Result<T, WorkspaceError> {
    result.map_err(|source| WorkspaceError::Io { what, source })
}
