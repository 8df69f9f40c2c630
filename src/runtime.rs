//! A running pgflow: the builder, the tree it starts, and how it stops.
//!
//! The control plane runs on threads of its own, so that handlers which block the user's runtime delay neither
//! heartbeat, nor settle, nor a rollback.

mod prepare;
mod start;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool_postgres::Pool;
use ractor::ActorRef;
use tokio::{runtime::Handle, sync::oneshot};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use self::start::Start;
use crate::{
    Config, Error, Publisher, Queue, Result,
    address::Address,
    connect::{Target, bounded},
    dispatch::{self, Counters},
    handler::{AnyHandler, Handler, Registry},
    listen::{self, Health},
    message::Message,
    monitor,
    settle::Settler,
    store::{Ended, Store},
    supervise::{self, TreeNode},
};

/// Threads of the control plane.
const CONTROL_THREADS: usize = 2;
/// Threads beside those of high handlers: for looking names up, and in place of those whose handlers never came back.
const SPARE_THREADS: usize = 512;
/// How long a stop waits for the answers of claims under way, in ms: their connection may take 5 s, their statement 10.
const STOP_CLAIM_MS_MAX: u64 = 17_000;
/// How long the last settles of a stop may take, in ms.
const STOP_SETTLE_MS_MAX: u64 = 5_000;
/// Collects queues and handlers; [`Builder::start`] runs them.
pub struct Builder {
    config: Config,
    queues: Vec<(Queue, Registry)>,
    error: Option<Error>,
}

impl Builder {
    /// Serves a queue. It is made when it does not exist.
    pub fn queue(mut self, queue: Queue) -> Self {
        match self.queues.iter_mut().find(|(q, _)| q.name == queue.name) {
            Some((known, _)) => *known = queue,
            None => self.queues.push((queue, Registry::default())),
        }
        self
    }

    /// Registers a handler for its message type, on that type's queue; `build` makes one for each worker, when it is first needed
    /// and after a panic or a cut. It runs where the handler does; a panic of it counts as one of the handler's.
    pub fn handler<H: Handler>(mut self, build: impl Fn() -> H + Send + Sync + 'static) -> Self {
        let name = <H::Message as Message>::QUEUE;
        if let Err(e) = self.registry(name).add(build) {
            self.error.get_or_insert(e);
        }
        self
    }

    /// Registers a handler for every kind on a queue that has no handler of its own. `build` is as in [`Self::handler`].
    pub fn any_handler<H: AnyHandler>(mut self, queue: &str, build: impl Fn() -> H + Send + Sync + 'static) -> Self {
        self.registry(queue).add_any(build);
        self
    }

    fn registry(&mut self, name: &str) -> &mut Registry {
        let at = self.queues.iter().position(|(q, _)| q.name == name).unwrap_or_else(|| {
            self.queues.push((Queue::new(name), Registry::default()));
            self.queues.len() - 1
        });
        &mut self.queues[at].1
    }

