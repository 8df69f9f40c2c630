//! What waits, where a queue's dispatcher and its workers both reach it.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use super::Ahead;
use crate::{address::Outlet, settle::Delivery};

/// Sent up to the dispatcher: half of what waited has been taken, it may be time for a claim.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunsLow;

/// One queue's. Deliveries in it hand themselves back when it is emptied, or gone.
#[derive(Clone)]
pub(crate) struct Shelf {
    ahead: Arc<Mutex<Ahead<Delivery>>>,
    runs_low: Outlet<RunsLow>,
}

impl Shelf {
    pub(crate) fn new(runs_low: Outlet<RunsLow>) -> Self {
        Self { ahead: Arc::default(), runs_low }
    }

    /// For the dispatcher. Nothing that is taken out may be dropped under the lock.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Ahead<Delivery>> {
        self.ahead.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// For a worker, whose run took so long, which is noted: what it may run next without coming back.
    pub(crate) fn after_run(&self, took: Duration) -> Option<Delivery> {
        let (next, low) = {
            let mut ahead = self.lock();
            let now = Instant::now();
            ahead.ran(now, took);
            ahead.pop(now)
        };
        if low {
            self.runs_low.send(RunsLow);
        }
        next
    }
}
