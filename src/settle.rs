//! Settling: a delivery's outcome goes back to Postgres, fenced by its token, in batches that grow with load.
//!
//! Before: `worker` judged a delivery. After: the row is in history, scheduled, parked, ready again or dead.
//! Invariant: a claimed row is named in the [`Ledger`] until its outcome is committed or known to be fenced; an outcome
//! is never dropped, whatever actor dies. A delivery that is dropped unsettled settles itself.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use deadpool_postgres::{Object, Pool};
use metrics::counter;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::{
    Error, Result,
    address::Address,
    handler::{Incoming, OpenTransaction},
    store::{Failed, Judged, Store},
};

/// Most outcomes in one flush.
const SETTLE_BATCH_MAX: usize = 256;
/// How long a key's row may be held by an open publisher before its settle is tried again later, in ms.
const KEY_WAIT_MS_MAX: u64 = 200;
/// Most flushes of a lane under way at once.
const FLUSHES_MAX: usize = 2;
/// Wait before a failed flush is tried again, in ms.
const FLUSH_RETRY_MS: u64 = 100;

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

/// A claimed message on its way to a worker. Dropped unsettled, it hands itself back, or fails if it had been started.
pub(crate) struct Delivery {
    pub(crate) incoming: Arc<Incoming>,
    claimed: Claimed,
    settler: Settler,
    started: bool,
    settled: bool,
}

impl Delivery {
    pub(crate) fn new(incoming: Incoming, claimed: Claimed, settler: Settler) -> Self {
        settler.ledger().insert(claimed.token);
        Self { incoming: Arc::new(incoming), claimed, settler, started: false, settled: false }
    }

    pub(crate) fn id(&self) -> i64 {
        self.claimed.id
    }

    /// From here on a drop counts as a failed try: the handler may have run.
    pub(crate) fn start(&mut self) {
        self.started = true;
    }

    /// Gives the outcome to the settler.
    pub(crate) fn settle(mut self, outcome: Outcome) {
        self.settled = true;
        self.settler.put(self.claimed.clone(), outcome);
    }

    /// Hands a started delivery back all the same: its runtime stops, the try does not count.
    pub(crate) fn settle_handed_back(self) {
        self.settle(Outcome::HandBack);
    }

    /// Settles as done inside the handler's transaction, as its last statement, and commits.
    /// False: the claim was no longer ours, nothing was committed. An error: the outcome is unknown or failed; the
    /// delivery is settled as failed, which the fence turns into nothing if the commit did happen.
    pub(crate) async fn settle_in(mut self, transaction: OpenTransaction) -> Result<bool> {
        let outcome = commit_done(&self.settler.shared.store, transaction.object(), &self.claimed).await;
        self.settled = true;
        match outcome {
            Ok(ours) => {
                transaction.finished();
                self.settler.answer([self.claimed.token]);
                counter!("pgflow_settled_total", "outcome" => if ours { "done" } else { "fenced" }).increment(1);
                Ok(ours)
            }
            Err(e) => {
                let error = format!("commit of the handler's transaction: {e}");
                self.settler.put(self.claimed.clone(), Outcome::Failed { event: "failed", error, delay_ms: None });
                Err(e)
            }
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.settled {
            let outcome = if self.started {
                Outcome::Failed { event: "failed", error: "its worker died".into(), delay_ms: None }
            } else {
                Outcome::HandBack
            };
            self.settler.put(self.claimed.clone(), outcome);
        }
    }
}

async fn commit_done(store: &Store, c: &Object, claimed: &Claimed) -> Result<bool> {
    let end = |e| Error::database("end the handler's transaction", e);
    if !store.settle_one(c, claimed.id, claimed.token).await? {
        c.batch_execute("ROLLBACK").await.map_err(end)?;
        return Ok(false);
    }
    if let Some(key) = &claimed.ordering_key {
        store.release_keys(c, &[claimed.queue_id], std::slice::from_ref(key)).await?;
    }
    c.batch_execute("COMMIT").await.map_err(end)?;
    Ok(true)
}

/// Tokens of claims that this process still answers for.
pub(crate) type Ledger = HashSet<i64>;

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
}

