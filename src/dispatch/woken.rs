//! What the listener and the operator share with the dispatcher: keys notified, and what is counted.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError, atomic::AtomicU64},
};

/// What an instance counts for whoever holds its [`crate::Runtime`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Notified keys, once for each group of a queue that has lanes on the key.
    pub(crate) wakes: AtomicU64,
    /// Claim statements, those that found nothing included.
    pub(crate) claims: AtomicU64,
    /// Finds that no wake announced (W9).
    pub(crate) found_by_heartbeat: AtomicU64,
    pub(crate) found_by_takeover: AtomicU64,
}

/// Keys notified and not yet handled. A flood of notifications sets flags; one message is on its way at most.
pub(crate) struct WokenKeys {
    keys: Mutex<HashSet<i32>>,
}

impl WokenKeys {
    pub(crate) fn new() -> Self {
        Self { keys: Mutex::default() }
    }

    /// Notes a key; true when the dispatcher must be told.
    pub(crate) fn note(&self, key: i32) -> bool {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let first = keys.is_empty();
        keys.insert(key);
        first
    }

    pub(super) fn take(&self) -> HashSet<i32> {
        std::mem::take(&mut *self.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
