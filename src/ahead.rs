//! Claimed messages that no worker has yet, and how many more may be claimed so.
//!
//! Claiming for idle workers alone, a claim's commit is the price of as few messages as there are workers, and workers idle while it
//! is under way. So while there is a backlog of normal messages and the workers are quick, a claim takes more than are idle: as many
//! as all workers, by their [pace], go through in [`AHEAD_FOR`] ([`STREAM_FOR`] while as many come as go), within [`AHEAD_PER_WORKER`] and [`AHEAD_MAX`], and twice as many
//! as last time at most; half as many when those waited for long. The next claim begins when half of them are left. Who has run one takes the next from here by itself, unless a high message may need a worker. What has
//! waited for [`WAIT_MAX`] all the same is handed back, and for a while nothing is claimed ahead. High and low never are: a high
//! one would wait behind workers though others may have idle ones, a low one would start before normal ones that came meanwhile.

mod pace;
mod shelf;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use self::pace::Pace;
pub(crate) use self::shelf::{RunsLow, Shelf};

/// Most messages that are claimed ahead, for each worker and for all of a queue: so many may lose a try to a kill without having
/// been started, beside those that run.
pub(crate) const AHEAD_PER_WORKER: usize = 8;
pub(crate) const AHEAD_MAX: usize = 256;
/// As many are claimed ahead as the workers go through in so long.
const AHEAD_FOR: Duration = Duration::from_millis(8);
/// The same while messages come in quick succession, and none is left behind.
const STREAM_FOR: Duration = Duration::from_millis(1);
/// How long a claimed message may wait for a worker.
pub(crate) const WAIT_MAX: Duration = Duration::from_millis(20);
/// Nothing is claimed ahead for so long after some waited too long; twice as long each time, if they soon do so again.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(64);
/// Nothing is claimed ahead for so long after a death was seen, or what a dead instance had claimed.
const DEATH_PAUSE: Duration = Duration::from_secs(2);

/// What a claim of normal and low messages found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Found {
    /// Few, or mostly low ones.
    #[default]
    Few,
    /// As many as half of the workers at least, and no more: others come soon.
    Stream,
    /// All it asked for: there is more.
    Backlog,
}

/// What waits, first come first, and what allows more. Pure, but for what it keeps.
#[derive(Debug)]
pub(crate) struct Ahead<D> {
    waiting: VecDeque<(Instant, D)>,
    /// How many waited when the last were added: from half of it on, it runs low.
    level: usize,
    pace: Pace,
    /// Those ahead of whom may be claimed.
    workers: usize,
    /// By the last claim.
    found: Found,
    /// A worker that has run one may take the next by itself; else it must come back, for a high message may need it.
    self_served: bool,
    /// How many may be claimed ahead, by how long the last ones waited: what a pace promises, the processor may not keep.
    share: usize,
    /// The longest that one waited since some were last added.
    oldest: Duration,
    shut_until: Option<Instant>,
    /// The last pause.
    pause: Duration,
}

impl<D> Default for Ahead<D> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            level: 0,
            pace: Pace::default(),
            workers: 0,
            found: Found::Few,
            self_served: false,
            share: 0,
            oldest: Duration::ZERO,
            shut_until: None,
            pause: Duration::ZERO,
        }
    }
}

impl<D> Ahead<D> {
    /// Not with one worker, which starts messages in their order; nor without retries, where a kill makes dead letters of what waits.
    pub(crate) fn allow(&mut self, workers: usize, max_retries: i32) {
        self.workers = if workers > 1 && max_retries > 0 { workers } else { 0 };
    }

    /// A worker's run took so long.
    pub(crate) fn ran(&mut self, now: Instant, took: Duration) {
        self.pace.ran(now, took);
    }

    /// A claim answered with so many, `normal` of them normal; `all`: it got all it asked for.
    pub(crate) fn claimed(&mut self, got: usize, normal: usize, all: bool) {
        self.found = match got {
            _ if 2 * normal <= got => Found::Few,
            _ if all => Found::Backlog,
            _ if 2 * got >= self.workers => Found::Stream,
            _ => Found::Few,
        };
    }

    /// What the last claim found.
    pub(crate) fn found(&self) -> Found {
        self.found
    }

    /// How many may be claimed ahead now, beside those for so many idle workers.
    pub(crate) fn room(&mut self, now: Instant, idle: usize) -> usize {
        let within = match self.found {
            Found::Few => return 0,
            // Nothing is left that all are too busy for.
            Found::Stream if idle == 0 => return 0,
            Found::Stream => STREAM_FOR,
            Found::Backlog => AHEAD_FOR,
        };
        if !self.runs_low() || self.is_shut(now) {
            return 0;
        }
        let Some(each) = self.pace.each(now) else { return 0 };
        let runs = within.as_nanos() / each.as_nanos().max(1);
        let each_worker = usize::try_from(runs).unwrap_or(usize::MAX).min(AHEAD_PER_WORKER);
        AHEAD_MAX.min(each_worker * self.workers).min(self.share).saturating_sub(self.waiting.len())
    }

