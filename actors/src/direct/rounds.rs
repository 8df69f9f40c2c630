//! A letter's round, from its transaction's commit to its consumer's verdict: delay, key, a worker, tries.

#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pgflow::{Failure, Outgoing, Priority};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::lines::Taker;
use super::{Held, Lines};
use crate::consumers::Serving;
use crate::settings::RETRY_DELAY_MAX;

/// All rounds.
#[derive(Clone)]
pub(super) struct Rounds {
    shared: Arc<Shared>,
}

struct Shared {
    lines: Lines,
    /// Each letter's round is a task of its own: none waits behind another's delay or backoff.
    tasks: TaskTracker,
    stopping: CancellationToken,
    cut: CancellationToken,
    keys: Mutex<Keys>,
}

/// A key belongs to a queue.
type Key = (&'static str, String);

#[derive(Default)]
struct Keys {
    /// Ordering keys with a letter on its round, and the letters that wait for its end.
    behind: HashMap<Key, VecDeque<Held>>,
    /// Dedup keys of letters on their round, or waiting for one.
    known: HashSet<Key>,
}

/// What follows a try.
#[derive(Debug, PartialEq)]
enum Next {
    Done,
    Again { attempt: u32, delay: Duration, event: &'static str },
    Dead,
}

impl Rounds {
    pub(super) fn new(lines: Lines, tasks: TaskTracker, stopping: CancellationToken, cut: CancellationToken) -> Self {
        Self { shared: Arc::new(Shared { lines, tasks, stopping, cut, keys: Mutex::default() }) }
    }

    /// Takes a letter whose transaction has committed; letters with one ordering key begin in this order, one at a time.
    pub(super) fn take(&self, held: Held) {
        let letter = &held.letter;
        let mut keys = self.keys();
        if let Some(key) = &letter.dedup_key
            && !keys.known.insert((letter.queue, key.clone()))
        {
            return;
        }
        if let Some(key) = &letter.ordering_key {
            match keys.behind.entry((letter.queue, key.clone())) {
                Entry::Occupied(mut ahead) => return ahead.get_mut().push_back(held),
                Entry::Vacant(free) => drop(free.insert(VecDeque::new())),
            }
        }
        drop(keys);
        self.begin(held);
    }

    fn begin(&self, held: Held) {
        let (rounds, cut) = (self.clone(), self.shared.cut.clone());
        self.shared.tasks.spawn(cut.run_until_cancelled_owned(async move {
            if rounds.go(&held).await {
                rounds.ended(&held);
            }
        }));
    }

    /// To the end of the round; false when the process stops first.
    async fn go(&self, held: &Held) -> bool {
        let letter = &held.letter;
        let Some(taker) = self.shared.lines.takers.get(letter.kind) else {
            // Both roles are here, so somebody takes every type.
            tracing::error!(target: "evolution", kind = letter.kind, "nobody here takes this message");
            return true;
        };
        let (mut attempt, mut delay) = (1, letter.delay);
        loop {
            let stopping = &self.shared.stopping;
            if stopping.run_until_cancelled(tokio::time::sleep(delay)).await.is_none() {
                return false;
            }
            let Some(ended) = self.try_once(taker, letter.priority, &letter.out, attempt).await else { return false };
            let (kind, error) = (letter.kind, ended.as_ref().err().map(|failure| failure.error().to_owned()));
            match next(ended, attempt, &taker.line.serving) {
                Next::Done => {
                    count("done");
                    return true;
                }
                Next::Again { attempt: again, delay: wait, event } => {
                    count(event);
                    tracing::debug!(target: "evolution", kind, attempt, error, "again in {wait:?}");
                    (attempt, delay) = (again, wait);
                }
                Next::Dead => {
                    count("dead");
                    tracing::error!(target: "evolution", kind, attempt, error, "a message in memory is dead");
                    return true;
                }
            }
        }
    }

    /// One call; none when the process stops first.
    async fn try_once(
        &self,
        taker: &Taker,
        priority: Priority,
        out: &Arc<Outgoing>,
        attempt: u32,
    ) -> Option<Result<(), Failure>> {
        // A rollback waits for no worker.
        let _worker = match priority {
            Priority::High => None,
            _ => self.shared.stopping.run_until_cancelled(taker.line.workers.acquire()).await?.ok(),
        };
        let call = (taker.call)(Arc::clone(out), attempt);
        let Some(limit) = taker.line.serving.deadline else { return Some(call.await) };
        let ended = tokio::time::timeout(limit, call).await;
        Some(ended.unwrap_or_else(|_| Err(Failure::retry(format!("ran past its deadline of {limit:?}")))))
    }

    /// Lets the letter's keys go, and begins with the next one.
    fn ended(&self, held: &Held) {
        let letter = &held.letter;
        let mut keys = self.keys();
        if let Some(key) = &letter.dedup_key {
            keys.known.remove(&(letter.queue, key.clone()));
        }
        let Some(key) = &letter.ordering_key else { return };
        if let Entry::Occupied(mut behind) = keys.behind.entry((letter.queue, key.clone())) {
            let next = behind.get_mut().pop_front();
            if next.is_none() {
                behind.remove();
            }
            drop(keys);
            next.into_iter().for_each(|next| self.begin(next));
        }
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.shared.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue's own rules: a snooze is no try, a failure is tried again with the documented backoff until the tries are used up.
fn next(ended: Result<(), Failure>, attempt: u32, serving: &Serving) -> Next {
    let Err(failure) = ended else { return Next::Done };
    match failure.delay() {
        _ if failure.is_dead() => Next::Dead,
        Some(delay) if failure.is_snooze() => Next::Again { attempt, delay, event: "snoozed" },
        _ if attempt > u32::from(serving.max_retries) => Next::Dead,
        asked => {
            let delay = asked.unwrap_or_else(|| backoff(serving.retry_delay, attempt).mul_f64(jitter()));
            Next::Again { attempt: attempt + 1, delay, event: "retry" }
        }
    }
}

/// The first delay, doubled with every failed try, up to the longest.
fn backoff(first: Duration, attempt: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(attempt - 1)).min(RETRY_DELAY_MAX)
}

/// 0.9 to 1.1, so that what failed together does not come back together.
fn jitter() -> f64 {
    let (_, random) = Uuid::new_v4().as_u64_pair();
    0.9 + 0.2 * (random % 1_000) as f64 / 1_000.0
}

fn count(outcome: &'static str) {
    metrics::counter!("evolution_direct_total", "outcome" => outcome).increment(1);
}