    /// Connects, registers this instance, makes missing queues, and starts the tree. Handlers of normal and low
    /// messages run on the tokio runtime that this is called on, with their transactions: it needs time and I/O enabled. When that
    /// runtime is shut down, the instance stops.
    ///
    /// # Errors
    /// A setting that cannot work, a database that cannot be reached or was not initialised (`pgflow init`), or a live
    /// instance of the same name. Nothing keeps running then.
    ///
    /// Dropped before it answers, it ends what it had started; queues that it made stay.
    pub async fn start(self) -> Result<Runtime> {
        if let Some(error) = self.error {
            return Err(error);
        }
        self.config.validate()?;
        for (queue, registry) in &self.queues {
            queue.validate()?;
            if registry.is_empty() {
                return Err(Error::config(format!("queue \"{}\"", queue.name), "no handler is registered for it"));
            }
        }
        let target = Target::parse(&self.config.url)?;
        let listen = self.config.listen_url.as_deref().map(Target::parse).transpose()?;
        // A high message's handler has a thread of its own, whichever worker took it.
        let workers: usize = self.queues.iter().map(|(queue, _)| queue.workers + usize::from(queue.high_reserve)).sum();
        let control = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(CONTROL_THREADS)
            .max_blocking_threads(workers + SPARE_THREADS)
            .thread_name("pgflow")
            .thread_keep_alive(Duration::from_secs(3_600))
            .enable_all()
            .build()
            .map_err(|e| Error::io("start the control plane's threads", e))?;
        let control = ControlPlane(Some(control));
        let user = Handle::current();
        let handle = control.handle();
        let start = Start { config: self.config, queues: self.queues, target, listen, user: user.clone() };
        let parts = match handle.spawn(start.run()).await {
            Ok(started) => started?,
            Err(e) => return Err(Error::state("start", format!("the start panicked: {e}"))),
        };
        // It never ends by itself.
        let lives = AbortOnDropHandle::new(user.spawn(std::future::pending()));
        handle.spawn(parts.clone().stop_with(lives));
        Ok(Runtime { parts, control })
    }
}

/// The control plane's threads; dropped, they end without waiting for a blocked handler.
struct ControlPlane(Option<tokio::runtime::Runtime>);