    fn runs_low(&self) -> bool {
        2 * self.waiting.len() <= self.level
    }

    /// These wait from now on.
    pub(crate) fn keep(&mut self, now: Instant, claimed: impl IntoIterator<Item = D>) {
        self.waiting.extend(claimed.into_iter().map(|d| (now, d)));
        self.level = self.waiting.len();
        let waited = std::mem::take(&mut self.oldest);
        if self.is_shut(now) {
            // What is claimed for idle workers alone waits for nobody, and tells nothing.
            return;
        }
        self.share = match waited {
            waited if waited < WAIT_MAX / 4 => (2 * self.share).max(self.workers).min(AHEAD_MAX),
            waited if waited > WAIT_MAX / 2 => (self.share / 2).max(1),
            _ => self.share.max(1),
        };
    }

    /// Whether workers may take what waits by themselves.
    pub(crate) fn serve_themselves(&mut self, may: bool) {
        self.self_served = may;
    }

    /// The next for a worker that asks by itself, and whether with it the rest begins to run low.
    pub(crate) fn pop(&mut self, now: Instant) -> (Option<D>, bool) {
        let before = self.runs_low();
        let next = if self.self_served { self.next(now, 1).pop() } else { None };
        let runs_low = next.is_some() && self.runs_low() && !before;
        (next, runs_low)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The next so many.
    pub(crate) fn next(&mut self, now: Instant, n: usize) -> Vec<D> {
        if let Some((since, _)) = self.waiting.front().filter(|_| n > 0) {
            self.oldest = self.oldest.max(now.saturating_duration_since(*since));
        }
        self.waiting.drain(..n.min(self.waiting.len())).map(|(_, d)| d).collect()
    }

    /// When the first has waited too long.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.waiting.front().map(|(since, _)| *since + WAIT_MAX)
    }

    /// All of them, if one has waited too long; then there is a pause, and what is known of the pace is void.
    pub(crate) fn late(&mut self, now: Instant) -> Vec<D> {
        if self.until().is_none_or(|until| now < until) {
            return Vec::new();
        }
        let again = self.shut_until.is_some_and(|until| now < until + self.pause);
        self.pause = if again { (2 * self.pause).clamp(PAUSE, PAUSE_MAX) } else { PAUSE };
        self.shut(now + self.pause);
        self.pace = Pace::default();
        self.share = 0;
        self.all()
    }

    /// All of them.
    pub(crate) fn all(&mut self) -> Vec<D> {
        self.waiting.drain(..).map(|(_, d)| d).collect()
    }

    /// An instance died. What ended it may be among what it had claimed, and would charge a try to all that wait here.
    pub(crate) fn death(&mut self, now: Instant) {
        self.shut(now + DEATH_PAUSE);
    }

    fn is_shut(&self, now: Instant) -> bool {
        self.shut_until.is_some_and(|until| now < until)
    }

