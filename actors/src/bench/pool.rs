//! Connections as a program keeps them: a few, lent to whoever asks, first come first served.

use anyhow::{Context as _, Result};
use tokio::sync::{Mutex, mpsc};

/// The pool, of connections or of whatever is kept with each.
pub(crate) struct Pool<T> {
    free: Mutex<mpsc::UnboundedReceiver<T>>,
    back: mpsc::UnboundedSender<T>,
}

impl<T> Pool<T> {
    /// Lends these out.
    pub(crate) fn of(all: impl IntoIterator<Item = T>) -> Self {
        let (back, free) = mpsc::unbounded_channel();
        for one in all {
            // The receiver is in the next line's hands.
            let _ = back.send(one);
        }
        Self { free: Mutex::new(free), back }
    }

    /// Waits for one, in turn.
    pub(crate) async fn get(&self) -> Result<T> {
        self.free.lock().await.recv().await.context("the pool is closed")
    }

    /// Takes one back.
    pub(crate) fn give_back(&self, one: T) {
        // The receiver lives as long as the pool.
        let _ = self.back.send(one);
    }
}
