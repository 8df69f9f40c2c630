//! A series of runs in one task, where user code may run: a worker's message, and after it what was claimed ahead.
//!
//! The message under way lies on the [`Desk`], which the task shares with the worker's actor. Who takes it away ends it: the task
//! when its handler has returned, the actor when it gives the task up. So a message is settled once, and a task that was given up
//! and comes back late settles nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use metrics::{counter, histogram};
use tracing::Instrument as _;

use super::{
    Shared,
    run::{End, build, run},
};
use crate::{
    handler::{Erased, Incoming, OpenTransaction},
    settle::{Delivery, Outcome},
};

/// A worker's own handlers by kind, built when first needed.
pub(super) type Handlers = HashMap<String, Box<dyn Erased>>;

/// The delivery under way, and since when.
pub(super) struct Desk(Mutex<Option<(Delivery, Instant)>>);

impl Desk {
    pub(super) fn new(delivery: Delivery) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some((delivery, Instant::now())))))
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Delivery, Instant)>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn lay(&self, delivery: Delivery) {
        *self.lock() = Some((delivery, Instant::now()));
    }

    /// From here on the handler may have run.
    fn start(&self) {
        if let Some((delivery, _)) = &mut *self.lock() {
            delivery.start();
        }
    }

    fn incoming(&self) -> Option<Arc<Incoming>> {
        self.lock().as_ref().map(|(delivery, _)| delivery.incoming.clone())
    }

    /// How long the one under way has been.
    pub(super) fn age(&self) -> Option<Duration> {
        self.lock().as_ref().map(|(_, since)| since.elapsed())
    }

    /// Whoever takes it must end it.
    pub(super) fn take(&self) -> Option<(Delivery, Duration)> {
        self.lock().take().map(|(delivery, since)| (delivery, since.elapsed()))
    }
}

/// What a series leaves behind.
pub(super) struct Left {
    pub(super) handlers: Handlers,
    pub(super) open: Option<Open>,
}

/// The last one opened a transaction, which the worker ends.
pub(super) struct Open {
    pub(super) delivery: Delivery,
    pub(super) took: Duration,
    pub(super) end: End,
    pub(super) transaction: OpenTransaction,
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
    /// Runs what lies on the desk, then what was claimed ahead, until nothing is, one leaves a transaction, or it was given up.
    pub(super) async fn run(mut self) -> Left {
        let mut open = None;
        while let Some(incoming) = self.desk.incoming() {
            let ended = self.one(&incoming).await;
            let Some((delivery, took)) = self.desk.take() else { break };
            let (end, transaction) = match ended {
                Ok(ended) => ended,
                Err(why) => {
                    delivery.settle(Outcome::Undecodable { why });
                    break;
                }
            };
            histogram!("pgflow_handle_seconds", "queue" => self.shared.queue.clone()).record(took.as_secs_f64());
            if let Some(transaction) = transaction {
                open = Some(Open { delivery, took, end, transaction });
                break;
            }
            delivery.settle(end.outcome(&self.shared));
            // The others of this runtime have their turn, too.
            tokio::task::coop::consume_budget().await;
            if self.single || self.shared.cut.is_cancelled() {
                break;
            }
            let Some(next) = self.shared.shelf.another(took) else { break };
            self.desk.lay(next);
        }
        Left { handlers: self.handlers, open }
    }

    /// An error: nobody here reads it.
    async fn one(&mut self, incoming: &Incoming) -> Result<(End, Option<OpenTransaction>), String> {
        if !self.handlers.contains_key(&incoming.kind) {
            let Some(factory) = self.shared.registry.find(&incoming.kind) else {
                return Err(format!("no handler for kind \"{}\" version {}", incoming.kind, incoming.version));
            };
            self.desk.start();
            match build(factory) {
                Ok(handler) => drop(self.handlers.insert(incoming.kind.clone(), handler)),
                Err(end) => {
                    self.restarts();
                    return Ok((end, None));
                }
            }
        }
        self.desk.start();
        if let Ok(waited) = incoming.created_at.elapsed() {
            histogram!("pgflow_start_latency_seconds", "queue" => self.shared.queue.clone())
                .record(waited.as_secs_f64());
        }
        let Some(handler) = self.handlers.get_mut(&incoming.kind) else { return Err("its handler is gone".into()) };
        let span = tracing::info_span!(target: "pgflow::handle", "handle", queue = %incoming.queue, kind = %incoming.kind, id = incoming.id, attempt = incoming.attempt);
        let shared = &self.shared;
        let ended = run(&mut **handler, incoming, &shared.lent, &shared.cut, shared.deadline).instrument(span).await;
        if !matches!(ended.0, End::Judged(_)) {
            // A handler that panicked or was cut may hold broken state: it is built anew.
            self.handlers.remove(&incoming.kind);
            self.restarts();
        }
        Ok(ended)
    }

    fn restarts(&self) {
        counter!("pgflow_handler_restarts_total", "queue" => self.shared.queue.clone()).increment(1);
    }
}
