//! The low-water marks: from where on a claim reads a lane, so that it does not walk over rows that are gone and that an old
//! transaction keeps vacuum from removing.
//!
//! Invariant: a mark passes no row that is, or may become, claimable, but for one whose return is still being told; then we look again.
//! So a scan from it decides on sleep as well as one from the start. A mark moves up to the smallest place of a claim, once every
//! transaction that could have drawn a smaller one before is over (the fence), and only as far as a scan from the old mark then finds
//! nothing. A message that comes back to its old place (hand-back, rescue) takes the lane's mark down to it, and voids a fence under
//! way. The rule is `tests/wake_model/lowwater.rs`; a look from the start, now and then and beside the claims, is the net under it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use deadpool_postgres::Pool;
use futures_util::FutureExt as _;
use ractor::ActorRef;

use super::{Group, Msg, State};
use crate::{
    Error, Result,
    connect::{ANSWER_MS_MAX, bounded, give_back},
    store::Store,
};

/// Between two fences, in ms.
const FENCE_EVERY_MS: u64 = 200;
/// A mark that would move by fewer places stays.
const FENCE_PLACES_MIN: i64 = 1_000;
/// First and longest wait for the transactions that a fence waits for, in ms.
const FENCE_WAIT_MS: u64 = 10;
const FENCE_WAIT_MS_MAX: u64 = 500;
/// How long a fence waits in all, in ms; behind a publisher that stays open the next one begins anew, and a look from the start that is
/// due comes between.
const FENCE_MS_MAX: u64 = 10_000;
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

impl State {
    /// Begins a look, if one is worth it.
    pub(super) fn look_low(&mut self, myself: &ActorRef<Msg>) {
        // A look may take seconds: claims must have another connection.
        if !self.is_told() || self.wiring.pool.status().max_size < 2 {
            return;
        }
        let Some(look) = self.low.begin(Instant::now()) else { return };
        let (store, pool, myself) = (self.wiring.store.clone(), self.wiring.pool.clone(), myself.clone());
        tokio::spawn(async move {
            let found = run(&store, &pool, &look);
            let found = std::panic::AssertUnwindSafe(found).catch_unwind().await;
            // Whatever happens, an answer comes: without one there would be no other look.
            let found = found.unwrap_or_else(|_| Err(Error::state("move the low-water marks", "the look panicked")));
            let _ = myself.cast(Msg::LookedLow(Looked { look, found }));
        });
    }

    pub(super) fn looked_low(&mut self, myself: &ActorRef<Msg>, looked: Looked) {
        for lane in self.low.looked(Instant::now(), looked) {
            self.look_again(myself, lane);
        }
    }

    /// Messages came back to their old places, of this lane from this one on; without one, we know not where.
    pub(super) fn places_reused(&mut self, myself: &ActorRef<Msg>, first: Option<(i32, i64)>) {
        match first {
            Some((lane, place)) if self.low.returned(lane, place) => self.look_again(myself, lane),
            Some(_) => {}
            None => {
                self.low.reset();
                for queue in 0..self.queues.len() {
                    for group in [Group::High, Group::Rest] {
                        self.gate(queue, group).look();
                    }
                    self.turn(myself, queue);
                }
            }
        }
    }

    fn look_again(&mut self, myself: &ActorRef<Msg>, lane: i32) {
        if let Some((queue, group)) = self.serving(lane) {
            self.gate(queue, group).look();
            self.turn(myself, queue);
        }
    }
}