#[derive(Default)]
struct Backlog {
    free: VecDeque<Pending>,
    /// Those that hold an ordering key wait apart: whoever publishes to their key in an open transaction holds up them alone.
    keyed: VecDeque<Pending>,
    /// A signal is on its way to the actor: one is enough.
    signalled: bool,
}

struct Pending {
    claimed: Claimed,
    outcome: Outcome,
    /// An earlier flush of it was not answered: no row may mean that it was ours.
    unknown: bool,
}

impl Settler {
    pub(crate) fn new(store: Arc<Store>, pool: Pool) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                pool,
                backlog: Mutex::default(),
                ledger: Mutex::default(),
                answered: tokio::sync::Notify::new(),
                actor: Address::default(),
            }),
        }
    }

    pub(crate) fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.shared.ledger.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Where the settling actor is reached.
    pub(crate) fn address(&self) -> &Address<Msg> {
        &self.shared.actor
    }

    /// Strikes a token off: its outcome is committed or fenced.
    fn answer(&self, tokens: impl IntoIterator<Item = i64>) {
        let mut ledger = self.ledger();
        for token in tokens {
            ledger.remove(&token);
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

    fn backlog(&self) -> std::sync::MutexGuard<'_, Backlog> {
        self.shared.backlog.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Takes an outcome; also without a delivery, for a row that never became one.
    pub(crate) fn put(&self, claimed: Claimed, outcome: Outcome) {
        self.ledger().insert(claimed.token);
        let lane = Lane::of(&claimed);
        self.backlog().lane(lane).push_back(Pending { claimed, outcome, unknown: false });
        self.signal();
    }

    fn signal(&self) {
        if !std::mem::replace(&mut self.backlog().signalled, true) {
            self.shared.actor.signal(Msg::Work);
        }
    }

    fn take_batch(&self, lane: Lane) -> Vec<Pending> {
        let mut backlog = self.backlog();
        let waiting = backlog.lane(lane);
        let n = waiting.len().min(SETTLE_BATCH_MAX);
        waiting.drain(..n).collect()
    }

    fn put_back(&self, lane: Lane, batch: Vec<Pending>) {
        self.backlog().lane(lane).extend(batch);
        self.signal();
    }
}

/// Outcomes with an ordering key are flushed apart from those without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Free,
    Keyed,
}

impl Lane {
    fn of(claimed: &Claimed) -> Self {
        if claimed.ordering_key.is_some() { Self::Keyed } else { Self::Free }
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

/// The settling actor's protocol.
pub(crate) enum Msg {
    /// Outcomes wait.
    Work,
    /// A flush ended; on failure its lane waits before the next.
    Flushed { lane: Lane, ok: bool },
    /// Try again after a failure.
    Again(Lane),
}

/// The settling actor.
pub(crate) struct SettlerActor;

#[derive(Default)]
struct Flights {
    under_way: usize,
    waiting: bool,
}

pub(crate) struct State {
    settler: Settler,
    free: Flights,
    keyed: Flights,
}

impl Actor for SettlerActor {
    type Msg = Msg;
    type State = State;
    type Arguments = Settler;

    async fn pre_start(&self, myself: ActorRef<Msg>, settler: Settler) -> Result<State, ActorProcessingErr> {
        settler.address().occupy(myself.clone());
        myself.cast(Msg::Work)?;
        Ok(State { settler, free: Flights::default(), keyed: Flights::default() })
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Work => state.settler.backlog().signalled = false,
            Msg::Flushed { lane, ok } => {
                let flights = state.flights(lane);
                flights.under_way -= 1;
                if !ok && !std::mem::replace(&mut flights.waiting, true) {
                    myself.send_after(Duration::from_millis(FLUSH_RETRY_MS), move || Msg::Again(lane));
                }
            }
            Msg::Again(lane) => state.flights(lane).waiting = false,
        }
        state.fly(&myself, Lane::Free);
        state.fly(&myself, Lane::Keyed);
        Ok(())
    }
}

impl State {
    fn flights(&mut self, lane: Lane) -> &mut Flights {
        match lane {
            Lane::Free => &mut self.free,
            Lane::Keyed => &mut self.keyed,
        }
    }

