//! A start: pools, session, and the tree of actors with the addresses between them.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use ractor::Actor;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{
    Parts,
    prepare::{prepare, warm_up},
};
use crate::{
    Config, Error, Publisher, Queue, Result,
    address::Address,
    ahead::{RunsLow, Shelf},
    config::HEARTBEAT_WRITE_MS,
    connect::{ANSWER_MS_MAX, Target, bounded},
    dispatch::{self, Counters, Dispatcher, WokenLanes},
    forward::{self, Forwarder},
    handler::{Lent, Registry, SETTINGS as HANDLER_SETTINGS},
    listen::{self, Health, Listener},
    monitor::{self, Monitor},
    pool::{self, Pool as WorkerPool},
    publish,
    settle::{CaughtUp, Settler, SettlerActor},
    spool::Spool,
    store::{Registration, Store},
    supervise::{ChildSpec, Plan, Strategy, Supervisor},
    sweep::{self, Sweeper},
    worker::{self, Worker},
};

/// What a reconnect takes at worst beside its tries for hosts that do not answer.
const FAILOVER_SLACK: Duration = Duration::from_millis(1_500);

/// Settings of the connections that claim and settle: plans that stay right whatever the statistics say.
const CONTROL_SETTINGS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
     SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off; SET default_transaction_isolation = 'read committed'; SET statement_timeout = '10s'; \
     SET idle_in_transaction_session_timeout = '60s'";

/// What a start needs on the control plane.
pub(super) struct Start {
    pub(super) config: Config,
    pub(super) queues: Vec<(Queue, Registry)>,
    pub(super) target: Target,
    /// The listener's own way, if it has one.
    pub(super) listen: Option<Target>,
    pub(super) user: Handle,
}

