//! What is measured: a message system, its worker and its producers, each round in a database made anew for the turn.

use std::time::Duration;

use anyhow::{Result, bail};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// What a reader must know of a system to judge its figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct About {
    /// Its name in tables, unique.
    pub(crate) name: &'static str,
    /// The version that was measured.
    pub(crate) version: String,
    /// What its handlers are written in.
    pub(crate) language: &'static str,
    /// Whose figures these are.
    pub(crate) role: Role,
    /// Settings of its worker when it waits for single messages.
    pub(crate) idle: &'static str,
    /// What differs while many enqueue at once.
    pub(crate) enqueue: &'static str,
    /// Settings of its worker when it works off a backlog.
    pub(crate) drain: &'static str,
    /// By what it takes many messages at once.
    pub(crate) bulk: &'static str,
    /// What is left of a message that was handled.
    pub(crate) history: &'static str,
    /// What becomes of the messages of a worker that is killed.
    pub(crate) killed: &'static str,
    /// Counts messages that are not finished: waiting, under way, or to be tried again.
    /// None: the system must be asked.
    pub(crate) unfinished: Option<&'static str>,
    /// Messages of a turn for the log: fewer where a backlog of the usual size is never worked off.
    pub(crate) wal_messages: Option<usize>,
}

/// Whose figures they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Ours.
    Pgflow,
    /// A rival that calls handlers, and tries again what failed.
    Rival,
    /// A rival whose user writes the worker.
    Library,
    /// Plain SQL, for what the server can do.
    Floor,
}

/// What a worker is to be good at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// One message now and then.
    Idle,
    /// Messages by many connections at once, each a transaction of its own: that it enqueues fast, rather than wakes at once.
    Enqueue,
    /// A backlog.
    Drain,
}

/// The message: `{"n": …, "text": "xxx…"}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ball {
    pub(crate) n: u64,
    pub(crate) text: String,
}

impl Ball {
    /// With about so many bytes of JSON.
    pub(crate) fn new(n: u64, bytes: usize) -> Self {
        Self { n, text: "x".repeat(bytes.saturating_sub(20)) }
    }
}

/// How much was sent in which time.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Sent {
    pub(crate) messages: usize,
    pub(crate) seconds: f64,
    /// How many of them the worker handled meanwhile, where one was running.
    #[serde(default)]
    pub(crate) handled: usize,
}

/// What a worker has handled so far.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Handled {
    /// Calls of the handler.
    pub(crate) calls: usize,
    /// Messages among them, each counted once.
    pub(crate) messages: usize,
}

/// Many messages to be sent at once.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Fill {
    pub(crate) messages: usize,
    /// Bytes of each.
    pub(crate) bytes: usize,
    /// Messages of one call.
    pub(crate) batch: usize,
    /// Seconds after which the rest stays unsent.
    pub(crate) limit_s: f64,
}

/// A system in its turns. Every call but `start`, `handled` and `stop` closes in the end the connections that it opened.
#[async_trait(?Send)]
pub(crate) trait Peer {
    fn about(&self) -> &About;

    /// Makes its tables and its queue in an empty database.
    async fn setup(&mut self, url: &str) -> Result<()>;

    /// Microseconds from the call that enqueues to the handler's first line, one message at a time, after a warm-up.
    async fn latency(&mut self, url: &str, samples: usize, gap: Duration) -> Result<Vec<i64>>;

    /// Sends by the bulk interface on one connection, nobody listening.
    async fn fill(&mut self, url: &str, fill: Fill) -> Result<Sent>;

    /// Sends one message a transaction on so many connections for so long, its idle worker running.
    async fn single(&mut self, url: &str, connections: usize, time: Duration) -> Result<Sent>;

    /// Starts a worker for a backlog of so many messages, numbered from 0.
    async fn start(&mut self, url: &str, messages: usize) -> Result<()>;

    /// What that worker has handled.
    async fn handled(&mut self) -> Result<Handled>;

    /// How many messages are not finished, where no SQL says it.
    async fn unfinished(&mut self, _url: &str) -> Result<i64> {
        bail!("neither SQL nor the system says what is unfinished")
    }

    /// Ends that worker.
    async fn stop(&mut self) -> Result<()>;

    /// Ends what it still has, a program of its own for instance.
    async fn end(&mut self) -> Result<()> {
        Ok(())
    }
}
