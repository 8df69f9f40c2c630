//! A short hold between full claims, so that workers which end together are claimed for together. Pure.
//!
//! Without it, the first worker that is back after a full claim is claimed for alone, and the others, back a moment later,
//! wait for that claim: claims of one and of the rest take turns, each with its commit. Only handlers that end within
//! [`HOLD_MS`] are waited for, and no longer than that; nothing is held on the way to sleep or from it.

use std::time::{Duration, Instant};

/// The longest hold, and how soon after a full claim a worker must be back for the next one to be held, in ms.
pub(super) const HOLD_MS: u64 = 1;

/// What a queue's last claim of normal and low messages promises about its workers.
#[derive(Debug, Default)]
pub(super) struct Hold {
    /// When the last full claim answered, until its first worker is back.
    claimed_at: Option<Instant>,
    /// The last full claim's first worker was back within the limit.
    quick: bool,
    /// Claim nothing before this time, or so many idle workers.
    hold: Option<(Instant, usize)>,
}

impl Hold {
    /// A claim answered; `full`: it got all it asked for, and when its workers are back, so many will be idle.
    pub(super) fn claimed(&mut self, now: Instant, full: Option<usize>) {
        self.claimed_at = full.map(|_| now);
        self.hold = full.filter(|_| self.quick).map(|idle| (now + Duration::from_millis(HOLD_MS), idle));
        self.quick &= full.is_some();
    }

    /// A worker is back.
    pub(super) fn returned(&mut self, now: Instant) {
        if let Some(at) = self.claimed_at.take() {
            self.quick = now - at <= Duration::from_millis(HOLD_MS);
        }
    }

    /// Until when the next claim is held, given how many workers are idle.
    pub(super) fn until(&self, now: Instant, idle: usize) -> Option<Instant> {
        self.hold.filter(|(until, enough)| now < *until && idle < *enough).map(|(until, _)| until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_micros(100);
    const LONG: Duration = Duration::from_millis(HOLD_MS + 1);

    /// Fear: no-op handlers are claimed for one by one.
    #[test]
    fn quick_workers_are_waited_for_together() {
        let (mut hold, now) = (Hold::default(), Instant::now());
        hold.claimed(now, Some(4));
        assert_eq!(hold.until(now, 1), None, "nothing is known yet");
        hold.returned(now + TICK);
        hold.claimed(now + 2 * TICK, Some(4));
        let until = hold.until(now + 3 * TICK, 1).expect("held");
        assert_eq!(hold.until(now + 3 * TICK, 4), None, "all are back");
        assert_eq!(hold.until(until, 1), None, "never longer than its limit");
    }

    /// Fear: a worker whose handler takes long idles for the sake of the others.
    #[test]
    fn slow_workers_are_not_waited_for() {
        let (mut hold, now) = (Hold::default(), Instant::now());
        hold.claimed(now, Some(4));
        hold.returned(now + LONG);
        hold.claimed(now + LONG, Some(4));
        assert_eq!(hold.until(now + LONG, 1), None);
    }

    /// Fear: a message that arrives alone is held.
    #[test]
    fn nothing_is_held_after_a_claim_that_was_not_full() {
        let (mut hold, now) = (Hold::default(), Instant::now());
        hold.claimed(now, Some(4));
        hold.returned(now + TICK);
        hold.claimed(now + TICK, None);
        assert_eq!(hold.until(now + TICK, 1), None);
        hold.claimed(now + TICK, Some(1));
        assert_eq!(hold.until(now + TICK, 0), None, "and what was known is forgotten");
    }
}
