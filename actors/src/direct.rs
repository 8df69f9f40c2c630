//! Delivery in memory, from one consumer of a process to another: the transport `direct`, and what `auto` falls back on.
//!
//! ```text
//! Hub::post, in the sender's transaction ─► commits: has it committed? ─► rounds: delay, key, worker, tries ─► consumer
//! ```
//!
//! A letter is in memory alone. When the process ends it is gone, and [`crate::resume`] finds what it was about.

mod commits;
mod lines;
mod rounds;

use std::sync::Arc;
use std::time::Duration;

use pgflow::{Outgoing, Priority};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_postgres::GenericClient;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub(crate) use lines::Lines;

use crate::messages::Payload;
use crate::producers::Result;
use crate::store::{self, Database};
use crate::transport::{Address, DirectError};
use crate::wire::Wire;
use rounds::Rounds;

/// Most letters in memory.
const LETTERS_MAX: usize = 100_000;

/// A message in memory.
pub(crate) struct Letter {
    kind: &'static str,
    queue: &'static str,
    priority: Priority,
    target: Option<String>,
    delay: Duration,
    ordering_key: Option<String>,
    dedup_key: Option<String>,
    out: Arc<Outgoing>,
}

impl Letter {
    /// `out` is what `wire` reads as.
    pub(crate) fn new<P: Payload>(wire: &Wire<P>, out: Outgoing, address: Address) -> Self {
        let Address { target, delay, ordering_key, dedup_key } = address;
        let ordering_key = ordering_key.or_else(|| pgflow::Message::ordering_key(wire));
        let (priority, out) = (P::PRIORITY, Arc::new(out));
        Self { kind: P::TYPE, queue: P::QUEUE, priority, target, delay, ordering_key, dedup_key, out }
    }
}

/// A letter whose transaction may still be open.
struct Posted {
    xact: String,
    held: Held,
}

/// A letter, and its place among those that may be.
struct Held {
    letter: Letter,
    _place: OwnedSemaphorePermit,
}

/// Where letters are given in. A clone is cheap.
#[derive(Clone)]
pub(crate) struct Hub {
    names: Arc<[String]>,
    places: Arc<Semaphore>,
    posted: mpsc::UnboundedSender<Posted>,
}

/// Where letters come out, before anybody takes them.
pub(crate) struct Inbox {
    posted: mpsc::UnboundedReceiver<Posted>,
}

impl Hub {
    /// A hub for the instances of this process, by their names.
    pub(crate) fn new(names: impl Into<Arc<[String]>>) -> (Self, Inbox) {
        let (sender, posted) = mpsc::unbounded_channel();
        let hub = Self { names: names.into(), places: Arc::new(Semaphore::new(LETTERS_MAX)), posted: sender };
        (hub, Inbox { posted })
    }

    /// Takes a letter; it is delivered when the client's transaction has committed, and dropped if it does not. (A savepoint that is
    /// rolled back alone is not seen.)
    pub(crate) async fn post<C: GenericClient + Sync>(&self, client: &C, letter: Letter) -> Result<()> {
        if let Some(target) = letter.target.as_ref().filter(|target| !self.names.contains(target)) {
            return Err(DirectError::Elsewhere { kind: letter.kind, target: target.clone() }.into());
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| DirectError::Full { limit: LETTERS_MAX })?;
        let xact = store::current_xact(client).await?;
        let posted = Posted { xact, held: Held { letter, _place: place } };
        self.posted.send(posted).map_err(|_| DirectError::Stopping.into())
    }
}

/// The delivery under way; dropped, it ends at once, and what is in memory is gone.
pub(crate) struct Delivery {
    tasks: TaskTracker,
    stopping: CancellationToken,
    cut: DropGuard,
}

impl Inbox {
    /// Delivers to these consumers from now on.
    pub(crate) fn deliver(self, lines: Lines, database: Database) -> Delivery {
        let (tasks, stopping, cut) = (TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
        let rounds = Rounds::new(lines, tasks.clone(), stopping.clone(), cut.clone());
        let watch = commits::watch(self.posted, database, move |held| rounds.take(held));
        let ends = stopping.clone();
        tasks.spawn(cut.clone().run_until_cancelled_owned(async move { ends.run_until_cancelled(watch).await }));
        Delivery { tasks, stopping, cut: cut.drop_guard() }
    }
}

impl Delivery {
    /// Begins nothing any more; what runs gets until `grace` to end.
    pub(crate) async fn stop(self, grace: Duration) {
        let Self { tasks, stopping, cut } = self;
        stopping.cancel();
        tasks.close();
        if tokio::time::timeout(grace, tasks.wait()).await.is_err() {
            drop(cut);
            // They end at their next await point.
            tasks.wait().await;
        }
    }
}
