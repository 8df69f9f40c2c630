//! A series of runs in one task, where user code may run: a worker's message, and after it what was claimed ahead.
//!
//! The message under way lies on the [`Desk`], which the task shares with the worker's actor. Who takes it away ends it: the task
//! when its handler has returned, the actor when it gives the task up. So a message is settled once, and a task that was given up
//! and comes back late settles nothing and begins nothing. A transaction that the handler opened is ended here, too, beside the
//! connection that it is on; while that lasts nothing lies on the desk.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use metrics::{counter, histogram};
use tracing::Instrument as _;

use super::{
    Shared,
    run::{End, build, roll_back, run},
};
use crate::{
    handler::{Erased, Incoming, Judgement, OpenTransaction},
    message::Priority,
    settle::{Delivery, Outcome},
};

/// How long a series may run without the other tasks of its runtime having their turn, but for the handler that is running, in ms.
const TURN_MS: u64 = 1;

/// A worker's own handlers by kind, built when first needed.
pub(super) type Handlers = HashMap<String, Box<dyn Erased>>;

/// Where the delivery under way lies.
pub(super) struct Desk(Mutex<Lying>);

struct Lying {
    delivery: Option<(Delivery, Instant)>,
    given_up: bool,
}

impl Desk {
    pub(super) fn new(delivery: Delivery) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Lying { delivery: Some((delivery, Instant::now())), given_up: false })))
    }

    fn lock(&self) -> MutexGuard<'_, Lying> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Gives it back when the series was given up.
    pub(super) fn lay(&self, delivery: Delivery) -> Option<Delivery> {
        let mut lying = self.lock();
        if lying.given_up {
            return Some(delivery);
        }
        lying.delivery = Some((delivery, Instant::now()));
        None
    }

    /// From here on the handler may have run. False: it must not begin, the message was taken away.
    fn start(&self) -> bool {
        self.lock().delivery.as_mut().map(|(delivery, _)| delivery.start()).is_some()
    }

    fn incoming(&self) -> Option<Arc<Incoming>> {
        self.lock().delivery.as_ref().map(|(delivery, _)| delivery.incoming.clone())
    }

    /// For the task whose handler has returned.
    pub(super) fn take(&self) -> Option<(Delivery, Duration)> {
        self.lock().delivery.take().map(|(delivery, since)| (delivery, since.elapsed()))
    }

    /// For the actor: the message that has been under way for so long, if one has; how long it has still got, if not.
    pub(super) fn give_up_after(&self, limit: Duration) -> Result<Delivery, Duration> {
        let mut lying = self.lock();
        let age = lying.delivery.as_ref().map_or(Duration::ZERO, |(_, since)| since.elapsed());
        match lying.delivery.take_if(|_| age >= limit) {
            Some((delivery, _)) => {
                lying.given_up = true;
                Ok(delivery)
            }
            None => Err(limit.saturating_sub(age)),
        }
    }

    /// For the actor: whatever lies there.
    pub(super) fn give_up(&self) -> Option<Delivery> {
        let mut lying = self.lock();
        lying.given_up = true;
        lying.delivery.take().map(|(delivery, _)| delivery)
    }
}

/// The task.
pub(super) struct Series {
    pub(super) shared: Arc<Shared>,
    pub(super) desk: Arc<Desk>,
    pub(super) handlers: Handlers,
    /// One message only.
    pub(super) single: bool,
}

impl Series {
    /// Runs what lies on the desk, then what was claimed ahead, until nothing is, or it was given up.
    pub(super) async fn run(mut self) -> Handlers {
        let mut turn = Instant::now();
        while let Some(incoming) = self.desk.incoming() {
            let ended = self.one(&incoming).await;
            let Some((delivery, took)) = self.desk.take() else { break };
            let Some((end, transaction)) = ended else {
                let why = format!("no handler for kind \"{}\" version {}", incoming.kind, incoming.version);
                delivery.settle(Outcome::Undecodable { why });
                break;
            };
            histogram!("pgflow_handle_seconds", "queue" => self.shared.queue.clone()).record(took.as_secs_f64());
            let took = match transaction {
                Some(transaction) => took + end_transaction(&self.shared, delivery, end, transaction).await,
                None => {
                    delivery.settle(end.outcome(&self.shared));
                    took
                }
            };
            if turn.elapsed() >= Duration::from_millis(TURN_MS) {
                tokio::task::yield_now().await;
                turn = Instant::now();
            }
            let next = if self.single { None } else { self.shared.next(took) };
            let Some(next) = next else { break };
            // Given up meanwhile: dropped, it hands itself back.
            if self.desk.lay(next).is_some() {
                break;
            }
        }
        self.handlers
    }

    /// One run. None: nobody here reads the kind, or the message was taken away before it began.
    async fn one(&mut self, incoming: &Incoming) -> Option<(End, Option<OpenTransaction>)> {
        let shared = &self.shared;
        let restarts = || counter!("pgflow_handler_restarts_total", "queue" => shared.queue.clone()).increment(1);
        let factory = shared.registry.find(&incoming.kind)?;
        if !self.desk.start() {
            return None;
        }
        if let Ok(waited) = incoming.created_at.elapsed() {
            histogram!("pgflow_start_latency_seconds", "queue" => shared.queue.clone()).record(waited.as_secs_f64());
        }
        if !self.handlers.contains_key(&incoming.kind) {
            match build(factory) {
                Ok(handler) => drop(self.handlers.insert(incoming.kind.clone(), handler)),
                Err(end) => {
                    restarts();
                    return Some((end, None));
                }
            }
        }
        let handler = self.handlers.get_mut(&incoming.kind)?;
        let span = tracing::info_span!(target: "pgflow::handle", "handle", queue = %incoming.queue, kind = %incoming.kind, id = incoming.id, attempt = incoming.attempt);
        let lent = if incoming.priority == Priority::High { &shared.lent_to_high } else { &shared.lent };
        let ended = run(&mut **handler, incoming, lent, &shared.cut, shared.deadline).instrument(span).await;
        if !matches!(ended.0, End::Judged(_)) {
            // A handler that panicked or was cut may hold broken state: it is built anew.
            self.handlers.remove(&incoming.kind);
            restarts();
        }
        Some(ended)
    }
}

/// Settles inside the transaction that a handler opened if it succeeded, else rolls back first. Answers how long it took.
async fn end_transaction(shared: &Shared, delivery: Delivery, end: End, transaction: OpenTransaction) -> Duration {
    let (begun, id) = (Instant::now(), delivery.id());
    if matches!(end, End::Judged(Judgement::Done)) {
        match delivery.settle_in(transaction).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!(target: "pgflow::settle", id, "claim was no longer ours: the handler's transaction was rolled back");
            }
            Err(e) => {
                tracing::warn!(target: "pgflow::settle", id, error = %e, "the handler's transaction did not commit");
            }
        }
    } else {
        roll_back(transaction).await;
        delivery.settle(end.outcome(shared));
    }
    begun.elapsed()
}
