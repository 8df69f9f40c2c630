//! Settling: a delivery's outcome goes back to Postgres, fenced by its token, in batches that grow with load.
//!
//! Before: `worker` judged a delivery. After: the row is in history, scheduled, parked, ready again or dead.
//! Invariant: a claimed row is named in the [`Ledger`] until its outcome is committed or known to be fenced; an outcome
//! is never dropped, whatever actor dies. A delivery that is dropped unsettled settles itself.

mod delivery;
mod flush;
mod ledger;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
};

use deadpool_postgres::Pool;
use metrics::counter;

use self::ledger::Ledger;
pub(crate) use self::{
    delivery::Delivery,
    flush::{Msg, SettlerActor},
};
use crate::{
    address::{Address, Outlet},
    handler::Incoming,
    store::Store,
};

/// How long the COMMIT of a handler's transaction may take, in ms: longer than keepalives need to find a dead connection.
pub(crate) const COMMIT_MS_MAX: u64 = 30_000;
/// Most outcomes in one flush.
const SETTLE_BATCH_MAX: usize = 256;
/// While more outcomes than this wait for a flush, no normal or low messages should be claimed: handlers would go on getting ahead of
/// what is written, and a kill would have all of that run again. Those that free a key do not count: each key has but one.
const SETTLE_WAITING_MAX: usize = 512;

/// Sent up to the dispatcher that was told that settling is [behind](Settler::is_behind): it has caught up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CaughtUp;

/// What became of a delivery.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Done,
    /// Retry or snooze: event, error text, delay in ms (none: backoff).
    Failed {
        event: &'static str,
        error: String,
        delay_ms: Option<i64>,
    },
    Dead {
        kind: &'static str,
        error: String,
    },
    /// Unstarted: same place, same attempt.
    HandBack,
    Undecodable {
        why: String,
    },
}

impl Outcome {
    fn label(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed { event: "snoozed", .. } => "snoozed",
            Self::Failed { .. } => "retry",
            Self::Dead { .. } => "dead",
            Self::HandBack => "handed_back",
            Self::Undecodable { .. } => "undecodable",
        }
    }
}

/// A claimed row's identity: what a settle must match, and the key it holds.
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub(crate) id: i64,
    pub(crate) token: i64,
    pub(crate) queue_id: i32,
    pub(crate) ordering_key: Option<String>,
}

/// The way to settle from anywhere. Outcomes wait outside the actor, so that its death loses none.
#[derive(Clone)]
pub(crate) struct Settler {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<Store>,
    pool: Pool,
    backlog: Mutex<Backlog>,
    ledger: Mutex<Ledger>,
    /// Told whenever the ledger may have become empty.
    answered: tokio::sync::Notify,
    actor: Address<Msg>,
    caught_up: Outlet<CaughtUp>,
}

#[derive(Default)]
struct Backlog {
    free: VecDeque<Pending>,
    /// Those that free an ordering key wait apart: whoever publishes to their key in an open transaction holds up them alone.
    keyed: VecDeque<Pending>,
    /// A signal is on its way to the actor: one is enough.
    signalled: bool,
    /// Somebody was told that we are behind, and waits for word.
    behind: bool,
}

struct Pending {
    claimed: Claimed,
    outcome: Outcome,
    /// An earlier flush of it was not answered: no row may mean that it was ours.
    unknown: bool,
}

