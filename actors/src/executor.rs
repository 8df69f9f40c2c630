//! Executing a change as the instance's actors see it: apply, revert, verify (domain §3.5), off the async threads.

use std::future::Future;
use std::io;
use std::sync::Arc;

use uuid::Uuid;

use crate::change::Change;
use crate::workspace::{Applied, Reverted, Workspace, WorkspaceError};

/// Writes changes and takes them back. All calls may be repeated.
pub trait ChangeExecutor: Send + Sync + 'static {
    /// Writes the change, after undoing an unfinished earlier run of it.
    fn apply(&self, proposal: Uuid, change: Change) -> impl Future<Output = Result<Applied, WorkspaceError>> + Send;

    /// Takes the change back.
    fn revert(&self, proposal: Uuid) -> impl Future<Output = Result<Reverted, WorkspaceError>> + Send;

    /// Is everything as before the change?
    fn verify(&self, proposal: Uuid) -> impl Future<Output = Result<bool, WorkspaceError>> + Send;

    /// What followed from taking it back is done: from here on it was never written.
    fn forget(&self, proposal: Uuid) -> impl Future<Output = Result<(), WorkspaceError>> + Send;

    /// The change proved itself.
    fn keep(&self, proposal: Uuid) -> impl Future<Output = Result<(), WorkspaceError>> + Send;
}

/// The executor of file-based work.
///
/// Dropping a call's future does not interrupt the disk: what was begun is finished, in the background.
#[derive(Debug, Clone)]
pub struct FileExecutor {
    workspace: Arc<Workspace>,
}

impl FileExecutor {
    /// Executes in this workspace.
    pub fn new(workspace: Workspace) -> Self {
        Self { workspace: Arc::new(workspace) }
    }

    /// The workspace.
    pub fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Workspace) -> Result<T, WorkspaceError> + Send + 'static,
    ) -> Result<T, WorkspaceError> {
        let workspace = Arc::clone(&self.workspace);
        tokio::task::spawn_blocking(move || call(&workspace)).await.unwrap_or_else(|e| {
            Err(WorkspaceError::Io { what: "executing in the workspace", source: io::Error::other(e) })
        })
    }
}

impl ChangeExecutor for FileExecutor {
    async fn apply(&self, proposal: Uuid, change: Change) -> Result<Applied, WorkspaceError> {
        self.blocking(move |w| w.apply(proposal, &change)).await
    }

    async fn revert(&self, proposal: Uuid) -> Result<Reverted, WorkspaceError> {
        self.blocking(move |w| w.revert(proposal)).await
    }

    async fn verify(&self, proposal: Uuid) -> Result<bool, WorkspaceError> {
        self.blocking(move |w| w.verify_reverted(proposal)).await
    }

    async fn forget(&self, proposal: Uuid) -> Result<(), WorkspaceError> {
        self.blocking(move |w| w.forget(proposal)).await
    }

    async fn keep(&self, proposal: Uuid) -> Result<(), WorkspaceError> {
        self.blocking(move |w| w.keep(proposal)).await
    }
}