impl ControlPlane {
    fn handle(&self) -> Handle {
        self.0.as_ref().map_or_else(Handle::current, |r| r.handle().clone())
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A running instance. Dropped without [`Runtime::stop`], it ends at once; what it had claimed is rescued by others.
pub struct Runtime {
    parts: Parts,
    control: ControlPlane,
}

#[derive(Clone)]
struct Parts {
    instance: Arc<str>,
    session: i32,
    store: Arc<Store>,
    pool: Pool,
    publisher: Publisher,
    settler: Settler,
    dispatcher: Address<dispatch::Msg>,
    listener: Address<listen::Msg>,
    root: ActorRef<supervise::Msg>,
    /// Fires when the root supervisor ended: at a stop, or when its restart budget is used up.
    ended: CancellationToken,
    cut: CancellationToken,
    health: Arc<Health>,
    counters: Arc<Counters>,
    stopping: Arc<AtomicBool>,
}

impl Runtime {
    /// Collects queues and handlers for an instance.
    pub fn builder(config: Config) -> Builder {
        Builder { config, queues: Vec::new(), error: None }
    }

    /// Publishes, and wakes this process's own workers without the way round by the server.
    pub fn publisher(&self) -> &Publisher {
        &self.parts.publisher
    }

    /// The instance's name.
    pub fn instance(&self) -> &str {
        &self.parts.instance
    }

    /// The supervision tree as it stands. A supervisor that does not answer within 5 s is shown without children.
    pub async fn tree(&self) -> TreeNode {
        let children = monitor::tree(&self.parts.root, &self.parts.health, &self.parts.publisher).await;
        TreeNode::root(format!("runtime {}", self.parts.instance), !self.parts.ended.is_cancelled(), children)
    }

    /// Whether the listener's connection stands: a wake can arrive. While it does not, nothing is claimed.
    pub fn is_listening(&self) -> bool {
        self.parts.health.listening()
    }

    /// Whether this instance looks for messages by itself, four times a second, since its connection is no session: nobody can
    /// wake it, and only its lease tells others that it is gone. [`Config::listen_url`] mends that.
    pub fn is_polling(&self) -> bool {
        self.parts.health.polls()
    }

    /// Whether this instance does the leader's sweeping.
    pub fn is_leader(&self) -> bool {
        self.parts.health.leads()
    }

    /// Resolves when the tree has given up: more restarts than its budget allows, or the tokio runtime that handlers run on has been shut
    /// down. Nothing is handled from then on; what
    /// was claimed is rescued by others. A program should end then, and be started anew. Cancellation safe.
    pub async fn ended(&self) {
        self.parts.ended.cancelled().await;
    }

    /// Messages found by a heartbeat though no wake announced them, since the start. Above zero, a wake was lost: report it.
    pub fn found_by_heartbeat(&self) -> u64 {
        self.parts.counters.found_by_heartbeat.load(Ordering::Relaxed)
    }

    /// Messages found when a dead sentinel's keys were taken over, or within two heartbeats of a death, since the start.
    pub fn found_by_takeover(&self) -> u64 {
        self.parts.counters.found_by_takeover.load(Ordering::Relaxed)
    }

    /// For the bench: what else is counted since the start.
    #[cfg(feature = "cli")]
    pub(crate) fn counters(&self) -> &Counters {
        &self.parts.counters
    }

    /// Stops: no more claims; handlers get until `grace` to end; the rest is handed back with its attempt count
    /// unchanged; outcomes are written, for at most 5 s more; the liveness lock is released last.
    ///
    /// Dropped before it answers, the instance ends at once, and what it had claimed is rescued by others.
    ///
    /// # Errors
    /// When outcomes could not be written in time: their messages are rescued by another instance, or by the next start.
    pub async fn stop(self, grace: Duration) -> Result<()> {
        let Self { parts, control } = self;
        let stopped = control.handle().spawn(parts.stop(grace)).await;
        drop(control);
        stopped.unwrap_or_else(|e| Err(Error::state("stop", format!("the stop panicked: {e}"))))
    }
}

impl Parts {
    /// Stops when the runtime that handlers run on has been shut down: else all that waits would be claimed in vain, over and over.
    async fn stop_with(self, lives: AbortOnDropHandle<()>) {
        let ended = self.ended.clone();
        tokio::select! {
            _ = lives => {}
            () = ended.cancelled() => return,
        }
        tracing::error!(target: "pgflow::supervise", instance = %self.instance, "the tokio runtime that started this instance has been shut down: handlers cannot run, so it stops");
        if let Err(error) = self.stop(Duration::ZERO).await {
            tracing::warn!(target: "pgflow::supervise", %error, "others rescue what it had claimed");
        }
    }

    async fn stop(self, grace: Duration) -> Result<()> {
        self.stopping.store(true, Ordering::Relaxed);
        let (reply, stopped) = oneshot::channel();
        let mut claims_open = false;
        if self.dispatcher.cast(dispatch::Msg::Stop(reply)).is_ok() {
            // The dispatcher may die over it, and with it the reply; what its claims take is found as orphans, or rescued.
            let answered = tokio::time::timeout(Duration::from_millis(STOP_CLAIM_MS_MAX), stopped).await;
            claims_open = answered.is_err();
        }
        if tokio::time::timeout(grace, self.settler.idle()).await.is_err() {
            self.cut.cancel();
        }
        let settled = tokio::time::timeout(Duration::from_millis(STOP_SETTLE_MS_MAX), self.settler.idle()).await;
        let ended = async {
            if claims_open {
                // What it may still take, others rescue: they find it dead.
                return Err(Error::timeout("stop: the answers of claims", STOP_CLAIM_MS_MAX));
            }
            let c = self.pool.get().await.map_err(|e| Error::pool("stop", e))?;
            // Only with nothing active: else others find it dead, and rescue what it leaves.
            let end = self.store.end_instance(&c, self.session, Ended::Stopped);
            bounded("stop: end the session", STOP_SETTLE_MS_MAX, end).await
        };
        let ended = ended.await;
        let (reply, released) = oneshot::channel();
        if self.listener.cast(listen::Msg::Stop(reply.into())).is_ok() {
            let _ = released.await;
        }
        self.root.stop(Some("the runtime stops".into()));
        self.ended.cancelled().await;
        match settled {
            Ok(()) => ended,
            Err(_) => Err(Error::timeout("stop: write the last outcomes", STOP_SETTLE_MS_MAX)),
        }
    }
}
