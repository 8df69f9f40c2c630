//! A running pgflow: the builder, the tree it starts, and how it stops.
//!
//! The control plane runs on threads of its own, so that handlers which block the user's runtime delay neither
//! heartbeat, nor settle, nor a rollback.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool_postgres::Pool;
use ractor::{Actor, ActorRef};
use tokio::{runtime::Handle, sync::oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    Config, Error, Publisher, Queue, Result,
    address::Address,
    connect::{Target, redacted},
    dispatch::{self, Counters, Dispatcher, WAKE_KEYS, WokenKeys},
    handler::{AnyHandler, Handler, Lent, Registry},
    listen::{self, Health, Listener},
    message::Message,
    migrate,
    monitor::{self, Monitor},
    pool::{self, Pool as WorkerPool},
    settle::{Settler, SettlerActor},
    store::{Ended, QueueFacts, Registration, Store},
    supervise::{self, ChildSpec, Plan, Strategy, Supervisor, TreeNode},
    sweep::{self, Sweeper},
    worker::{self, Worker},
};

/// Threads of the control plane.
const CONTROL_THREADS: usize = 2;
/// How long the last settles of a stop may take, in ms.
const STOP_SETTLE_MS_MAX: u64 = 5_000;
/// Settings of the connections that claim and settle: plans that stay right whatever the statistics say.
const CONTROL_SETTINGS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
     SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off; SET default_transaction_isolation = 'read committed'; SET statement_timeout = '10s'; \
     SET idle_in_transaction_session_timeout = '60s'";
