//! The executions under way in this process, so that a rollback can stop one and wait until it has ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use uuid::Uuid;

/// All runs of this process.
#[derive(Debug, Clone, Default)]
pub struct Runs {
    running: Arc<Mutex<HashMap<Uuid, watch::Sender<bool>>>>,
}

/// One run; it has ended when this is dropped.
#[derive(Debug)]
pub struct Running {
    runs: Runs,
    proposal: Uuid,
    cancelled: watch::Receiver<bool>,
}

impl Runs {
    /// Begins a run, unless one of this proposal is under way.
    pub fn begin(&self, proposal: Uuid) -> Option<Running> {
        let mut running = self.lock();
        if running.contains_key(&proposal) {
            return None;
        }
        let (sender, cancelled) = watch::channel(false);
        running.insert(proposal, sender);
        Some(Running { runs: self.clone(), proposal, cancelled })
    }

    /// Asks the run of this proposal to end and waits until it has; answers whether there was one.
    pub async fn cancel(&self, proposal: Uuid) -> bool {
        let Some(sender) = self.lock().get(&proposal).cloned() else { return false };
        sender.send_replace(true);
        // Closed when the run has dropped its receiver.
        sender.closed().await;
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, watch::Sender<bool>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// Was it asked to end?
    pub fn is_cancelled(&self) -> bool {
        *self.cancelled.borrow()
    }

    /// Completes when it is asked to end.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut cancelled = self.cancelled.clone();
        async move {
            // The sender lives as long as the run.
            let _ = cancelled.wait_for(|asked| *asked).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.runs.lock().remove(&self.proposal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fear: a rollback goes on while the execution it cancelled still writes.
    #[tokio::test]
    async fn cancelling_waits_for_the_end() {
        let runs = Runs::default();
        let id = Uuid::now_v7();
        let run = runs.begin(id).expect("nothing runs yet");
        assert!(runs.begin(id).is_none());
        let cancelling = tokio::spawn({
            let runs = runs.clone();
            async move { runs.cancel(id).await }
        });
        run.cancelled().await;
        assert!(run.is_cancelled() && !cancelling.is_finished());
        drop(run);
        assert!(cancelling.await.expect("no panic"));
        assert!(!runs.cancel(id).await);
        assert!(runs.begin(id).is_some());
    }
}
