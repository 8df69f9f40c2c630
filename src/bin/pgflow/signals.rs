//! SIGINT and SIGTERM: both ask for an orderly end.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::fault::Fault;

/// Signals so close together are one wish.
const SAME_WISH: Duration = Duration::from_secs(1);

/// Both signals, caught from the moment this exists.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Starts to catch them.
    pub(crate) fn catch() -> Result<Self, Fault> {
        let failed = |e| Fault::failed(format!("catch signals: {e}"));
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
        })
    }

    /// Waits for one that is meant as a further one: `timeout`, terminals and wrappers send one wish twice. Cancel safe.
    pub(crate) async fn next_wish(&mut self) -> Result<(), Fault> {
        tokio::time::sleep(SAME_WISH).await;
        *self = Self::catch()?;
        self.next().await;
        Ok(())
    }

    /// Waits for the next one. Cancel safe.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
