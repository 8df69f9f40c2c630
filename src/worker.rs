//! A worker: one delivery at a time, decode → start → run → judge → settle → report idle.
//!
//! Before: `pool` gave it a delivery. After: `settle` has the outcome. The actor lives on the control plane; the handler
//! runs on the user's runtime, or, for a high-priority message, on a thread of its own, so that no blocked thread of
//! the user's can delay a rollback. A panic is caught here and counts against the message, never against the tree.
//! `testing` runs handlers by the same [`run`].

use std::{any::Any, collections::HashMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use metrics::{counter, histogram};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::{
    address::Outlet,
    handler::{Context, Erased, Factory, Failure, Incoming, Judgement, Lent, OpenTransaction, Registry, Verdict},
    message::{DELAY_MAX, Priority},
    settle::{Delivery, Outcome},
};

/// How long after its deadline a handler that blocks its thread, and so cannot be cut, is waited for, in ms.
const HUNG_GRACE_MS: u64 = 1_000;
/// How long a handler that is cut by a stop may take to notice, in ms.
const CUT_GRACE_MS: u64 = 200;
/// How long a rollback of a handler's transaction may take, in ms; then its connection is closed instead.
const ROLLBACK_MS_MAX: u64 = 5_000;

/// Sent up to the pool.
pub(crate) enum Finished {
    /// A worker (re)started in this slot and is idle.
    Up(usize, ActorRef<Msg>),
    /// The worker of this slot is idle again.
    Idle(usize),
}

/// A worker's protocol.
pub(crate) enum Msg {
    /// Handle this.
    Run(Delivery),
}

/// What every worker of a queue shares.
pub(crate) struct Shared {
    pub(crate) queue: Arc<str>,
    pub(crate) registry: Registry,
    pub(crate) lent: Lent,
    pub(crate) deadline: Option<Duration>,
    /// Where handlers of normal and low messages run.
    pub(crate) user: Handle,
    /// Fires when the stop grace is over: what still runs is handed back.
    pub(crate) cut: CancellationToken,
    pub(crate) finished: Outlet<Finished>,
}

/// The actor; its state is this worker's own handlers, built when first needed.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) slot: usize,
}

type Handlers = HashMap<String, Box<dyn Erased>>;

impl Actor for Worker {
    type Msg = Msg;
    type State = Handlers;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Msg>, (): ()) -> Result<Handlers, ActorProcessingErr> {
        self.shared.finished.send(Finished::Up(self.slot, myself));
        Ok(Handlers::new())
    }

    async fn handle(&self, _: ActorRef<Msg>, message: Msg, own: &mut Handlers) -> Result<(), ActorProcessingErr> {
        let Msg::Run(delivery) = message;
        self.run(delivery, own).await;
        self.shared.finished.send(Finished::Idle(self.slot));
        Ok(())
    }
}

/// What a run of a handler left behind.
struct Ran {
    handler: Option<Box<dyn Erased>>,
    end: End,
    transaction: Option<OpenTransaction>,
}

/// How a run ended.
pub(crate) enum End {
    Judged(Judgement),
    Panicked(String),
    TimedOut,
    /// The stop grace was over first.
    Cut,
}

/// Where a run's handler comes from. User code builds it, so that happens where user code may run.
enum Source {
    Own(Box<dyn Erased>),
    New(Factory),
}

impl Worker {
    async fn run(&self, mut delivery: Delivery, own: &mut Handlers) {
        let incoming = delivery.incoming.clone();
        let Some(source) = self.find(&incoming.kind, own) else {
            let why = format!("no handler for kind \"{}\" version {}", incoming.kind, incoming.version);
            return delivery.settle(Outcome::Undecodable { why });
        };
        if let Ok(waited) = incoming.created_at.elapsed() {
            histogram!("pgflow_start_latency_seconds", "queue" => self.shared.queue.clone())
                .record(waited.as_secs_f64());
        }
        delivery.start();
        let span = tracing::info_span!(target: "pgflow::handle", "handle", queue = %incoming.queue, kind = %incoming.kind, id = incoming.id, attempt = incoming.attempt);
        let begun = std::time::Instant::now();
        let mut handle = AbortOnDrop(self.start(source, incoming.clone(), span));
        let hung = self.shared.deadline.map(|d| d.saturating_add(Duration::from_millis(HUNG_GRACE_MS)));
        let ran = tokio::select! {
            joined = &mut handle.0 => joined.unwrap_or_else(|e| Ran {
                handler: None,
                // Only a runtime that is shutting down cancels it.
                end: End::Panicked(if e.is_panic() { panic_text(&*e.into_panic()) } else { "the user's runtime ended".into() }),
                transaction: None,
            }),
            () = sleep_or_never(hung) => Ran { handler: None, end: End::TimedOut, transaction: None },
            // The handler is cut at its await point; one that blocks its thread is left behind.
            () = self.cut_and_hung() => Ran { handler: None, end: End::Cut, transaction: None },
        };
        if matches!(ran.end, End::Cut) {
            return delivery.settle_handed_back();
        }
        histogram!("pgflow_handle_seconds", "queue" => self.shared.queue.clone()).record(begun.elapsed().as_secs_f64());
        match ran.handler {
            Some(handler) => drop(own.insert(incoming.kind.clone(), handler)),
            None => counter!("pgflow_handler_restarts_total", "queue" => self.shared.queue.clone()).increment(1),
        }
        self.judge(delivery, ran.end, ran.transaction).await;
    }

    /// This worker's own handler for the kind, taken out while it runs.
    fn find(&self, kind: &str, own: &mut Handlers) -> Option<Source> {
        own.remove(kind).map(Source::Own).or_else(|| self.shared.registry.find(kind).cloned().map(Source::New))
    }