impl Settler {
    pub(crate) fn new(store: Arc<Store>, pool: Pool, caught_up: Outlet<CaughtUp>) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                pool,
                backlog: Mutex::default(),
                ledger: Mutex::default(),
                answered: tokio::sync::Notify::new(),
                actor: Address::default(),
                caught_up,
            }),
        }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.shared.ledger.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Hands a claimed row back if nobody here answers for it. Its answer, should it come after all, is refused.
    pub(crate) fn disown(&self, claimed: Claimed) -> bool {
        let disowned = self.ledger().disown(claimed.token);
        if disowned {
            self.put(claimed, Outcome::HandBack);
        }
        disowned
    }

    /// Makes a delivery of a claim's answer; none if the claim was handed back meanwhile.
    pub(crate) fn deliver(&self, incoming: Incoming, claimed: Claimed) -> Option<Delivery> {
        let ours = self.ledger().take(claimed.token);
        ours.then(|| Delivery::new(incoming, claimed, self.clone()))
    }

    /// Where the settling actor is reached.
    pub(crate) fn address(&self) -> &Address<Msg> {
        &self.shared.actor
    }

    /// Strikes a token off: its outcome is committed or fenced.
    fn answer(&self, tokens: impl IntoIterator<Item = i64>) {
        let mut ledger = self.ledger();
        for token in tokens {
            ledger.strike(token);
        }
        if ledger.is_empty() {
            self.shared.answered.notify_waiters();
        }
    }

    /// Resolves when this process answers for no claim.
    pub(crate) async fn idle(&self) {
        loop {
            let answered = self.shared.answered.notified();
            tokio::pin!(answered);
            // Registered before the look, so that an answer in between is not missed.
            answered.as_mut().enable();
            if self.ledger().is_empty() {
                return;
            }
            answered.await;
        }
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.shared.backlog.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Takes an outcome; also without a delivery, for a row that never became one.
    pub(crate) fn put(&self, claimed: Claimed, outcome: Outcome) {
        self.ledger().enter(claimed.token);
        let lane = Lane::of(&claimed, &outcome);
        self.backlog().lane(lane).push_back(Pending { claimed, outcome, unknown: false });
        self.signal();
    }

    fn signal(&self) {
        if !std::mem::replace(&mut self.backlog().signalled, true) {
            self.shared.actor.signal(Msg::Work);
        }
    }

    /// Whether too many outcomes wait. Who is told so gets word when they are half as many.
    pub(crate) fn is_behind(&self) -> bool {
        let mut backlog = self.backlog();
        let behind = backlog.free.len() > SETTLE_WAITING_MAX;
        if behind && !std::mem::replace(&mut backlog.behind, true) {
            counter!("pgflow_settle_behind_total").increment(1);
        }
        behind
    }

    /// What waits to be written.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> Vec<(i64, Outcome)> {
        let backlog = self.backlog();
        backlog.free.iter().chain(&backlog.keyed).map(|p| (p.claimed.id, p.outcome.clone())).collect()
    }

    fn take_batch(&self, lane: Lane) -> Vec<Pending> {
        let mut backlog = self.backlog();
        let waiting = backlog.lane(lane);
        let n = waiting.len().min(SETTLE_BATCH_MAX);
        let batch = waiting.drain(..n).collect();
        let caught_up = backlog.behind && backlog.free.len() <= SETTLE_WAITING_MAX / 2;
        backlog.behind &= !caught_up;
        drop(backlog);
        if caught_up {
            self.shared.caught_up.send(CaughtUp);
        }
        batch
    }

    fn put_back(&self, lane: Lane, batch: Vec<Pending>) {
        self.backlog().lane(lane).extend(batch);
        self.signal();
    }
}

/// Outcomes that may free an ordering key are flushed apart from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Free,
    Keyed,
}

impl Lane {
    /// What is handed back keeps its key, and waits for nobody who holds it.
    fn of(claimed: &Claimed, outcome: &Outcome) -> Self {
        if claimed.ordering_key.is_some() && !matches!(outcome, Outcome::HandBack) { Self::Keyed } else { Self::Free }
    }
}

impl Backlog {
    fn lane(&mut self, lane: Lane) -> &mut VecDeque<Pending> {
        match lane {
            Lane::Free => &mut self.free,
            Lane::Keyed => &mut self.keyed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::connect::Target;

    /// Fear: handlers get ahead of what is written without limit; or the dispatcher waits for word that never comes.
    #[tokio::test]
    async fn who_was_told_that_we_are_behind_gets_word() {
        let target = Target::parse("postgresql://127.0.0.1:1/nowhere").expect("a URL");
        let pool = target.pool(&tokio::runtime::Handle::current(), 1, "nowhere", "").expect("a pool");
        let told = Arc::new(AtomicUsize::new(0));
        let word = {
            let told = told.clone();
            Outlet::new(move |CaughtUp| {
                told.fetch_add(1, Ordering::Relaxed);
            })
        };
        let settler = Settler::new(Arc::new(Store::new("public")), pool, word);
        let put = |n: usize| {
            for id in 0..i64::try_from(n).expect("few") {
                settler.put(Claimed { id, token: id, queue_id: 1, ordering_key: None }, Outcome::Done);
                let key = Some(id.to_string());
                settler.put(Claimed { id: -id, token: -id, queue_id: 1, ordering_key: key }, Outcome::Done);
            }
        };
        put(SETTLE_WAITING_MAX);
        assert!(!settler.is_behind(), "at the limit, keyed ones apart");
        put(1);
        while !settler.take_batch(Lane::Free).is_empty() {}
        assert_eq!(told.load(Ordering::Relaxed), 0, "nobody had asked");
        put(SETTLE_WAITING_MAX + 1);
        assert!(settler.is_behind());
        assert_eq!(settler.take_batch(Lane::Free).len(), SETTLE_BATCH_MAX);
        assert_eq!(told.load(Ordering::Relaxed), 0, "more than half still wait");
        while !settler.take_batch(Lane::Free).is_empty() {}
        assert_eq!(told.load(Ordering::Relaxed), 1);
    }
}
