//! The low-water marks: from where on a claim reads a lane, so that it does not walk over rows that are gone and that an old
//! transaction keeps vacuum from removing.
//!
//! Invariant: a mark passes no row that is, or may become, claimable; a scan that decides on sleep uses none. A mark moves up to the
//! smallest place of a claim, once every transaction that could have drawn a smaller one before is over (the fence), and only as
//! far as a scan from the old mark then finds nothing. A message that comes back to its old place (hand-back, rescue) resets all
//! marks, and voids a fence under way. The rule is `tests/wake_model/lowwater.rs`.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use deadpool_postgres::Pool;
use futures_util::FutureExt as _;
use ractor::ActorRef;

use super::{Msg, State};
use crate::{
    Error, Result,
    connect::{ANSWER_MS_MAX, bounded_on},
    store::Store,
};

/// Between two fences, in ms.
const FENCE_EVERY_MS: u64 = 200;
/// A mark that would move by fewer places stays.
const FENCE_PLACES_MIN: i64 = 1_000;
/// First and longest wait for the transactions that a fence waits for, in ms.
const FENCE_WAIT_MS: u64 = 10;
const FENCE_WAIT_MS_MAX: u64 = 500;
/// How long a fence waits in all, in ms; behind a publisher that stays open the next one begins anew.
const FENCE_MS_MAX: u64 = 60_000;
/// How often a claim reads a lane from its start whatever its mark says, in ms: a net under the rule.
const WHOLE_EVERY_MS: u64 = 10_000;

/// One lane.
#[derive(Debug)]
struct Lane {
    /// Claims read from this place on.
    low: i64,
    /// The smallest place of the last claim.
    last: Option<i64>,
    /// When it was last read from its start.
    whole: Instant,
}

/// The marks of every lane that was claimed from.
#[derive(Debug, Default)]
pub(super) struct LowWater {
    lanes: HashMap<i32, Lane>,
    /// Raised by every reset: a fence that began before says what was.
    resets: u64,
    /// When the fence under way, or the last one, began; whether it is under way.
    begun: Option<Instant>,
    fencing: bool,
}

/// What a fence is to find out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fence {
    resets: u64,
    lanes: Vec<i32>,
    lows: Vec<i64>,
    candidates: Vec<i64>,
}

/// What a fence found: the first taken place of each lane from its old mark on.
pub(crate) struct Fenced {
    fence: Fence,
    found: Result<Vec<(i32, i64)>>,
}

impl LowWater {
    /// From where on the next claim reads these lanes; `drains`: the last one took all it asked for, so this one decides on no
    /// sleep.
    pub(super) fn lows(&mut self, now: Instant, lanes: &[i32], drains: bool) -> Vec<i64> {
        let limit = Duration::from_millis(WHOLE_EVERY_MS);
        let fresh = |lane: &i32| self.lanes.get(lane).is_none_or(|l| now - l.whole < limit);
        if drains && lanes.iter().all(fresh) {
            return lanes.iter().map(|lane| self.lanes.get(lane).map_or(0, |l| l.low)).collect();
        }
        for lane in lanes {
            if let Some(lane) = self.lanes.get_mut(lane) {
                lane.whole = now;
            }
        }
        vec![0; lanes.len()]
    }

    /// A claim took these (lane, place).
    pub(super) fn claimed(&mut self, now: Instant, rows: impl Iterator<Item = (i32, i64)>) {
        let mut smallest: HashMap<i32, i64> = HashMap::new();
        for (lane, place) in rows {
            smallest.entry(lane).and_modify(|p| *p = place.min(*p)).or_insert(place);
        }
        for (lane, place) in smallest {
            self.lanes.entry(lane).or_insert(Lane { low: 0, last: None, whole: now }).last = Some(place);
        }
    }

    /// The next fence, if one is worth it now. It must look at the transactions after this call.
    fn begin(&mut self, now: Instant) -> Option<Fence> {
        let soon = self.begun.is_some_and(|at| now - at < Duration::from_millis(FENCE_EVERY_MS));
        if self.fencing || soon {
            return None;
        }
        let mut fence = Fence { resets: self.resets, lanes: vec![], lows: vec![], candidates: vec![] };
        for (id, lane) in &mut self.lanes {
            if let Some(candidate) = lane.last.filter(|place| place - lane.low >= FENCE_PLACES_MIN) {
                fence.lanes.push(*id);
                fence.lows.push(lane.low);
                fence.candidates.push(candidate);
            }
        }
        if fence.lanes.is_empty() {
            return None;
        }
        self.begun = Some(now);
        self.fencing = true;
        Some(fence)
    }

    /// A fence ended: the marks move, unless a reset came between.
    pub(super) fn fenced(&mut self, Fenced { fence, found }: Fenced) {
        self.fencing = false;
        let found: HashMap<i32, i64> = match found {
            Ok(found) if fence.resets == self.resets => found.into_iter().collect(),
            Ok(_) => return,
            Err(e) => {
                tracing::debug!(target: "pgflow::claim", error = %e, "the low-water marks stay");
                return;
            }
        };
        for (lane, candidate) in fence.lanes.iter().zip(fence.candidates) {
            let Some(known) = self.lanes.get_mut(lane) else { continue };
            let low = found.get(lane).map_or(candidate, |first| candidate.min(*first));
            if low > known.low {
                known.low = low;
                metrics::counter!("pgflow_low_water_moves_total").increment(1);
            }
        }
    }