    async fn cut_and_hung(&self) {
        self.shared.cut.cancelled().await;
        tokio::time::sleep(Duration::from_millis(CUT_GRACE_MS)).await;
    }

    /// Starts the handler where its class belongs.
    fn start(&self, source: Source, incoming: Arc<Incoming>, span: tracing::Span) -> JoinHandle<Ran> {
        let high = incoming.priority == Priority::High;
        let run = call(source, incoming, self.shared.lent.clone(), self.shared.cut.clone(), self.shared.deadline)
            .instrument(span);
        if high {
            let control = Handle::current();
            Handle::current().spawn_blocking(move || control.block_on(run))
        } else {
            self.shared.user.spawn(run)
        }
    }

    /// Turns the end of a run into an outcome, inside the handler's transaction if it opened one and succeeded.
    async fn judge(&self, delivery: Delivery, end: End, transaction: Option<OpenTransaction>) {
        let id = delivery.id();
        if matches!(end, End::Judged(Judgement::Done)) {
            let Some(transaction) = transaction else { return delivery.settle(Outcome::Done) };
            match delivery.settle_in(transaction).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(target: "pgflow::settle", id, "claim was no longer ours: the handler's transaction was rolled back");
                }
                Err(e) => {
                    tracing::warn!(target: "pgflow::settle", id, error = %e, "the handler's transaction did not commit");
                }
            }
            return;
        }
        if let Some(transaction) = transaction {
            roll_back(transaction).await;
        }
        let queue = self.shared.queue.clone();
        let failed = |event, error, delay: Option<Duration>| {
            counter!("pgflow_failed_total", "queue" => queue, "event" => event).increment(1);
            let delay = delay.map(|d| d.min(DELAY_MAX));
            Outcome::Failed { event, error, delay_ms: delay.map(|d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)) }
        };
        delivery.settle(match end {
            End::Judged(Judgement::Done) => Outcome::Done,
            End::Cut => Outcome::HandBack,
            End::Judged(Judgement::Failed(Failure(Verdict::Retry { error, delay }))) => failed("failed", error, delay),
            End::Judged(Judgement::Failed(Failure(Verdict::Snooze { delay }))) => {
                failed("snoozed", String::new(), Some(delay))
            }
            End::Judged(Judgement::Failed(Failure(Verdict::Dead { error }))) => {
                Outcome::Dead { kind: "rejected", error }
            }
            End::Judged(Judgement::Undecodable(why)) => Outcome::Undecodable { why },
            End::Judged(Judgement::Malformed(kind, error)) => Outcome::Dead { kind, error },
            End::Panicked(text) => failed("panicked", format!("panic: {text}"), None),
            End::TimedOut => {
                let limit = self.shared.deadline.unwrap_or_default().as_millis();
                failed("timed_out", format!("ran past its deadline of {limit} ms"), None)
            }
        });
    }
}

/// Runs one handler call to its end, its panic or its deadline.
async fn call(
    source: Source,
    incoming: Arc<Incoming>,
    lent: Lent,
    cut: CancellationToken,
    deadline: Option<Duration>,
) -> Ran {
    let built = std::panic::catch_unwind(AssertUnwindSafe(|| match source {
        Source::Own(handler) => handler,
        Source::New(build) => build(),
    }));
    let mut handler = match built {
        Ok(handler) => handler,
        Err(panic) => {
            let text = format!("while the handler was built: {}", panic_text(&*panic));
            return Ran { handler: None, end: End::Panicked(text), transaction: None };
        }
    };
    let (end, transaction) = run(&mut *handler, &incoming, &lent, &cut, deadline).await;
    // A handler that panicked or was cut may hold broken state: it is built anew.
    let handler = matches!(end, End::Judged(_)).then_some(handler);
    Ran { handler, end, transaction }
}

/// Decodes, validates and handles: to the end, a panic, the deadline or the cut; with the transaction, if one was opened and is
/// fit to be ended by a statement.
pub(crate) async fn run(
    handler: &mut dyn Erased,
    incoming: &Incoming,
    lent: &Lent,
    cut: &CancellationToken,
    deadline: Option<Duration>,
) -> (End, Option<OpenTransaction>) {
    let mut cx = Context::new(incoming, lent, cut.clone());
    let run = AssertUnwindSafe(handler.call(&mut cx)).catch_unwind();
    let end = tokio::select! {
        // The handler first: one that is ready at its deadline has made it.
        biased;
        result = run => match result {
            Ok(judgement) => End::Judged(judgement),
            Err(panic) => End::Panicked(panic_text(&*panic)),
        },
        () = sleep_or_never(deadline) => End::TimedOut,
        () = cut.cancelled() => End::Cut,
    };
    // A handler that noticed the cut and gave up has not failed: its message goes back without a try.
    let end = match end {
        End::Judged(Judgement::Failed(Failure(Verdict::Retry { .. }))) if cut.is_cancelled() => End::Cut,
        end => end,
    };
    let transaction = cx.into_transaction();
    // A connection that was cut in mid-statement is not fit for a ROLLBACK: dropping it closes it.
    let transaction = if matches!(end, End::Judged(_)) { transaction } else { None };
    (end, transaction)
}

async fn sleep_or_never(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// Rolls back and gives the connection back; one that does not answer is closed instead.
pub(crate) async fn roll_back(transaction: OpenTransaction) {
    let done =
        tokio::time::timeout(Duration::from_millis(ROLLBACK_MS_MAX), transaction.object().batch_execute("ROLLBACK"))
            .await;
    if matches!(done, Ok(Ok(()))) {
        transaction.finished();
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "not a text".into())
}

/// A killed worker takes its handler along.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
