//! Claimed messages that no worker has yet, and how many more may be claimed so.
//!
//! Claiming for idle workers alone, a claim's commit is the price of as few messages as there are workers, and workers idle while it
//! is under way. So while there is a backlog of normal messages and the workers are quick, a claim takes more than are idle: as many
//! as all workers, by their [pace], go through in [`AHEAD_FOR`] ([`STREAM_FOR`] while as many come as go), within
//! [`AHEAD_PER_WORKER`] and [`AHEAD_MAX`], and twice as many as last time at most; half as many when those waited for long. The next
//! claim begins when half of them are left. Who has run one takes the next from here by itself, unless a high message may need a
//! worker. What has waited for [`WAIT_MAX`] all the same is handed back, and for a while nothing is claimed ahead. High ones never
//! wait here, and of low ones only their share: a high one would wait behind workers though others may have idle ones, a low one would
//! start before normal ones that came meanwhile.

mod pace;
mod shelf;
#[cfg(test)]
mod tests;

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
