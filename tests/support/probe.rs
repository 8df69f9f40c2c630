//! A handler that obeys its message and reports what it saw.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use pgflow::{Config, Context, Failure, Handler, Message, Outgoing, Queue, Runtime};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// What a probe message asks for.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub enum Act {
    /// Succeed.
    #[default]
    Done,
    /// Fail until this try, then succeed.
    FailUntil(u32),
    /// Panic until this try, then succeed.
    PanicUntil(u32),
    /// Be dead at once.
    Dead,
    /// Wait at an await point until the gate opens.
    Wait,
    /// Block the thread until the gate opens.
    Block,
    /// Write an effect through the transaction, then succeed.
    Effect,
    /// Write an effect, then wait at the gate, then succeed.
    EffectThenWait,
    /// Snooze at the first try for so many ms.
    Snooze(u64),
    /// End the process.
    Abort,
}

/// A message of the queue `probe`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Probe {
    pub n: i64,
    pub act: Act,
    pub key: Option<String>,
}

impl Probe {
    pub fn new(n: i64) -> Self {
        Self { n, ..Self::default() }
    }
    pub fn act(n: i64, act: Act) -> Self {
        Self { n, act, key: None }
    }
    pub fn out(&self) -> Outgoing {
        Outgoing::new(self).expect("a probe encodes")
    }
}

impl Message for Probe {
    const KIND: &'static str = "probe";
    const QUEUE: &'static str = "probe";
    fn ordering_key(&self) -> Option<String> {
        self.key.clone()
    }
}

/// One start of a handler.
#[derive(Clone, Debug)]
pub struct Start {
    pub n: i64,
    pub id: i64,
    pub attempt: u32,
    pub key: Option<String>,
    pub at: Instant,
    pub instance: String,
}

/// What all probes of a test share.
#[derive(Default)]
pub struct Seen {
    pub starts: Mutex<Vec<Start>>,
    pub ended: Mutex<Vec<(i64, Instant)>>,
    running: AtomicUsize,
    most: AtomicUsize,
    open: Mutex<bool>,
    opened: std::sync::Condvar,
    opened_async: Notify,
}

impl Seen {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
    pub fn starts(&self) -> Vec<Start> {
        self.starts.lock().unwrap().clone()
    }
    pub fn count(&self) -> usize {
        self.starts.lock().unwrap().len()
    }
    pub fn ns(&self) -> Vec<i64> {
        self.starts.lock().unwrap().iter().map(|s| s.n).collect()
    }
    pub fn started(&self, n: i64) -> Option<Start> {
        self.starts.lock().unwrap().iter().find(|s| s.n == n).cloned()
    }
    pub fn ended(&self) -> usize {
        self.ended.lock().unwrap().len()
    }
    pub fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }
    /// Lets everything go that waits or blocks, now and later.
    pub fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
        self.opened_async.notify_waiters();
    }
    /// From now on messages wait and block again.
    pub fn close(&self) {
        *self.open.lock().unwrap() = false;
    }
    async fn wait(&self) {
        loop {
            let opened = self.opened_async.notified();
            tokio::pin!(opened);
            opened.as_mut().enable();
            if *self.open.lock().unwrap() {
                return;
            }
            opened.await;
        }
    }
    fn block(&self) {
        let mut open = self.open.lock().unwrap();
        while !*open {
            open = self.opened.wait(open).unwrap();
        }
    }
}

/// The handler.
pub struct Prober(pub Arc<Seen>);

struct Running<'a>(&'a Seen, i64);
impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        self.0.ended.lock().unwrap().push((self.1, Instant::now()));
    }
}

impl Handler for Prober {
    type Message = Probe;

    async fn handle(&mut self, m: Probe, cx: &mut Context<'_>) -> Result<(), Failure> {
        let seen = self.0.clone();
        seen.starts.lock().unwrap().push(Start {
            n: m.n,
            id: cx.id(),
            attempt: cx.attempt(),
            key: m.key.clone(),
            at: Instant::now(),
            instance: cx.instance().to_owned(),
        });
        let now = seen.running.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most.fetch_max(now, Ordering::SeqCst);
        let _running = Running(&seen, m.n);
        match m.act {
            Act::Done => Ok(()),
            Act::FailUntil(n) if cx.attempt() < n => Err(Failure::retry("asked to fail")),
            Act::PanicUntil(n) if cx.attempt() < n => panic!("asked to panic"),
            Act::FailUntil(_) | Act::PanicUntil(_) => Ok(()),
            Act::Dead => Err(Failure::dead("asked to die")),
            Act::Wait => {
                seen.wait().await;
                Ok(())
            }
            Act::Block => {
                seen.block();
                Ok(())
            }
            Act::Effect | Act::EffectThenWait => {
                let tx = cx.transaction().await?;
                tx.execute("INSERT INTO fx (n) VALUES ($1)", &[&m.n]).await?;
                if m.act == Act::EffectThenWait {
                    seen.wait().await;
                }
                Ok(())
            }
            Act::Snooze(ms) => {
                let first = seen.starts().iter().filter(|s| s.n == m.n).count() == 1;
                if first { Err(Failure::snooze(Duration::from_millis(ms))) } else { Ok(()) }
            }
            Act::Abort => std::process::abort(),
        }
    }
}

/// Settings for tests: a lost wake is a time-out, not a half-second's delay.
pub fn config(url: &str, instance: &str) -> Config {
    let mut config = Config::new(url).instance(instance);
    config.heartbeat_ms = 30_000;
    config
}

/// A runtime of the queue `probe` alone.
pub async fn probing(config: Config, workers: usize, seen: &Arc<Seen>) -> Runtime {
    probing_queue(config, Queue::new("probe").workers(workers), seen).await
}

/// A runtime of the queue `probe` with these settings.
pub async fn probing_queue(config: Config, queue: Queue, seen: &Arc<Seen>) -> Runtime {
    let seen = seen.clone();
    Runtime::builder(config)
        .queue(queue)
        .handler(move || Prober(seen.clone()))
        .start()
        .await
        .unwrap_or_else(|e| panic!("{e}"))
}
