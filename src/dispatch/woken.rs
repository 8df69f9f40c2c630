//! What the listener and the operator share with the dispatcher: lanes notified, and finds that no wake announced.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError, atomic::AtomicU64},
};

/// Finds that no wake announced (W9).
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) found_by_heartbeat: AtomicU64,
    pub(crate) found_by_takeover: AtomicU64,
}

/// Lanes notified and not yet handled.
#[derive(Debug, Default)]
pub(crate) struct Woken {
    /// By a publisher, who found somebody asleep on the lane's key.
    pub(super) announced: HashSet<i32>,
    /// By another runtime, who counts on us now (W12).
    pub(super) told: HashSet<i32>,
}

/// A flood of notifications sets flags; one message is on its way at most.
#[derive(Debug, Default)]
pub(crate) struct WokenLanes {
    woken: Mutex<Woken>,
}

impl WokenLanes {
    /// A publisher's notification; true when the dispatcher must be told.
    pub(crate) fn announced(&self, lane: i32) -> bool {
        self.note(|woken| woken.announced.extend([lane]))
    }

    /// Another runtime's; true when the dispatcher must be told.
    pub(crate) fn told(&self, lanes: impl Iterator<Item = i32>) -> bool {
        self.note(|woken| woken.told.extend(lanes))
    }

    fn note(&self, note: impl FnOnce(&mut Woken)) -> bool {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let first = woken.announced.is_empty() && woken.told.is_empty();
        note(&mut woken);
        first
    }

    pub(super) fn take(&self) -> Woken {
        std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