    /// Places came back, or may have without our being told: everything is read again.
    pub(super) fn reset(&mut self) {
        self.resets += 1;
        self.lanes.clear();
    }
}

impl State {
    /// Begins a fence, if one is worth it.
    pub(super) fn fence(&mut self, myself: &ActorRef<Msg>, now: Instant) {
        let Some(fence) = self.low.begin(now) else { return };
        let (store, pool, myself) = (self.wiring.store.clone(), self.wiring.pool.clone(), myself.clone());
        tokio::spawn(async move {
            let found =
                bounded_on(&pool, "move the low-water marks", FENCE_MS_MAX + ANSWER_MS_MAX, run(&store, &pool, &fence));
            let found = std::panic::AssertUnwindSafe(found).catch_unwind().await;
            // Whatever happens, an answer comes: without one there would be no other fence.
            let found = found.unwrap_or_else(|_| Err(Error::state("move the low-water marks", "the fence panicked")));
            let _ = myself.cast(Msg::Fenced(Fenced { fence, found }));
        });
    }
}

/// Waits until whoever could have drawn a smaller place is done; then looks from the old marks on.
async fn run(store: &Store, pool: &Pool, fence: &Fence) -> Result<Vec<(i32, i64)>> {
    let connection = async || pool.get().await.map_err(|e| Error::pool("move the low-water marks", e));
    let mut writers = store.ready_writers(&connection().await?, None).await?;
    let (begun, mut wait_ms) = (Instant::now(), FENCE_WAIT_MS);
    while !writers.is_empty() {
        if begun.elapsed() > Duration::from_millis(FENCE_MS_MAX) {
            return Err(Error::state(
                "move the low-water marks",
                format!("publishers stayed open for {FENCE_MS_MAX} ms"),
            ));
        }
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        wait_ms = (2 * wait_ms).min(FENCE_WAIT_MS_MAX);
        writers = store.ready_writers(&connection().await?, Some(&writers)).await?;
    }
    // A later statement, whose snapshot holds what they have committed.
    store.first_places(&connection().await?, &fence.lanes, &fence.lows).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Duration = Duration::from_millis(FENCE_EVERY_MS);

    fn claimed(places: &[i64]) -> (LowWater, Instant) {
        let (mut low, now) = (LowWater::default(), Instant::now());
        low.claimed(now, places.iter().map(|p| (7, *p)));
        (low, now)
    }

    /// Fear: a mark moves without a fence, past what the fence's scan found, or not at all.
    #[test]
    fn a_mark_moves_as_far_as_the_fence_allows() {
        let (mut low, now) = claimed(&[2_005, 2_000, 2_009]);
        assert_eq!(low.lows(now, &[7, 8], true), [0, 0]);
        let fence = low.begin(now).unwrap();
        assert_eq!((&fence.lows[..], &fence.candidates[..]), (&[0][..], &[2_000][..]));
        assert_eq!(low.begin(now + LATER), None, "one at a time");
        low.fenced(Fenced { fence, found: Ok(vec![(7, 1_500)]) });
        assert_eq!(low.lows(now, &[7, 8], true), [1_500, 0]);
        low.claimed(now, [(7, 2_600)].into_iter());
        assert_eq!(low.begin(now), None, "not so soon");
        let fence = low.begin(now + LATER).unwrap();
        low.fenced(Fenced { fence, found: Ok(vec![]) });
        assert_eq!(low.lows(now, &[7], true), [2_600], "nothing was left below");
        low.claimed(now, [(7, 2_600 + FENCE_PLACES_MIN - 1)].into_iter());
        assert_eq!(low.begin(now + 2 * LATER), None, "it is not worth a fence");
    }

    /// Fear: a fence that began before a message came back moves the mark past it.
    #[test]
    fn a_reset_voids_the_fence_under_way() {
        let (mut low, now) = claimed(&[2_000]);
        let fence = low.begin(now).unwrap();
        low.reset();
        low.claimed(now, [(7, 3_000)].into_iter());
        low.fenced(Fenced { fence, found: Ok(vec![]) });
        assert_eq!(low.lows(now, &[7], true), [0]);
        assert!(low.begin(now + LATER).is_some(), "the next one may begin");
    }

    /// Fear: a scan that decides on sleep begins at the mark, or a row that the rule has missed is never found.
    #[test]
    fn a_mark_is_for_draining_only_and_not_for_ever() {
        let (mut low, now) = claimed(&[2_000]);
        let fence = low.begin(now).unwrap();
        low.fenced(Fenced { fence, found: Ok(vec![]) });
        assert_eq!(low.lows(now, &[7], false), [0]);
        assert_eq!(low.lows(now, &[7], true), [2_000]);
        let whole = now + Duration::from_millis(WHOLE_EVERY_MS);
        assert_eq!(low.lows(whole, &[7], true), [0]);
        assert_eq!(low.lows(whole, &[7], true), [2_000]);
    }
}