    /// Starts flushes while outcomes wait: alone when idle, in batches while others are under way.
    fn fly(&mut self, myself: &ActorRef<Msg>, lane: Lane) {
        while !self.flights(lane).waiting && self.flights(lane).under_way < FLUSHES_MAX {
            let batch = self.settler.take_batch(lane);
            if batch.is_empty() {
                break;
            }
            self.flights(lane).under_way += 1;
            let (settler, myself) = (self.settler.clone(), myself.clone());
            tokio::spawn(async move {
                let ok = flush(&settler, lane, batch).await;
                let _ = myself.cast(Msg::Flushed { lane, ok });
            });
        }
    }
}

/// Settles a batch; a failed one is settled one by one, and what fails alone goes back to wait, marked as unknown.
async fn flush(settler: &Settler, lane: Lane, mut batch: Vec<Pending>) -> bool {
    let shared = &settler.shared;
    let result = async {
        let mut c = shared.pool.get().await.map_err(|e| Error::pool("settle", e))?;
        if batch.iter().any(|p| p.unknown) {
            let asked: Vec<_> = batch.iter().filter(|p| p.unknown).map(|p| (p.claimed.id, p.claimed.token)).collect();
            let found: HashSet<i64> = shared.store.find_settled(&c, &asked).await?.into_iter().collect();
            batch.retain(|p| {
                let answered = p.unknown && found.contains(&p.claimed.token);
                if answered {
                    settler.answer([p.claimed.token]);
                }
                !answered
            });
        }
        // A delivery whose worker died is settled under the same statement as the rest.
        commit_batch(&shared.store, &mut c, lane, &batch).await
    }
    .await;
    match result {
        Ok(fenced) => {
            settler.answer(batch.iter().map(|p| p.claimed.token));
            for p in &batch {
                let outcome = if fenced.contains(&p.claimed.id) { "fenced" } else { p.outcome.label() };
                counter!("pgflow_settled_total", "outcome" => outcome).increment(1);
                tracing::trace!(target: "pgflow::settle", id = p.claimed.id, outcome, "settled");
            }
            if !fenced.is_empty() {
                tracing::warn!(target: "pgflow::settle", ids = ?fenced, "claims were no longer ours: their settle changed nothing");
            }
            true
        }
        Err(e) => {
            tracing::warn!(target: "pgflow::settle", error = %e, outcomes = batch.len(), "settle failed, will try again");
            if e.sqlstate() == Some(&tokio_postgres::error::SqlState::CHECK_VIOLATION)
                && let Ok(c) = shared.pool.get().await
            {
                // No partition for today: the only CHECK a settle can meet. The leader normally makes them a week ahead.
                let _ = shared.store.ensure_partitions(&c).await;
            }
            for p in &mut batch {
                p.unknown = true;
            }
            let refused = e.sqlstate().is_some() && !e.is_closed();
            if refused && batch.len() > 1 {
                // One that the database refuses, or whose key is held, must not hold up the others.
                let mut ok = true;
                for p in batch {
                    ok &= Box::pin(flush(settler, lane, vec![p])).await;
                }
                return ok;
            }
            if refused && is_unsettleable(&e) {
                for p in &mut batch {
                    let error = format!("its outcome could not be stored: {e}");
                    p.outcome = Outcome::Dead { kind: "unsettleable", error };
                }
            }
            settler.put_back(lane, batch);
            false
        }
    }
}

/// A value that the database will never take: class 22 or 23, but for a partition that is only missing.
fn is_unsettleable(e: &Error) -> bool {
    e.sqlstate().is_some_and(|s| {
        (s.code().starts_with("22") || s.code().starts_with("23"))
            && *s != tokio_postgres::error::SqlState::CHECK_VIOLATION
    })
}

/// Commits a batch; answers the ids that were no longer ours.
async fn commit_batch(store: &Store, c: &mut Object, lane: Lane, batch: &[Pending]) -> Result<HashSet<i64>> {
    let pair = |p: &Pending| (p.claimed.id, p.claimed.token);
    let mut fenced: HashSet<i64> = batch.iter().map(|p| p.claimed.id).collect();
    let done: Vec<_> = batch.iter().filter(|p| matches!(p.outcome, Outcome::Done)).map(pair).collect();
    if lane == Lane::Free && done.len() == batch.len() {
        // The common case is one autocommit statement.
        for id in store.settle_done(c, &done).await? {
            fenced.remove(&id);
        }
        return Ok(fenced);
    }
    let tx = c.transaction().await.map_err(|e| Error::database("settle", e))?;
    if lane == Lane::Keyed {
        let sql = format!("SET LOCAL lock_timeout = {KEY_WAIT_MS_MAX}");
        tx.batch_execute(&sql).await.map_err(|e| Error::database("settle", e))?;
    }
    let mut settled: Vec<i64> = Vec::with_capacity(batch.len());
    let mut freed: (Vec<i32>, Vec<String>) = Default::default();
    let mut free = |claimed: &Claimed| {
        if let Some(key) = &claimed.ordering_key {
            freed.0.push(claimed.queue_id);
            freed.1.push(key.clone());
        }
    };
    let all_done: Vec<_> = batch.iter().filter(|p| matches!(p.outcome, Outcome::Done)).collect();
    if !all_done.is_empty() {
        let ours = store.settle_done(&tx, &all_done.iter().map(|p| pair(p)).collect::<Vec<_>>()).await?;
        all_done.iter().filter(|p| ours.contains(&p.claimed.id)).for_each(|p| free(&p.claimed));
        settled.extend(ours);
    }
    let (mut failed, mut dead, mut parked, mut back) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for p in batch {
        let (id, token) = pair(p);
        match &p.outcome {
            Outcome::Done => {}
            Outcome::Failed { event, error, delay_ms } => {
                failed.push(Failed { id, token, event, error: error.clone(), delay_ms: *delay_ms });
            }
            Outcome::Dead { kind, error } => {
                dead.push(Failed { id, token, event: kind, error: error.clone(), delay_ms: None });
            }
            Outcome::HandBack => back.push((id, token)),
            Outcome::Undecodable { why } => {
                parked.push(Failed { id, token, event: "undecodable", error: why.clone(), delay_ms: None });
            }
        }
    }
    let mut judged: Vec<Judged> = Vec::new();
    if !failed.is_empty() {
        judged.extend(store.settle_failed(&tx, &failed).await?);
    }
    if !dead.is_empty() {
        judged.extend(store.settle_dead(&tx, &dead).await?);
    }
    for j in judged {
        settled.push(j.id);
        if j.dead {
            tracing::warn!(target: "pgflow::settle", id = j.id, "message is dead");
            if let Some(key) = j.ordering_key {
                freed.0.push(j.queue_id);
                freed.1.push(key);
            }
        }
    }
    if !back.is_empty() {
        settled.extend(store.hand_back(&tx, &back).await?);
    }
    if !parked.is_empty() {
        settled.extend(store.park_undecodable(&tx, &parked).await?);
    }
    if !freed.0.is_empty() {
        store.release_keys(&tx, &freed.0, &freed.1).await?;
    }
    tx.commit().await.map_err(|e| Error::database("settle: COMMIT", e))?;
    for id in settled {
        fenced.remove(&id);
    }
    Ok(fenced)
}
