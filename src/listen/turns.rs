//! W6: turns in a key's lock queue, each on a connection of its own.
//!
//! A publisher that stays open keeps its key from us, and would be polled for: those behind it are silent too. An
//! exclusive lock that is queued refuses them, so they notify. To other runtimes we look like a sentinel meanwhile,
//! under which silent publishers are in flight: so one follower of each lane is told when a turn ends, whichever way (model:
//! `WaiterWithoutNotify`). A turn that is granted lets the key go at once: who waits for it arms anew, by W1.

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

use super::limited;
use crate::{
    Result,
    address::Outlet,
    connect::Target,
    store::{Armed, Store, Turn},
};

/// How long a key must have been found silent, and one publisher's transaction be open, before we queue for it, in ms.
pub(super) const SILENT_MS_BEFORE_TURN: u64 = 1_000;
/// Without an answer for so long, a key's silence counts anew, in ms.
const SILENCE_GAP_MS: u64 = 500;
/// How long a turn waits, in ms. It holds a snapshot, as the publisher does that it waits for.
const TURN_MS: u64 = 5_000;
/// Most turns at once; each costs a connection.
const TURNS_MAX: usize = 2;
/// Between two tries to cut a wait short, in ms: a cancel may come before the statement.
const CANCEL_EVERY_MS: u64 = 100;
/// How long turns get to end when the listener stops, in ms.
const LEAVE_MS_MAX: u64 = 2_000;

/// How a turn stands; sent to the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// Its statement goes out: from now on publishers are refused.
    Waits,
    /// It was granted, or gave up; the followers were told.
    Over,
    /// The connection failed: nobody may have been told.
    Failed,
}

/// News of the turn of this number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct News {
    pub(super) key: i32,
    pub(super) stand: Stand,
    number: u64,
}

struct Running {
    number: u64,
    waits: bool,
    /// Dropped, the turn leaves the queue: however the listener ends.
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

    /// Whether a turn waits for this key: the server would refuse us for our own sake.
    pub(super) fn wait_for(&self, key: i32) -> bool {
        self.running.get(&key).is_some_and(|turn| turn.waits)
    }

    /// The server's answer for a key. True: its silence has lasted, and there is room for a turn, if one publisher is the cause.
    pub(super) fn answered(&mut self, key: i32, answer: Armed, now: Instant) -> bool {
        if answer != Armed::Silent {
            self.silent.remove(&key);
            return false;
        }
        let (since, last) = self.silent.entry(key).or_insert((now, now));
        if now - *last > Duration::from_millis(SILENCE_GAP_MS) {
            *since = now;
        }
        *last = now;
        let lasted = now - *since >= Duration::from_millis(SILENT_MS_BEFORE_TURN);
        lasted && self.running.len() < TURNS_MAX && !self.running.contains_key(&key)
    }

    /// One publisher keeps some of the lasting keys silent, of the others many short ones do: to queue behind those would have all
    /// that come meanwhile notify, one by one, and we look often anyway.
    pub(super) fn due(&mut self, lasting: Vec<i32>, open: &[i32], now: Instant) {
        for key in lasting {
            if !open.contains(&key) {
                self.silent.insert(key, (now, now));
            } else if self.running.len() < TURNS_MAX {
                self.begin(key);
            }
        }
    }

    fn begin(&mut self, key: i32) {
        self.number += 1;
        let (number, leave) = (self.number, CancellationToken::new());
        self.running.insert(key, Running { number, waits: false, _leave: leave.clone().drop_guard() });
        tracing::debug!(target: "pgflow::listen", key, "publishers have been silent for long: queueing behind them");
        metrics::counter!("pgflow_turns_total").increment(1);
        let (target, store, name) = (self.target.clone(), self.store.clone(), self.name.clone());
        let news = self.news.clone();
        self.tasks.spawn(async move {
            let tell = |stand| news.send(News { key, stand, number });
            let done = turn(&target, &store, &name, key, &leave, || tell(Stand::Waits)).await;
            if let Err(e) = &done {
                tracing::warn!(target: "pgflow::listen", error = %e, key, "a turn in a key's lock queue failed");
            }
            tell(if done.is_ok() { Stand::Over } else { Stand::Failed });
        });
    }

    /// Takes news; false: it is of a turn that was told to leave.
    pub(super) fn heard(&mut self, news: News, now: Instant) -> bool {
        let Some(turn) = self.running.get_mut(&news.key).filter(|turn| turn.number == news.number) else {
            return false;
        };
        match news.stand {
            Stand::Waits => turn.waits = true,
            Stand::Over | Stand::Failed => drop(self.running.remove(&news.key)),
        }
        match news.stand {
            Stand::Waits => {}
            // It was silent all the while: if it still is, the next turn begins at once.
            Stand::Over => drop(self.silent.entry(news.key).and_modify(|(_, last)| *last = now)),
            // The next turn waits as the first did.
            Stand::Failed => drop(self.silent.remove(&news.key)),
        }
        true
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

/// One turn, from its connection to the word that it is over.
async fn turn(
    target: &Target,
    store: &Store,
    name: &str,
    key: i32,
    leave: &CancellationToken,
    waits: impl FnOnce(),
) -> Result<()> {
    let client = target.connect(&Handle::current(), name, drop, drop).await?;
    let turn = limited("open a turn", Turn::open(store, client, key, TURN_MS)).await?;
    if leave.is_cancelled() {
        return Ok(());
    }
    waits();
    let cancel = turn.cancel_token();
    let wait = turn.wait();
    tokio::pin!(wait);
    let limit = tokio::time::sleep(Duration::from_millis(2 * TURN_MS));
    tokio::pin!(limit);
    loop {
        let left = async {
            leave.cancelled().await;
            tokio::time::sleep(Duration::from_millis(CANCEL_EVERY_MS)).await;
        };
        tokio::select! {
            biased;
            done = &mut wait => {
                done?;
                break;
            }
            () = leave.cancelled(), if !leave.is_cancelled() => {}
            () = left => {}
            () = &mut limit => return Err(crate::Error::timeout("a turn in a key's lock queue", 2 * TURN_MS)),
        }
        if let Err(e) = target.cancel(cancel.clone()).await {
            tracing::debug!(target: "pgflow::listen", error = %e, key, "a wait was not cut");
        }
    }
    // The key is let go by now: whoever is refused from here on is refused by another.
    limited("end a turn", turn.tell()).await
}
