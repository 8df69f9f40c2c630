//! A worker: one delivery at a time, decode → start → run → judge → settle → the next that was claimed ahead, or report idle.
//!
//! Before: `pool` gave it a delivery. After: `settle` has the outcome. The actor lives on the control plane; the handler
//! runs on the user's runtime, or, for a high-priority message, on a thread of its own, so that no blocked thread of
//! the user's can delay a rollback. A panic is caught here and counts against the message, never against the tree.

mod run;
mod series;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use metrics::counter;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub(crate) use self::run::{End, roll_back, run};
use self::{
    run::panic_text,
    series::{Desk, Handlers, Series},
};
use crate::{
    address::Outlet,
    ahead::Shelf,
    handler::{Lent, Registry},
    message::Priority,
    settle::{COMMIT_MS_MAX, Delivery},
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
    pub(crate) lent_to_high: Lent,
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
        self.attend(delivery, own).await?;
        self.shared.finished.send(Finished::Idle(self.slot));
        Ok(())
    }
}

impl Worker {
    /// Has a series run, and ends what it is given up with. An error: nobody can run anything any more.
    async fn attend(&self, delivery: Delivery, own: &mut Handlers) -> Result<(), ActorProcessingErr> {
        let high = delivery.incoming.priority == Priority::High;
        let desk = Desk::new(delivery);
        let series =
            Series { shared: self.shared.clone(), desk: desk.clone(), handlers: std::mem::take(own), single: high };
        let mut task = Attended { task: self.start(high, series), desk };
        let (delivery, end) = tokio::select! {
            // The task first: what it has ended is not given up.
            biased;
            joined = &mut task.task => match joined {
                Ok(handlers) => {
                    *own = handlers;
                    return Ok(());
                }
                Err(e) if e.is_panic() => (task.desk.give_up(), End::Panicked(panic_text(&*e.into_panic()))),
                // Only a runtime that has been shut down cancels it. What has not begun goes back, and the tree comes to its end:
                // else all that waits would be claimed in vain, over and over.
                Err(_) => return Err("the tokio runtime that started pgflow has ended: handlers cannot run".into()),
            },
            delivery = self.hung(&task.desk) => (Some(delivery), End::TimedOut),
            // The handler is cut at its await point; one that blocks its thread is left behind.
            () = self.cut_and_hung() => (task.desk.give_up(), End::Cut),
        };
        let Some(delivery) = delivery else {
            // The handler has returned: what it opened is being committed, and then the task ends.
            let _ = tokio::time::timeout(Duration::from_millis(COMMIT_MS_MAX), &mut task.task).await;
            return Ok(());
        };
        counter!("pgflow_handler_restarts_total", "queue" => self.shared.queue.clone()).increment(1);
        delivery.settle(end.outcome(&self.shared));
        Ok(())
    }

    /// Starts a series where its class belongs.
    fn start(&self, high: bool, series: Series) -> JoinHandle<Handlers> {
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
}

/// A killed worker takes its task and its message along.
struct Attended {
    task: JoinHandle<Handlers>,
    desk: Arc<Desk>,
}

impl Drop for Attended {
    fn drop(&mut self) {
        self.task.abort();
        // Dropped outside the desk's lock, a delivery that nobody has ended settles itself.
        drop(self.desk.give_up());
    }
}
