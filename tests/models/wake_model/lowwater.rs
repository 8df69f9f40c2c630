//! The low-water mark: a claim reads only `seq >= low`, so `low` must never pass a
//! row that can still become claimable.
//!
//! Writers are publishing transactions of one row each; consumers keep one `low` each. A scan from
//! `low` that finds nothing decides on sleep, too, so that nobody need scan from the start:
//! what comes back below `low` must wake whoever sleeps (what is published above it does, by the
//! wake-up protocol).

use stateright::Property;

use super::state::{Mask, bit, has};

/// Which part of the rule, if any, is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LowRule {
    Design,
    /// `low` := candidate at once.
    NoFence,
    /// `low` := candidate after the fence, without the scan from the old low.
    NoScan,
    /// The number is drawn before the table is locked: by a `nextval` of its own, or out of a
    /// block that a sequence with CACHE above 1 keeps for the session.
    DrawBeforeLock,
    /// The fence's scan skips rows which a claim in flight has locked.
    ScanSkipsLocked,
    /// A reset sets `low` back and lets a fence in progress finish.
    ResetKeepsFence,
    /// The reset is sent before the hand-back's transaction holds the lock.
    ResetBeforeLock,
    /// A new session goes on with the old low.
    ReconnectKeepsLow,
    /// A reset sets `low` back, and whoever sleeps goes on sleeping.
    ResetLetsSleep,
    /// A reset that comes while a scan is under way is not remembered: the scan decides on sleep.
    ResetForgottenByScan,
    /// The fence looks for the lock among live sessions: a prepared transaction has no pid.
    PreparedForgotten,
}

pub(crate) const NOT_SKIPPED: &str = "low passes no claimable row";
pub(crate) const NONE_SLEPT_ON: &str = "nobody sleeps on a row below its low";
pub(crate) const LOW_MOVES: &str = "low moves";
pub(crate) const FENCE_WAITS: &str = "a fence waits for a writer";
pub(crate) const SCAN_HOLDS_LOW: &str = "a fence's scan finds a row below its candidate";
pub(crate) const SLEPT: &str = "a reset finds a sleeper";
pub(crate) const RESET: &str = "a hand-back finds a low above it";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Writer {
    Idle,
    /// Broken order: it has its number, and no lock.
    Drawn(u8),
    /// Holds RowExclusiveLock on `ready`; the number comes next, inside the INSERT.
    Locked,
    /// Inserted, in flight.
    Inserted(u8),
    /// PREPARE TRANSACTION: still in flight, its locks kept.
    Prepared(u8),
    /// Visible; its locks go last.
    Visible,
    Done,
}

/// A candidate on its way to become `low`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fence {
    pub(crate) candidate: u8,
    /// Writers (bit 7: the hand-back) which held the lock when the fence began.
    pub(crate) waits: Mask,
    /// What its scan came to; applied in a later step.
    pub(crate) scanned: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Consumer {
    pub(crate) low: u8,
    pub(crate) online: bool,
    /// The row that its claim in flight has locked.
    pub(crate) claim: Option<u8>,
    /// Smallest number of its last claim.
    pub(crate) last: Option<u8>,
    pub(crate) fence: Option<Fence>,
    /// A reset is on its way to it, which names this place.
    pub(crate) reset: Option<u8>,
    /// A scan under way that found nothing: where it began.
    pub(crate) empty: Option<u8>,
    /// Asleep since such a scan.
    pub(crate) slept: Option<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LowState {
    pub(crate) next: u8,
    pub(crate) writers: Vec<Writer>,
    pub(crate) consumers: Vec<Consumer>,
    /// Numbers of the rows visible in `ready`.
    pub(crate) ready: Mask,
    /// Numbers of claimed rows, which may be handed back.
    pub(crate) active: Mask,
    /// A hand-back in flight, at the row's old number.
    pub(crate) hand_back: Option<u8>,
    pub(crate) hand_backs: u8,
    pub(crate) failures: u8,
    pub(crate) disconnects: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LowAction {
    Lock(usize),
    Draw(usize),
    Prepare(usize),
    Commit(usize),
    Rollback(usize),
    Unlock(usize),
    /// A scan finds nothing.
    Empty(usize),
    /// Its answer comes: sleep.
    Sleep(usize),
    Claim(usize),
    ClaimCommits(usize),
    ClaimFails(usize),
    FenceBegins(usize),
    FenceScans(usize),
    FenceEnds(usize),
    HandBack(u8),
    HandBackCommits,
    Reset(usize),
    Disconnect(usize),
    Reconnect(usize),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct LowModel {
    pub(crate) rule: LowRule,
    pub(crate) writers: usize,
    pub(crate) consumers: usize,
    /// How many hand-backs, failed claims and lost sessions may happen, each.
    pub(crate) faults: u8,
}

impl LowState {
    pub(crate) fn claimable(&self) -> Mask {
        self.consumers.iter().filter_map(|c| c.claim).fold(self.ready, |rows, seq| rows & !bit(seq.into()))
    }

    /// A notification to everybody who listens; two on their way are one of the smaller place.
    pub(crate) fn send_reset(&mut self, place: u8) {
        for consumer in self.consumers.iter_mut().filter(|c| c.online) {
            consumer.reset = Some(consumer.reset.map_or(place, |other| other.min(place)));
        }
    }
}

/// The smallest number in `rows` that is not below `low`.
pub(crate) fn first(rows: Mask, low: u8) -> Option<u8> {
    (low..8).find(|&seq| has(rows, seq.into()))
}

/// Everything below the highest of these.
fn below(places: impl Iterator<Item = u8>) -> Mask {
    bit(places.max().unwrap_or(0).into()) - 1
}

pub(crate) fn properties() -> Vec<Property<LowModel>> {
    vec![
        Property::always(NOT_SKIPPED, |_, state: &LowState| {
            let lows = state.consumers.iter().filter(|c| c.online && c.reset.is_none()).map(|c| c.low);
            state.claimable() & below(lows) == 0
        }),
        Property::always(NONE_SLEPT_ON, |_, state: &LowState| {
            let slept = state.consumers.iter().filter(|c| c.online && c.reset.is_none()).filter_map(|c| c.slept);
            state.claimable() & below(slept) == 0
        }),
        Property::sometimes(SLEPT, |_, state: &LowState| {
            state.consumers.iter().any(|c| c.slept.zip(c.reset).is_some_and(|(slept, place)| place < slept))
        }),
        Property::sometimes(LOW_MOVES, |_, state: &LowState| state.consumers.iter().any(|c| c.low > 1)),
        Property::sometimes(FENCE_WAITS, |model: &LowModel, state: &LowState| {
            let holders = model.holders(state);
            let waits = |fence: Fence| fence.scanned.is_none() && fence.waits & holders != 0;
            state.consumers.iter().filter_map(|c| c.fence).any(waits)
        }),
        Property::sometimes(SCAN_HOLDS_LOW, |_, state: &LowState| {
            let fences = state.consumers.iter().filter_map(|c| c.fence);
            fences.into_iter().any(|fence| fence.scanned.is_some_and(|seq| seq < fence.candidate))
        }),
        Property::sometimes(RESET, |_, state: &LowState| {
            let rows = state.ready;
            state.consumers.iter().any(|c| c.reset.is_some() && first(rows, 0).is_some_and(|seq| seq < c.low))
        }),
    ]
}
