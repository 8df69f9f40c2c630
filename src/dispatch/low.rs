//! The low-water marks: from where on a claim reads a lane, so that it does not walk over rows that are gone and that an old
//! transaction keeps vacuum from removing.
//!
//! Invariant: a mark passes no row that is, or may become, claimable, but for one whose return is still being told; then we look again.
//! So a scan from it decides on sleep as well as one from the start. A mark moves up to the smallest place of a claim, once every
//! transaction that could have drawn a smaller one before is over (the fence), and only as far as a scan from the old mark then finds
//! nothing. A message that comes back to its old place (hand-back, rescue) takes the lane's mark down to it, and voids a fence under
//! way. The rule is `tests/models/wake_model/lowwater.rs`; a look from the start, now and then and beside the claims, is the net under it.

mod look;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::Result;

/// Between two fences, in ms.
const FENCE_EVERY_MS: u64 = 200;
/// A mark that would move by fewer places stays.
const FENCE_PLACES_MIN: i64 = 1_000;
/// How often, at most, the lanes with a mark are looked at from their start, in ms.
const WHOLE_EVERY_MS: u64 = 10_000;
/// A look from the start takes at most one part of so many of the time.
const WHOLE_SHARE: u32 = 20;

/// One lane.
#[derive(Debug, Default)]
struct Lane {
    /// Claims read from this place on.
    low: i64,
    /// The smallest place of the last claim.
    last: Option<i64>,
    /// Raised whenever a place comes back: a look that began before says what was.
    returns: u64,
}

/// The marks of every lane that was claimed from.
#[derive(Debug, Default)]
pub(super) struct LowWater {
    lanes: HashMap<i32, Lane>,
    /// Raised whenever everything is forgotten: a claim or a look that began before says what was, perhaps on another server.
    resets: u64,
    /// When the fence or look under way, or the last one, began; whether it is under way.
    begun: Option<Instant>,
    looking: bool,
    /// When the next look from the start is due.
    whole_at: Option<Instant>,
}

/// A look at the lanes: a fence, or one from their start.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Look {
    resets: u64,
    begun: Instant,
    whole: bool,
    lanes: Vec<i32>,
    /// How many places had come back.
    returns: Vec<u64>,
    /// Where it begins.
    from: Vec<i64>,
    /// Where the marks go if it finds nothing before.
    candidates: Vec<i64>,
}

/// What a look found: the first taken place of each lane.
pub(crate) struct Looked {
    look: Look,
    found: Result<Vec<(i32, i64)>>,
}

impl LowWater {
    /// From where on a claim reads these lanes.
    pub(super) fn lows(&self, lanes: &[i32]) -> Vec<i64> {
        lanes.iter().map(|lane| self.lanes.get(lane).map_or(0, |l| l.low)).collect()
    }

    /// How often everything was forgotten.
    pub(super) fn resets(&self) -> u64 {
        self.resets
    }

    /// A claim that began after so many resets took these (lane, place).
    pub(super) fn claimed(&mut self, resets: u64, rows: impl Iterator<Item = (i32, i64)>) {
        if resets != self.resets {
            return;
        }
        let mut smallest: HashMap<i32, i64> = HashMap::new();
        for (lane, place) in rows {
            smallest.entry(lane).and_modify(|p| *p = place.min(*p)).or_insert(place);
        }
        for (lane, place) in smallest {
            self.lanes.entry(lane).or_default().last = Some(place);
        }
    }

    /// The next look, if one is worth it now. A fence must look at the transactions after this call.
    fn begin(&mut self, now: Instant) -> Option<Look> {
        if self.looking {
            return None;
        }
        let look = self.whole(now).or_else(|| self.fence(now))?;
        (self.looking, self.begun) = (true, Some(now));
        Some(look)
    }

    fn fence(&self, now: Instant) -> Option<Look> {
        if self.begun.is_some_and(|at| now - at < Duration::from_millis(FENCE_EVERY_MS)) {
            return None;
        }
        let moves = |(id, lane): (&i32, &Lane)| {
            let candidate = lane.last.filter(|place| place.saturating_sub(lane.low) >= FENCE_PLACES_MIN)?;
            Some((*id, lane.low, candidate))
        };
        self.look(now, false, self.lanes.iter().filter_map(moves))
    }

    fn whole(&self, now: Instant) -> Option<Look> {
        self.whole_at.filter(|at| *at <= now)?;
        let marked = self.lanes.iter().filter(|(_, lane)| lane.low > 0);
        self.look(now, true, marked.map(|(id, lane)| (*id, 0, lane.low)))
    }

    fn look(&self, begun: Instant, whole: bool, lanes: impl Iterator<Item = (i32, i64, i64)>) -> Option<Look> {
        let mut look = Look {
            resets: self.resets,
            begun,
            whole,
            lanes: vec![],
            returns: vec![],
            from: vec![],
            candidates: vec![],
        };
        for (lane, from, candidate) in lanes {
            look.lanes.push(lane);
            look.returns.push(self.lanes.get(&lane).map_or(0, |lane| lane.returns));
            look.from.push(from);
            look.candidates.push(candidate);
        }
        (!look.lanes.is_empty()).then_some(look)
    }

    /// A look ended: marks move up, unless a place came back meanwhile, and down to what was found below. Answers the lanes of these.
    pub(super) fn looked(&mut self, now: Instant, Looked { look, found }: Looked) -> Vec<i32> {
        self.looking = false;
        if look.whole || self.whole_at.is_none() {
            let pause = Duration::from_millis(WHOLE_EVERY_MS).max((now - look.begun) * WHOLE_SHARE);
            self.whole_at = Some(now + pause);
        }
        let found: HashMap<i32, i64> = match found {
            Ok(found) => found.into_iter().collect(),
            Err(e) => {
                tracing::debug!(target: "pgflow::claim", error = %e, "the low-water marks stay");
                return Vec::new();
            }
        };
        let mut lowered = Vec::new();
        for ((lane, returns), candidate) in look.lanes.iter().zip(look.returns).zip(look.candidates) {
            let Some(known) = self.lanes.get_mut(lane).filter(|_| look.resets == self.resets) else { continue };
            let first = found.get(lane).copied();
            let low = first.map_or(candidate, |first| candidate.min(first));
            if first.is_some_and(|first| first < known.low) {
                if known.returns == returns {
                    // It may have come back, and the news of it be late; else the rule is broken.
                    tracing::warn!(target: "pgflow::claim", lane, "a message lies below the low-water mark, which is taken down to it");
                    metrics::counter!("pgflow_low_water_passed_total").increment(1);
                }
                (known.low, known.last) = (low, None);
                lowered.push(*lane);
            } else if low > known.low && known.returns == returns {
                known.low = low;
                metrics::counter!("pgflow_low_water_moves_total").increment(1);
            }
        }
        lowered
    }

    /// A message came back to this place. True: it is below the mark, so whatever is decided by a scan from there is void.
    fn returned(&mut self, lane: i32, place: i64) -> bool {
        let Some(known) = self.lanes.get_mut(&lane) else { return false };
        known.returns += 1;
        known.last = None;
        let below = place < known.low;
        known.low = known.low.min(place);
        below
    }

    /// Places may have come back without our being told: everything is read again.
    pub(super) fn reset(&mut self) {
        self.resets += 1;
        self.lanes.clear();
    }
}