/// Settings of the connections that publishers and handlers use.
const HANDLER_SETTINGS: &str = "SET plan_cache_mode = force_generic_plan";

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
    /// and after a panic or a cut. It runs on the control plane: it must not block, and must not panic.
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
    /// messages run on the tokio runtime that this is called on.
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
        migrate::validate_schema(&self.config.schema)?;
        for (queue, registry) in &self.queues {
            queue.validate()?;
            if registry.is_empty() {
                return Err(Error::config(format!("queue \"{}\"", queue.name), "no handler is registered for it"));
            }
        }
        let target = Target::parse(&self.config.url)?;
        let listen = self.config.listen_url.as_deref().map(Target::parse).transpose()?;
        let control = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(CONTROL_THREADS)
            .thread_name("pgflow")
            .thread_keep_alive(Duration::from_secs(3_600))
            .enable_all()
            .build()
            .map_err(|e| Error::io("start the control plane's threads", e))?;
        let control = ControlPlane(Some(control));
        let user = Handle::current();
        let handle = control.handle();
        let start = Start { config: self.config, queues: self.queues, target, listen, user };
        let started = handle.spawn(start.run()).await;
        match started {
            Ok(started) => started.map(|parts| Runtime { parts, control }),
            Err(e) => Err(Error::state("start", format!("the start panicked: {e}"))),
        }
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
        let children = monitor::tree(&self.parts.root, &self.parts.health).await;
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

    /// Resolves when the tree has given up: more restarts than its budget allows. Nothing is handled from then on; what
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
    async fn stop(self, grace: Duration) -> Result<()> {
        let (reply, stopped) = oneshot::channel();
        if self.dispatcher.cast(dispatch::Msg::Stop(reply)).is_ok() {
            let _ = tokio::time::timeout(Duration::from_millis(STOP_SETTLE_MS_MAX), stopped).await;
        }
        if tokio::time::timeout(grace, self.settler.idle()).await.is_err() {
            self.cut.cancel();
        }
        let settled = tokio::time::timeout(Duration::from_millis(STOP_SETTLE_MS_MAX), self.settler.idle()).await;
        let ended = async {
            let c = self.pool.get().await.map_err(|e| Error::pool("stop", e))?;
            self.store.end_instance(&c, self.session, Ended::Stopped).await
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

/// What a start needs on the control plane.
struct Start {
    config: Config,
    queues: Vec<(Queue, Registry)>,
    target: Target,
    /// The listener's own way, if it has one.
    listen: Option<Target>,
    user: Handle,
}

impl Start {
    async fn run(self) -> Result<Parts> {
        let Self { config, queues, target, listen, user } = self;
        let store = Arc::new(Store::new(&config.schema));
        let handle = Handle::current();
        let pool_of = |size, name: &str, settings| target.pool(&handle, size, &format!("pgflow {name}"), settings);
        let control_pool = pool_of(config.control_connections - 1, "control", CONTROL_SETTINGS)?;
        let high_pool = pool_of(1, "high", CONTROL_SETTINGS)?;
        let handler_pool = pool_of(config.handler_connections, "handlers", HANDLER_SETTINGS)?;
        let publish_pool = pool_of(config.handler_connections, "publish", HANDLER_SETTINGS)?;

        let (session, facts) = prepare(&store, &control_pool, &config, &queues).await?;
        let settler = Settler::new(store.clone(), control_pool.clone());
        let dispatcher: Address<dispatch::Msg> = Address::default();
        let listener: Address<listen::Msg> = Address::default();
        let sweeper: Address<sweep::Msg> = Address::default();
        let nudge = {
            let dispatcher = dispatcher.clone();
            move |lane| dispatcher.signal(dispatch::Msg::Nudged(lane))
        };
        let instance: Arc<str> = config.instance.as_str().into();
        let publisher = Publisher::new(store.clone(), publish_pool, &config).with_nudge(Arc::new(nudge));
        let lent = Lent { pool: handler_pool, publisher: publisher.clone(), instance: instance.clone() };
        let cut = CancellationToken::new();
        let woken = Arc::new(WokenKeys::new());
        let (health, counters) = (Arc::new(Health::default()), Arc::new(Counters::default()));

        let pools: Vec<Address<pool::Msg>> = queues.iter().map(|_| Address::default()).collect();
        let mut children = vec![{
            let settler = settler.clone();
            ChildSpec::actor("settler", move || (SettlerActor, settler.clone()))
        }];
        let mut decodes = serde_json::Map::new();
        for (i, (queue, registry)) in queues.iter().enumerate() {
            decodes.insert(queue.name.clone(), registry.decodes());
            let shared = worker::Shared {
                queue: queue.name.as_str().into(),
                registry: registry.clone(),
                lent: lent.clone(),
                deadline: queue.deadline,
                user: user.clone(),
                cut: cut.clone(),
                finished: pools[i].outlet(pool::Msg::Finished),
            };
            children.push(queue_subtree(i, queue, Arc::new(shared), &pools[i], &dispatcher));
        }
        let wiring: <Dispatcher as Actor>::Arguments = {
            let (store, pool, settler, dispatcher) =
                (store.clone(), control_pool.clone(), settler.clone(), dispatcher.clone());
            let (to_listener, doubt) =
                (listener.outlet(listen::Msg::Dispatcher), sweeper.outlet(|_| sweep::Msg::Doubt));
            let (woken, counters, instance) = (woken.clone(), counters.clone(), config.instance.clone());
            let facts = facts.clone();
            Arc::new(move || dispatch::Wiring {
                store: store.clone(),
                pool: pool.clone(),
                high_pool: high_pool.clone(),
                settler: settler.clone(),
                session,
                instance: instance.clone(),
                pools: pools.clone(),
                queues: facts.clone(),
                to_listener: to_listener.clone(),
                doubt: doubt.clone(),
                woken: woken.clone(),
                address: dispatcher.clone(),
                counters: counters.clone(),
            })
        };
        children.push(ChildSpec::actor("dispatcher", move || (Dispatcher, wiring.clone())));
        let sweep_wiring = Arc::new(sweep::Wiring {
            store: store.clone(),
            pool: control_pool.clone(),
            settler: settler.clone(),
            session,
            config: config.clone(),
            address: sweeper.clone(),
        });
        children.push(ChildSpec::actor("sweeper", move || (Sweeper { wiring: sweep_wiring.clone() }, ())));
        let listen_wiring = Arc::new(listen::Wiring {
            direct: listen.is_some(),
            target: listen.unwrap_or(target),
            pool: control_pool.clone(),
            store: store.clone(),
            session,
            registration: Registration {
                name: config.instance.clone(),
                decodes: decodes.into(),
                host: Some(crate::config::host_name()),
                pid: i32::try_from(std::process::id()).unwrap_or(0),
            },
            keys: keys(&facts),
            heartbeat: config.heartbeat(),
            lease_ms: i64::try_from(config.lease_ms).unwrap_or(i64::MAX),
            dispatcher: dispatcher.clone(),
            woken,
            sweep: sweeper.outlet(sweep::Msg::Signal),
            address: listener.clone(),
            health: health.clone(),
            stood: AtomicBool::new(false),
        });
        children.push(ChildSpec::actor("listener", move || (Listener { wiring: listen_wiring.clone() }, ())));

        let root_slot = Arc::new(OnceLock::new());
        let monitor_wiring = Arc::new(monitor::Wiring {
            store: store.clone(),
            pool: control_pool.clone(),
            settler: settler.clone(),
            health: health.clone(),
            session,
            root: root_slot.clone(),
        });
        children.push(ChildSpec::actor("monitor", move || (Monitor { wiring: monitor_wiring.clone() }, ())));

        let (root, root_ended) = Actor::spawn(None, Supervisor, plan("runtime", Strategy::OneForOne, 20, children))
            .await
            .map_err(|e| match e {
                ractor::SpawnErr::StartupFailed(why) => Error::state("start", why.to_string()),
                other => Error::state("start", other.to_string()),
            })?;
        let _ = root_slot.set(root.clone());
        let ended = CancellationToken::new();
        tokio::spawn({
            let (ended, health) = (ended.clone(), health.clone());
            async move {
                let _ = root_ended.await;
                health.down();
                ended.cancel();
            }
        });
        Ok(Parts {
            instance,
            session,
            store,
            pool: control_pool,
            publisher,
            settler,
            dispatcher,
            listener,
            root,
            ended,
            cut,
            health,
            counters,
        })
    }
}

/// Checks the schema, makes missing queues, draws a session.
async fn prepare(
    store: &Store,
    pool: &Pool,
    config: &Config,
    queues: &[(Queue, Registry)],
) -> Result<(i32, Vec<QueueFacts>)> {
    let c = pool.get().await.map_err(|e| Error::pool(format!("start: connect to {}", redacted(&config.url)), e))?;
    migrate::check(&c, &config.schema).await?;
    store.ensure_partitions(&c).await?;
    for (queue, _) in queues {
        store.create_queue(&c, queue, Some(&config.instance)).await?;
    }
    let names: Vec<String> = queues.iter().map(|(q, _)| q.name.clone()).collect();
    let mut facts = store.queue_facts(&c, &names, &config.instance).await?;
    // The pools are numbered by the builder's order.
    facts.sort_by_key(|f| names.iter().position(|n| *n == f.name));
    Ok((store.new_session(&c).await?, facts))
}

/// A queue's supervisor: its pool, and behind it the workers, which are restarted with it.
fn queue_subtree(
    number: usize,
    queue: &Queue,
    shared: Arc<worker::Shared>,
    address: &Address<pool::Msg>,
    dispatcher: &Address<dispatch::Msg>,
) -> ChildSpec {
    let (general, reserved) = (queue.workers, usize::from(queue.high_reserve));
    let (address, demand) = (address.clone(), dispatcher.outlet(dispatch::Msg::Demand));
    let pool = ChildSpec::actor("pool", move || {
        let (demand, address) = (demand.clone(), address.clone());
        (WorkerPool { queue: number, general, reserved, demand, address }, ())
    });
    let workers = (0..general + reserved)
        .map(|slot| {
            let shared = shared.clone();
            let id = if slot < general { format!("worker {slot}") } else { "worker high".into() };
            ChildSpec::actor(id, move || (Worker { shared: shared.clone(), slot }, ()))
        })
        .collect();
    let workers = ChildSpec::supervisor(plan("workers", Strategy::OneForOne, 1_000, workers));
    ChildSpec::supervisor(plan(&format!("queue {}", queue.name), Strategy::RestForOne, 20, vec![pool, workers]))
}

/// Restart budgets: what ends a child is our own bug or a kill; so many within a minute mean that restarting is no cure.
fn plan(id: &str, strategy: Strategy, restarts_max: usize, children: Vec<ChildSpec>) -> Plan {
    Plan {
        id: id.into(),
        strategy,
        restarts_max,
        window: Duration::from_secs(60),
        backoff: Duration::from_millis(10),
        backoff_max: Duration::from_secs(5),
        children,
    }
}

/// The wake keys of all lanes served.
fn keys(facts: &[QueueFacts]) -> Vec<i32> {
    let mut keys: Vec<i32> = facts.iter().flat_map(|f| f.lanes.iter().map(|(lane, ..)| lane % WAKE_KEYS)).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}
