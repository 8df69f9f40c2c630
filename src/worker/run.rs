//! One call of a handler, and what its end makes of the message. `testing` runs handlers by the same [`run`].

use std::{any::Any, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt as _;
use metrics::counter;
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::{
    handler::{Context, Erased, Factory, Failure, Incoming, Judgement, Lent, OpenTransaction, Verdict},
    message::DELAY_MAX,
    settle::Outcome,
};

/// How long a rollback of a handler's transaction may take, in ms; then its connection is closed instead.
const ROLLBACK_MS_MAX: u64 = 5_000;

/// How a run ended.
pub(crate) enum End {
    Judged(Judgement),
    Panicked(String),
    TimedOut,
    /// The stop grace was over first.
    Cut,
}

impl End {
    /// What becomes of the message.
    pub(super) fn outcome(self, shared: &Shared) -> Outcome {
        let queue = shared.queue.clone();
        let failed = |event, error, delay: Option<Duration>| {
            counter!("pgflow_failed_total", "queue" => queue, "event" => event).increment(1);
            let delay = delay.map(|d| d.min(DELAY_MAX));
            Outcome::Failed { event, error, delay_ms: delay.map(|d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)) }
        };
        match self {
            Self::Judged(Judgement::Done) => Outcome::Done,
            Self::Cut => Outcome::HandBack,
            Self::Judged(Judgement::Failed(Failure(Verdict::Retry { error, delay }))) => failed("failed", error, delay),
            Self::Judged(Judgement::Failed(Failure(Verdict::Snooze { delay }))) => {
                failed("snoozed", String::new(), Some(delay))
            }
            Self::Judged(Judgement::Failed(Failure(Verdict::Dead { error }))) => {
                Outcome::Dead { kind: "rejected", error }
            }
            Self::Judged(Judgement::Undecodable(why)) => Outcome::Undecodable { why },
            Self::Judged(Judgement::Malformed(kind, error)) => Outcome::Dead { kind, error },
            Self::Panicked(text) => failed("panicked", format!("panic: {text}"), None),
            Self::TimedOut => {
                let limit = shared.deadline.unwrap_or_default().as_millis();
                failed("timed_out", format!("ran past its deadline of {limit} ms"), None)
            }
        }
    }
}

/// Builds a handler, which is user code and may panic.
pub(super) fn build(factory: &Factory) -> Result<Box<dyn Erased>, End> {
    std::panic::catch_unwind(AssertUnwindSafe(|| factory()))
        .map_err(|panic| End::Panicked(format!("while the handler was built: {}", panic_text(&*panic))))
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

pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "not a text".into())
}
