//! A worker: one delivery at a time, decode → start → run → judge → settle → the next that was claimed ahead, or report idle.
//!
//! Before: `pool` gave it a delivery. After: `settle` has the outcome. The actor lives on the control plane; the handler
//! runs on the user's runtime, or, for a high-priority message, on a thread of its own, so that no blocked thread of
//! the user's can delay a rollback. A panic is caught here and counts against the message, never against the tree.

mod run;
mod series;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use metrics::counter;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub(crate) use self::run::{End, roll_back, run};
use self::{
    run::panic_text,
    series::{Desk, Handlers, Left, Series, Unended},
};
use crate::{
    address::Outlet,
    ahead::Shelf,
    handler::{Judgement, Lent, Registry},
    message::Priority,
    settle::Delivery,
};

/// How long after its deadline a handler that blocks its thread, and so cannot be cut, is waited for, in ms.
const HUNG_GRACE_MS: u64 = 1_000;
/// How long a handler that is cut by a stop may take to notice, in ms.
const CUT_GRACE_MS: u64 = 200;

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
    /// What was claimed ahead.
    pub(crate) shelf: Shelf,
    pub(crate) finished: Outlet<Finished>,
}

impl Shared {
    /// What a worker whose run took so long goes on with by itself.
    fn next(&self, took: Duration) -> Option<Delivery> {
        if self.cut.is_cancelled() { None } else { self.shelf.after_run(took) }
    }
}

/// The actor; its state is this worker's own handlers.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) slot: usize,
}

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
        let mut next = Some(delivery);
        while let Some(delivery) = next {
            next = self.attend(delivery, own).await;
        }
        self.shared.finished.send(Finished::Idle(self.slot));
        Ok(())
    }
}

impl Worker {
    /// Has a series run, and ends what it leaves or is given up with. Answers what to go on with.
    async fn attend(&self, delivery: Delivery, own: &mut Handlers) -> Option<Delivery> {
        let high = delivery.incoming.priority == Priority::High;
        let desk = Desk::new(delivery);
        let series =
            Series { shared: self.shared.clone(), desk: desk.clone(), handlers: std::mem::take(own), single: high };
        let mut task = Attended { task: self.start(high, series), desk };
        let (delivery, end) = tokio::select! {
            // The task first: what it has ended is not given up.
            biased;
            joined = &mut task.task => match joined {
                Ok(Left { handlers, unended }) => {
                    *own = handlers;
                    let took = self.end_transaction(unended?).await;
                    return if high { None } else { self.shared.next(took) };
                }
                // Only a runtime that is shutting down cancels it.
                Err(e) => {
                    let why = if e.is_panic() { panic_text(&*e.into_panic()) } else { "the user's runtime ended".into() };
                    (task.desk.give_up(), End::Panicked(why))
                }
            },
            delivery = self.hung(&task.desk) => (Some(delivery), End::TimedOut),
            // The handler is cut at its await point; one that blocks its thread is left behind.
            () = self.cut_and_hung() => (task.desk.give_up(), End::Cut),
        };
        if let Some(delivery) = delivery {
            counter!("pgflow_handler_restarts_total", "queue" => self.shared.queue.clone()).increment(1);
            delivery.settle(end.outcome(&self.shared));
        }
        None
    }

    /// Starts a series where its class belongs.
    fn start(&self, high: bool, series: Series) -> JoinHandle<Left> {
        if high {
            let control = Handle::current();
            Handle::current().spawn_blocking(move || control.block_on(series.run()))
        } else {
            self.shared.user.spawn(series.run())
        }
    }

    /// Resolves with what has run past its deadline, and past the grace for one that cannot be cut.
    async fn hung(&self, desk: &Desk) -> Delivery {
        let Some(limit) = self.shared.deadline.map(|d| d.saturating_add(Duration::from_millis(HUNG_GRACE_MS))) else {
            return std::future::pending().await;
        };
        loop {
            match desk.give_up_after(limit) {
                Ok(delivery) => return delivery,
                Err(left) => tokio::time::sleep(left).await,
            }
        }
    }

    async fn cut_and_hung(&self) {
        self.shared.cut.cancelled().await;
        tokio::time::sleep(Duration::from_millis(CUT_GRACE_MS)).await;
    }

    /// Settles inside the transaction that a handler opened if it succeeded, else rolls back first. Answers how long all took.
    async fn end_transaction(&self, unended: Unended) -> Duration {
        let Unended { delivery, took, end, transaction } = unended;
        let begun = Instant::now();
        let id = delivery.id();
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
            delivery.settle(end.outcome(&self.shared));
        }
        took + begun.elapsed()
    }
}

/// A killed worker takes its task and its message along.
struct Attended {
    task: JoinHandle<Left>,
    desk: Arc<Desk>,
}

impl Drop for Attended {
    fn drop(&mut self) {
        self.task.abort();
        // Dropped outside the desk's lock, a delivery that nobody has ended settles itself.
        drop(self.desk.give_up());
    }
}
