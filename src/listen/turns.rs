//! W6: turns in a key's lock queue, each on a connection of its own.
//!
//! A publisher that stays open keeps its key from us, and would be polled for: those behind it are silent too. An
//! exclusive lock that is queued refuses them, so they notify. To other runtimes we look like a sentinel meanwhile,
//! under which silent publishers are in flight: so everybody is told when a turn ends, whichever way (model: `WaiterWithoutNotify`).

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::runtime::Handle;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    Result,
    address::Outlet,
    connect::Target,
    store::{Armed, Store, Turn},
};

/// How long a key must have been found silent before we queue for it, in ms.
const SILENT_MS_BEFORE_TURN: u64 = 1_000;
/// Without an answer for so long, a key's silence counts anew, in ms.
const SILENCE_GAP_MS: u64 = 500;
/// How long a turn waits, in ms. It holds a snapshot, as the publisher does that it waits for.
const TURN_MS: u64 = 5_000;
/// Most turns at once; each costs a connection.
const TURNS_MAX: usize = 2;
/// How long turns get to end when the listener stops, in ms.
const LEAVE_MS_MAX: u64 = 2_000;

/// How a turn stands; sent to the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    /// The key is ours.
    Granted,
    /// It was not granted in time.
    GaveUp,
    /// The connection failed: if it held the key, nobody was told.
    Failed,
}

/// News of the turn of this number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct News {
    pub(super) key: i32,
    number: u64,
    pub(super) stand: Stand,
}

struct Running {
    number: u64,
    holds: bool,
    /// Dropped, the turn leaves the queue, or lets the key go: however the listener ends.
    _leave: DropGuard,
}

/// The turns of one listener.
pub(super) struct Turns {
    target: Target,
    store: Arc<Store>,
    name: String,
    news: Outlet<News>,
    running: HashMap<i32, Running>,
    /// Keys found silent: since when, and when last.
    silent: HashMap<i32, (Instant, Instant)>,
    number: u64,
    tasks: TaskTracker,
}

impl Turns {
    pub(super) fn new(target: Target, store: Arc<Store>, name: String, news: Outlet<News>) -> Self {
        let (running, silent, tasks) = (HashMap::new(), HashMap::new(), TaskTracker::new());
        Self { target, store, name, news, running, silent, number: 0, tasks }
    }

    /// What an arm request is answered for a key that has a turn: the server would refuse us for our own sake.
    pub(super) fn stand(&self, key: i32) -> Option<Armed> {
        self.running.get(&key).map(|turn| if turn.holds { Armed::Held } else { Armed::Queued })
    }

    /// The server's answer for a key. A silence that has lasted becomes a turn, if there is room for one.
    pub(super) fn answered(&mut self, key: i32, answer: Armed, now: Instant) -> Armed {
        if answer != Armed::Silent {
            self.silent.remove(&key);
            return answer;
        }
        let (since, last) = self.silent.entry(key).or_insert((now, now));
        if now - *last > Duration::from_millis(SILENCE_GAP_MS) {
            *since = now;
        }
        *last = now;
        if now - *since < Duration::from_millis(SILENT_MS_BEFORE_TURN) || self.running.len() >= TURNS_MAX {
            return answer;
        }
        self.begin(key);
        Armed::Queued
    }

    fn begin(&mut self, key: i32) {
        self.number += 1;
        let (number, leave) = (self.number, CancellationToken::new());
        self.running.insert(key, Running { number, holds: false, _leave: leave.clone().drop_guard() });
        tracing::info!(target: "pgflow::listen", key, "a publisher has been open for long: queueing behind it");
        metrics::counter!("pgflow_turns_total").increment(1);
        let (target, store, name, news) =
            (self.target.clone(), self.store.clone(), self.name.clone(), self.news.clone());
        self.tasks.spawn(async move {
            let tell = |stand| news.send(News { key, number, stand });
            match turn(&target, &store, &name, key, &leave, || tell(Stand::Granted)).await {
                // Told to leave: nobody waits for the news.
                Ok(()) if leave.is_cancelled() => {}
                Ok(()) => tell(Stand::GaveUp),
                Err(e) => {
                    tracing::warn!(target: "pgflow::listen", error = %e, key, "a turn in a key's lock queue failed");
                    tell(Stand::Failed);
                }
            }
        });
    }

    /// Takes news; false: it is of a turn that was told to leave.
    pub(super) fn heard(&mut self, news: News, now: Instant) -> bool {
        let Some(turn) = self.running.get_mut(&news.key).filter(|turn| turn.number == news.number) else {
            return false;
        };
        match news.stand {
            Stand::Granted => turn.holds = true,
            Stand::GaveUp | Stand::Failed => drop(self.running.remove(&news.key)),
        }
        match news.stand {
            // It was silent all the while.
            Stand::GaveUp => drop(self.silent.entry(news.key).and_modify(|(_, last)| *last = now)),
            // The next turn waits as the first did.
            Stand::Granted | Stand::Failed => drop(self.silent.remove(&news.key)),
        }
        true
    }

    /// Lets a key go, if a turn holds it: it unlocks and notifies (W3).
    pub(super) fn let_go(&mut self, key: i32) -> bool {
        let holds = self.running.get(&key).is_some_and(|turn| turn.holds);
        if holds {
            self.running.remove(&key);
        }
        holds
    }

    /// Keys that turns hold.
    pub(super) fn held(&self) -> Vec<i32> {
        self.running.iter().filter(|(_, turn)| turn.holds).map(|(key, _)| *key).collect()
    }

    /// Every turn leaves.
    pub(super) fn leave(&mut self) {
        self.running.clear();
        self.silent.clear();
    }

    /// Every turn has left: those who took us for a sentinel were told.
    pub(super) async fn left(&mut self) {
        self.leave();
        self.tasks.close();
        let _ = tokio::time::timeout(Duration::from_millis(LEAVE_MS_MAX), self.tasks.wait()).await;
        self.tasks.reopen();
    }
}

/// One turn, from its connection to the key's release.
async fn turn(
    target: &Target,
    store: &Store,
    name: &str,
    key: i32,
    leave: &CancellationToken,
    granted: impl FnOnce(),
) -> Result<()> {
    let closed = CancellationToken::new();
    let on_close = closed.clone();
    let client = target.connect(&Handle::current(), name, drop, move |_| on_close.cancel()).await?;
    let turn = Turn::open(store, client, key, TURN_MS).await?;
    let cancel = turn.cancel_token();
    let wait = turn.wait();
    tokio::pin!(wait);
    let ours = tokio::select! {
        ours = &mut wait => ours?,
        () = leave.cancelled() => {
            // A wait that is not cut ends by its own limit.
            if let Err(e) = target.cancel(cancel).await {
                tracing::debug!(target: "pgflow::listen", error = %e, key, "the wait was not cut");
            }
            wait.await?
        }
    };
    if !ours {
        return Ok(());
    }
    if !leave.is_cancelled() {
        granted();
        tokio::select! {
            () = leave.cancelled() => {}
            () = closed.cancelled() => return Err(crate::Error::state("hold a key", "its connection was closed")),
        }
    }
    turn.disarm().await
}