impl Start {
    pub(super) async fn run(self) -> Result<Parts> {
        let Self { mut config, queues, target, listen, user } = self;
        // Others may have to wait for a host that never answers, before they come to the one that has taken over.
        let latest = listen.as_ref().unwrap_or(&target).failover_limit() + FAILOVER_SLACK;
        if latest > FAILOVER_SLACK {
            config.rescue_grace_ms = config.rescue_grace_ms.max(u64::try_from(latest.as_millis()).unwrap_or(u64::MAX));
        }
        let store = Arc::new(Store::new(&config.schema));
        let handle = Handle::current();
        let pool_of = |size, name: &str, settings| target.pool(&handle, size, &format!("pgflow {name}"), settings);
        let control_pool = pool_of(config.control_connections - 1, "control", CONTROL_SETTINGS)?;
        let high_pool = pool_of(1, "high", CONTROL_SETTINGS)?;
        // Beside the handlers that use them: of a high message's handler, which no blocked thread of the user's may delay, and which waits
        // for no connection that others hold, on the control plane.
        let handlers_of =
            |handle: &Handle, name| target.pool(handle, config.handler_connections, name, HANDLER_SETTINGS);
        let handler_pool = handlers_of(&user, "pgflow handlers")?;
        let high_handler_pool = handlers_of(&handle, "pgflow high handlers")?;
        let publish_pool = pool_of(config.handler_connections, "publish", publish::SETTINGS)?;

        let spool = Spool::open(&config).await?;
        let prepared = prepare(&store, &control_pool, &config, &queues);
        let (session, facts) = bounded("start: prepare the schema", ANSWER_MS_MAX, prepared).await?;
        // One stays free for the listener's first steps.
        warm_up(&store, &control_pool, config.control_connections - 2);
        let dispatcher: Address<dispatch::Msg> = Address::default();
        let caught_up = dispatcher.outlet(|CaughtUp| dispatch::Msg::CaughtUp);
        let settler = Settler::new(store.clone(), control_pool.clone(), caught_up);
        let listener: Address<listen::Msg> = Address::default();
        let sweeper: Address<sweep::Msg> = Address::default();
        let nudge = {
            let dispatcher = dispatcher.clone();
            move |lane| dispatcher.signal(dispatch::Msg::Nudged(lane))
        };
        let instance: Arc<str> = config.instance.as_str().into();
        let direct = Publisher::new(store.clone(), publish_pool, &config).with_nudge(Arc::new(nudge));
        let publisher = direct.clone().with_spool(spool.clone(), None);
        let lend = |pool| Lent { pool, publisher: publisher.clone(), instance: instance.clone() };
        let (lent, lent_to_high) = (lend(handler_pool), lend(high_handler_pool));
        let cut = CancellationToken::new();
        let woken = Arc::new(WokenLanes::default());
        let (health, counters) = (Arc::new(Health::default()), Arc::new(Counters::default()));
        let stopping = Arc::new(AtomicBool::new(false));

        let pools: Vec<Address<pool::Msg>> = queues.iter().map(|_| Address::default()).collect();
        let mut children = vec![{
            let settler = settler.clone();
            ChildSpec::actor("settler", move || (SettlerActor, settler.clone()))
        }];
        let served: Vec<dispatch::Served> = (queues.iter().zip(&pools).enumerate())
            .map(|(i, ((queue, _), pool))| dispatch::Served {
                pool: pool.clone(),
                workers: queue.workers,
                shelf: Shelf::new(dispatcher.outlet(move |RunsLow| dispatch::Msg::RunsLow(i))),
            })
            .collect();
        let mut decodes = serde_json::Map::new();
        for (i, (queue, registry)) in queues.iter().enumerate() {
            decodes.insert(queue.name.clone(), registry.decodes());
            let shared = worker::Shared {
                queue: queue.name.as_str().into(),
                registry: registry.clone(),
                lent: lent.clone(),
                lent_to_high: lent_to_high.clone(),
                deadline: queue.deadline,
                user: user.clone(),
                cut: cut.clone(),
                shelf: served[i].shelf.clone(),
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
            let stopping = stopping.clone();
            let facts = facts.clone();
            Arc::new(move || dispatch::Wiring {
                store: store.clone(),
                pool: pool.clone(),
                high_pool: high_pool.clone(),
                settler: settler.clone(),
                session,
                instance: instance.clone(),
                served: served.clone(),
                queues: facts.clone(),
                to_listener: to_listener.clone(),
                doubt: doubt.clone(),
                woken: woken.clone(),
                address: dispatcher.clone(),
                counters: counters.clone(),
                stopping: stopping.clone(),
            })
        };
        children.push(ChildSpec::actor("dispatcher", move || (Dispatcher, wiring.clone())));
        let announced = listen::Announced::default();
        let sweep_wiring = Arc::new(sweep::Wiring {
            store: store.clone(),
            pool: control_pool.clone(),
            settler: settler.clone(),
            session,
            config: config.clone(),
            address: sweeper.clone(),
            announced: announced.clone(),
        });
        children.push(ChildSpec::actor("sweeper", move || (Sweeper { wiring: sweep_wiring.clone() }, ())));
        let listen_wiring = Arc::new(listen::Wiring {
            database: target.clone(),
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
                name_kept_ms: 3 * i64::try_from(config.heartbeat_ms.max(HEARTBEAT_WRITE_MS)).unwrap_or(i64::MAX),
            },
            heartbeat: config.heartbeat(),
            lease_ms: i64::try_from(config.lease_ms).unwrap_or(i64::MAX),
            dispatcher: dispatcher.clone(),
            woken,
            sweep: sweeper.outlet(sweep::Msg::Signal),
            announced,
            address: listener.clone(),
            health: health.clone(),
            proved: AtomicBool::new(false),
            stood: AtomicBool::new(false),
            refused: Mutex::default(),
        });
        let refused = listen_wiring.clone();
        children.push(ChildSpec::actor("listener", move || (Listener { wiring: listen_wiring.clone() }, ())));

        if let Some(spool) = spool {
            let wiring = Arc::new(forward::Wiring { store: store.clone(), publisher: direct, spool });
            children.push(ChildSpec::actor("forwarder", move || (Forwarder { wiring: wiring.clone() }, ())));
        }

        let root_slot = Arc::new(OnceLock::new());
        let monitor_wiring = Arc::new(monitor::Wiring {
            store: store.clone(),
            pool: control_pool.clone(),
            settler: settler.clone(),
            health: health.clone(),
            publisher: publisher.clone(),
            session,
            root: root_slot.clone(),
            alert_bytes: config.alert_bytes,
        });
        children.push(ChildSpec::actor("monitor", move || (Monitor { wiring: monitor_wiring.clone() }, ())));

        let (root, root_ended) =
            Actor::spawn(None, Supervisor, plan("runtime", Strategy::OneForOne, 20, children)).await.map_err(|e| {
                let by_listener = refused.refused.lock().unwrap_or_else(PoisonError::into_inner).take();
                match (by_listener, e) {
                    (Some(e), _) => e.within("start: listener"),
                    (None, ractor::SpawnErr::StartupFailed(why)) => Error::state("start", why.to_string()),
                    (None, other) => Error::state("start", other.to_string()),
                }
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
            stopping,
        })
    }
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