    fn shut(&mut self, until: Instant) {
        self.shut_until = self.shut_until.max(Some(until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Most ahead of the scene's workers.
    const MOST: usize = 8 * AHEAD_PER_WORKER;

    fn quick(ahead: &mut Ahead<u32>, now: Instant) {
        (0..pace::RUNS_MIN).for_each(|_| ahead.ran(now, Duration::from_micros(10)));
    }

    /// With eight quick workers and a backlog.
    fn busy(now: Instant) -> Ahead<u32> {
        let mut ahead = Ahead::default();
        ahead.allow(8, 1);
        ahead.claimed(8, 5, true);
        quick(&mut ahead, now);
        grown(&mut ahead, now);
        ahead
    }

    /// After claims whose messages did not wait.
    fn grown(ahead: &mut Ahead<u32>, now: Instant) {
        (0..8).for_each(|_| ahead.keep(now, []));
    }

    /// Fear: a queue of one worker loses its order, one without retries its messages; or a claim on the way to sleep takes more
    /// than it has workers for.
    #[test]
    fn nothing_ahead_unless_all_allows_it() {
        let now = Instant::now();
        assert_eq!(busy(now).room(now, 0), MOST);
        for (workers, retries, normal) in [(1, 3, 5), (8, 0, 5), (8, 3, 4)] {
            let mut ahead = busy(now);
            ahead.allow(workers, retries);
            ahead.claimed(8, normal, true);
            assert_eq!(ahead.room(now, 0), 0);
        }
    }

    /// Fear: of a stream, that leaves nothing behind, each claim takes as few as there are idle workers, and costs as much as a large
    /// one; or its messages wait here while another instance has idle workers.
    #[test]
    fn of_a_stream_as_many_as_soon_start() {
        let now = Instant::now();
        for (got, room) in [(3, 0), (4, MOST)] {
            let mut ahead = busy(now);
            ahead.claimed(got, got, false);
            assert_eq!(ahead.room(now, 1), room, "{got} found");
            assert_eq!(ahead.room(now, 0), 0, "no worker is idle");
        }
        let mut ahead = busy(now);
        ahead.claimed(8, 8, false);
        (0..1_000).for_each(|_| ahead.ran(now, STREAM_FOR / 2));
        assert_eq!(ahead.room(now, 1), 2 * 8);
        (0..100_000).for_each(|_| ahead.ran(now, STREAM_FOR * 2));
        assert_eq!(ahead.room(now, 1), 0);
    }

    /// Fear: more wait than are soon started, or than a kill may charge.
    #[test]
    fn what_waits_is_bounded() {
        let now = Instant::now();
        let mut ahead = busy(now);
        assert_eq!(ahead.room(now, 0), MOST);
        (0..pace::RUNS_MIN).for_each(|_| ahead.ran(now, AHEAD_FOR / 4));
        assert_eq!(ahead.room(now, 0), 8 * 7, "an eighth of AHEAD_FOR each, and a little");
        ahead.allow(1_000, 1);
        grown(&mut ahead, now);
        assert_eq!(ahead.room(now, 0), AHEAD_MAX);
        ahead.keep(now, [1, 2, 3]);
        assert_eq!(ahead.next(now, 1), [1], "first come first");
        assert_eq!(ahead.room(now, 0), 0, "more than half are there still");
        assert_eq!(ahead.next(now, 1), [2]);
        assert_eq!(ahead.room(now, 0), AHEAD_MAX - 1, "what waits counts");
    }

    /// Fear: workers go through what was claimed ahead while a high message waits for one of them; or nobody hears that it runs low,
    /// and all idle until the next claim has answered.
    #[test]
    fn workers_take_what_waits_if_they_may() {
        let now = Instant::now();
        let mut ahead = busy(now);
        ahead.keep(now, [1, 2, 3, 4, 5]);
        assert_eq!(ahead.pop(now), (None, false), "not before it was said");
        ahead.serve_themselves(true);
        assert_eq!([ahead.pop(now), ahead.pop(now)], [(Some(1), false), (Some(2), false)]);
        assert_eq!([ahead.pop(now), ahead.pop(now)], [(Some(3), true), (Some(4), false)], "told once");
        ahead.keep(now, [6]);
        ahead.serve_themselves(false);
        assert_eq!(ahead.pop(now), (None, false));
        ahead.serve_themselves(true);
        assert_eq!(
            [ahead.pop(now), ahead.pop(now), ahead.pop(now)],
            [(Some(5), true), (Some(6), false), (None, false)]
        );
    }

    /// Fear: a message waits on behind slow ones; or what was handed back is claimed again at once, for ever.
    #[test]
    fn what_is_late_goes_back_and_pauses() {
        let start = Instant::now();
        let mut ahead = busy(start);
        ahead.keep(start, [1]);
        let first = start + WAIT_MAX;
        ahead.keep(first, [2]);
        assert!(ahead.late(first - Duration::from_micros(1)).is_empty());
        assert_eq!(ahead.late(first), [1, 2], "those behind it start later still");
        assert_eq!(ahead.until(), None);
        quick(&mut ahead, first + PAUSE / 2);
        grown(&mut ahead, first + PAUSE / 2);
        assert_eq!(ahead.room(first + PAUSE / 2, 0), 0);
        let mut now = first + PAUSE;
        quick(&mut ahead, now);
        ahead.keep(now, []);
        assert_eq!(ahead.room(now, 0), 8, "it begins small: all of before would be late again");
        grown(&mut ahead, now);
        assert_eq!(ahead.room(now, 0), MOST);
        // It does not help: the pauses double, up to a limit, and are short again when it had helped for long.
        for pause in [2, 4, 8, 16, 32, 64, 64] {
            ahead.keep(now, [3]);
            now += WAIT_MAX;
            assert_eq!(ahead.late(now), [3]);
            assert_eq!(ahead.pause, pause * PAUSE);
            now += ahead.pause;
        }
        now += ahead.pause;
        ahead.keep(now, [4]);
        ahead.late(now + WAIT_MAX);
        assert_eq!(ahead.pause, PAUSE);
    }

    /// Fear: a message that kills its process charges every instance's waiting ones, until they are dead letters.
    #[test]
    fn a_death_shuts() {
        let now = Instant::now();
        let mut ahead = busy(now);
        ahead.death(now);
        assert_eq!(ahead.room(now, 0), 0);
        quick(&mut ahead, now + DEATH_PAUSE);
        assert_eq!(ahead.room(now + DEATH_PAUSE, 0), MOST);
    }

    /// Fear: workers that are quick each but share two processors are claimed ahead of by their number: all waits too long, always.
    #[test]
    fn those_that_waited_long_are_fewer_next_time() {
        let mut now = Instant::now();
        let mut ahead = busy(now);
        ahead.keep(now, [1]);
        for (waited, share) in [(6, 256), (11, 128), (11, 64), (11, 32), (6, 32), (1, 64)] {
            now += Duration::from_millis(waited);
            ahead.next(now, 1);
            ahead.keep(now, [1]);
            assert_eq!(ahead.share, share, "after {waited} ms");
        }
    }
}
