//! SIGINT and SIGTERM: both ask for an orderly end.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::fault::Fault;

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

    /// Waits for the next one. Cancel safe.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
