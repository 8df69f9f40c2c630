//! The settling actor: takes outcomes in batches and commits them, keyed ones apart from the rest.

use std::{collections::HashSet, time::Duration};

use deadpool_postgres::Object;
use metrics::counter;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio_postgres::error::SqlState;

use super::{Claimed, Lane, Outcome, Pending, Settler};
use crate::{
    Error, Result,
    connect::{ANSWER_MS_MAX, bounded, give_back},
    store::{Failed, Judged, Store},
};

/// How long a key's row may be held by an open publisher before its settle is tried again later, in ms.
const KEY_WAIT_MS_MAX: u64 = 200;
/// Most flushes of a lane under way at once.
const FLUSHES_MAX: usize = 2;
/// Wait before a failed flush is tried again, in ms.
const FLUSH_RETRY_MS: u64 = 100;

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
        let work = async {
            if batch.iter().any(|p| p.unknown) {
                let asked: Vec<_> =
                    batch.iter().filter(|p| p.unknown).map(|p| (p.claimed.id, p.claimed.token)).collect();
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
        };
        let done = bounded("settle", ANSWER_MS_MAX, work).await;
        give_back(c, done.as_ref().err());
        done
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
            if lane == Lane::Keyed && e.sqlstate() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
                // Nothing is wrong: whoever publishes to the key has not committed yet.
                counter!("pgflow_settle_key_waits_total").increment(1);
                tracing::debug!(target: "pgflow::settle", outcomes = batch.len(), "a key is held by a publisher, will try again");
            } else {
                tracing::warn!(target: "pgflow::settle", error = %e, outcomes = batch.len(), "settle failed, will try again");
            }
            if e.sqlstate() == Some(&SqlState::CHECK_VIOLATION)
                && let Ok(c) = shared.pool.get().await
            {
                // No partition for today: the only CHECK a settle can meet. The leader normally makes them a week ahead.
                let made = bounded("settle: partitions", ANSWER_MS_MAX, shared.store.ensure_partitions(&c)).await;
                give_back(c, made.as_ref().err());
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
    e.sqlstate()
        .is_some_and(|s| (s.code().starts_with("22") || s.code().starts_with("23")) && *s != SqlState::CHECK_VIOLATION)
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