/// A fence waits until whoever could have drawn a smaller place is done; then it looks from the old marks on.
async fn run(store: &Store, pool: &Pool, look: &Look) -> Result<Vec<(i32, i64)>> {
    let phase = "move the low-water marks";
    let connection = async || pool.get().await.map_err(|e| Error::pool(phase, e));
    let writers_now = async |among: Option<&[String]>| {
        let c = connection().await?;
        let writers = bounded(phase, ANSWER_MS_MAX, store.ready_writers(&c, among)).await;
        give_back(c, writers.as_ref().err());
        writers
    };
    if !look.whole {
        let mut writers = writers_now(None).await?;
        let (begun, mut wait_ms) = (Instant::now(), FENCE_WAIT_MS);
        while !writers.is_empty() {
            if begun.elapsed() > Duration::from_millis(FENCE_MS_MAX) {
                let why = format!("publishers stayed open for {FENCE_MS_MAX} ms");
                return Err(Error::state(phase, why));
            }
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            wait_ms = (2 * wait_ms).min(FENCE_WAIT_MS_MAX);
            writers = writers_now(Some(&writers)).await?;
        }
    }
    // A later statement, whose snapshot holds what they have committed.
    let c = connection().await?;
    let found = bounded(phase, ANSWER_MS_MAX, store.first_places(&c, &look.lanes, &look.from)).await;
    give_back(c, found.as_ref().err());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Duration = Duration::from_millis(FENCE_EVERY_MS);

    fn claimed(places: &[i64]) -> (LowWater, Instant) {
        let mut low = LowWater::default();
        low.claimed(0, places.iter().map(|p| (7, *p)));
        (low, Instant::now())
    }

    fn found(look: Look, places: Vec<(i32, i64)>) -> Looked {
        Looked { look, found: Ok(places) }
    }

    /// Fear: a mark moves without a fence, past what the fence's scan found, or not at all.
    #[test]
    fn a_mark_moves_as_far_as_the_fence_allows() {
        let (mut low, now) = claimed(&[2_005, 2_000, 2_009]);
        assert_eq!(low.lows(&[7, 8]), [0, 0]);
        let look = low.begin(now).unwrap();
        assert_eq!((&look.from[..], &look.candidates[..]), (&[0][..], &[2_000][..]));
        assert_eq!(low.begin(now + LATER), None, "one at a time");
        assert!(low.looked(now, found(look, vec![(7, 1_500)])).is_empty());
        assert_eq!(low.lows(&[7, 8]), [1_500, 0]);
        low.claimed(0, [(7, 2_600)].into_iter());
        assert_eq!(low.begin(now), None, "not so soon");
        let look = low.begin(now + LATER).unwrap();
        assert!(low.looked(now, found(look, vec![])).is_empty());
        assert_eq!(low.lows(&[7]), [2_600], "nothing was left below");
        low.claimed(0, [(7, 2_600 + FENCE_PLACES_MIN - 1)].into_iter());
        assert_eq!(low.begin(now + 2 * LATER), None, "it is not worth a fence");
    }

    /// Fear: a fence that began before a message came back moves the mark past it.
    #[test]
    fn a_return_voids_the_fence_under_way() {
        for returns in [|low: &mut LowWater| assert!(!low.returned(7, 500)), LowWater::reset] {
            let (mut low, now) = claimed(&[2_000]);
            let look = low.begin(now).unwrap();
            returns(&mut low);
            low.claimed(low.resets(), [(7, 3_000)].into_iter());
            assert!(low.looked(now, found(look, vec![])).is_empty());
            assert_eq!(low.lows(&[7]), [0]);
            assert!(low.begin(now + LATER).is_some(), "the next one may begin");
        }
    }

    /// Fear: the answer of a claim at a server that is no longer ours says how far the lanes of its successor are empty.
    #[test]
    fn a_claim_from_before_a_reset_says_nothing() {
        let (mut low, now) = (LowWater::default(), Instant::now());
        low.reset();
        low.claimed(0, [(7, 3_000)].into_iter());
        assert_eq!(low.begin(now), None);
    }

    /// Fear: a message that came back below the mark is not looked for, or one above it costs a look.
    #[test]
    fn a_return_takes_the_mark_down() {
        let (mut low, now) = claimed(&[2_000]);
        let look = low.begin(now).unwrap();
        low.looked(now, found(look, vec![]));
        assert!(!low.returned(7, 2_000) && !low.returned(8, 1));
        assert_eq!(low.lows(&[7]), [2_000]);
        assert!(low.returned(7, 1_999));
        assert_eq!(low.lows(&[7]), [1_999]);
    }

    /// Fear: a row that the rule has missed is never found; or the look for it comes so often that it is the load.
    #[test]
    fn a_look_from_the_start_is_the_net() {
        let (mut low, now) = claimed(&[2_000]);
        let look = low.begin(now).unwrap();
        low.looked(now, found(look, vec![]));
        let due = now + Duration::from_millis(WHOLE_EVERY_MS);
        assert_eq!(low.begin(due - LATER), None);
        let look = low.begin(due).unwrap();
        assert_eq!((look.whole, &look.from[..], &look.candidates[..]), (true, &[0][..], &[2_000][..]));
        let took = Duration::from_secs(2);
        assert_eq!(low.looked(due + took, found(look, vec![(7, 70)])), [7]);
        assert_eq!(low.lows(&[7]), [70]);
        let next = due + took + took * WHOLE_SHARE;
        assert_eq!(low.whole(next - LATER), None);
        assert!(low.whole(next).is_some());
    }
}
