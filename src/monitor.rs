//! The monitor: gauges of this process, its supervision tree written where `pgflow tree` reads it, and the leader's alerts.
//!
//! The tree costs the database nothing while nothing changes: it is saved only when it differs from the last one. The leader
//! looks at all queues once a minute.

mod alerts;

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use deadpool_postgres::Pool;
use metrics::gauge;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use self::alerts::{Memory, Sizes};
use crate::{
    Error, Publisher, Result,
    connect::{ANSWER_MS_MAX, bounded_on},
    listen::Health,
    settle::Settler,
    store::Store,
    supervise::{self, TreeNode},
};

/// Time between two looks, in ms.
const LOOK_MS: u64 = 2_000;
/// Time between two samples of the leader, in ms.
const SAMPLE_MS: u64 = 60_000;
/// Time between two measurements of the tables' size, in ms.
const MEASURE_MS: u64 = 3_600_000;
/// Most rows of a lane that a sample counts.
const COUNT_MAX: i32 = 100_000;
/// The source of pgflow's own alerts.
pub(crate) const SOURCE: &str = "pgflow";

/// The tree as it stands, with what is wrong with the listener, and what waits for the forwarder.
pub(crate) async fn tree(root: &ActorRef<supervise::Msg>, health: &Health, publisher: &Publisher) -> Vec<TreeNode> {
    let mut nodes = supervise::snapshot(root).await;
    let note = match (health.listening(), health.polls()) {
        (false, _) => Some("not connected: nothing is claimed"),
        (true, true) => Some("polls: its connection is no session"),
        (true, false) => None,
    };
    for node in nodes.iter_mut().filter(|node| node.id == "listener") {
        node.note = note.map(str::to_owned);
    }
    let waiting = publisher.spooled().map_or(0, |spooled| spooled.messages);
    for node in nodes.iter_mut().filter(|node| node.id == "forwarder" && waiting > 0) {
        node.note = Some(format!("{waiting} messages wait in the spool"));
    }
    nodes
}

/// The monitor's protocol.
pub(crate) enum Msg {
    /// Look around.
    Look,
}

/// What the monitor looks at. The root is known only once it started, which is after its children.
pub(crate) struct Wiring {
    pub(crate) store: Arc<Store>,
    pub(crate) pool: Pool,
    pub(crate) settler: Settler,
    pub(crate) health: Arc<Health>,
    pub(crate) publisher: Publisher,
    pub(crate) session: i32,
    pub(crate) root: Arc<OnceLock<ActorRef<supervise::Msg>>>,
    /// Above so many bytes of tables, an alert.
    pub(crate) alert_bytes: Option<u64>,
}

/// Its state.
#[derive(Default)]
pub(crate) struct State {
    /// The tree as last saved.
    saved: Option<serde_json::Value>,
    sampled: Option<Instant>,
    measured: Option<Instant>,
    sizes: Sizes,
    memory: Memory,
}

/// The actor.
pub(crate) struct Monitor {
    pub(crate) wiring: Arc<Wiring>,
}

impl Actor for Monitor {
    type Msg = Msg;
    type State = State;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Msg>, (): ()) -> Result<Self::State, ActorProcessingErr> {
        myself.send_after(Duration::ZERO, || Msg::Look);
        Ok(State::default())
    }

    async fn handle(&self, myself: ActorRef<Msg>, _: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        let w = &self.wiring;
        gauge!("pgflow_listening").set(f64::from(u8::from(w.health.listening())));
        gauge!("pgflow_leader").set(f64::from(u8::from(w.health.leads())));
        gauge!("pgflow_claims_unsettled").set(w.settler.ledger().len() as f64);
        if let Err(e) =
            bounded_on(&self.wiring.pool, "save the tree", ANSWER_MS_MAX, self.save_tree(&mut state.saved)).await
        {
            tracing::debug!(target: "pgflow::monitor", error = %e, "the tree was not saved");
        }
        if let Err(e) = bounded_on(&self.wiring.pool, "sample the queues", ANSWER_MS_MAX, self.sample(state)).await {
            tracing::warn!(target: "pgflow::monitor", error = %e, "the queues were not sampled: alerts may be late");
        }
        myself.send_after(Duration::from_millis(LOOK_MS), || Msg::Look);
        Ok(())
    }
}

impl Monitor {
    /// The leader's look at all queues: raises and clears alerts.
    async fn sample(&self, state: &mut State) -> Result<()> {
        let w = &self.wiring;
        let due = |at: Option<Instant>, ms: u64| at.is_none_or(|at| at.elapsed() >= Duration::from_millis(ms));
        if !w.health.leads() {
            // Another leader counts anew, and says what is said.
            state.memory = Memory::default();
            return Ok(());
        }
        if !due(state.sampled, SAMPLE_MS) {
            return Ok(());
        }
        state.sampled = Some(Instant::now());
        let c = w.pool.get().await.map_err(|e| Error::pool("sample the queues", e))?;
        if due(state.measured, MEASURE_MS) {
            let (now, day_ago) = w.store.measure(&c).await?;
            let limit = w.alert_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
            state.sizes = Sizes { now, day_ago, limit };
            state.measured = Some(Instant::now());
        }
        let queues = w.store.sample(&c, COUNT_MAX).await?;
        let said = state.memory.judge(&queues, state.sizes);
        for t in w.store.set_alerts(&c, SOURCE, &said).await? {
            let (alert, subject, detail) = (&t.alert, &t.subject, &t.detail);
            gauge!("pgflow_alert", "alert" => alert.clone(), "subject" => subject.clone())
                .set(f64::from(u8::from(t.raised)));
            if t.raised {
                tracing::warn!(target: "pgflow::monitor", alert, subject, detail, "alert raised");
            } else {
                tracing::info!(target: "pgflow::monitor", alert, subject, "alert cleared");
            }
        }
        Ok(())
    }

    async fn save_tree(&self, saved: &mut Option<serde_json::Value>) -> Result<()> {
        let w = &self.wiring;
        let Some(root) = w.root.get() else { return Ok(()) };
        let tree = serde_json::to_value(tree(root, &w.health, &w.publisher).await)
            .map_err(|e| Error::state("save the tree", e.to_string()))?;
        if saved.as_ref() == Some(&tree) || !w.health.listening() {
            return Ok(());
        }
        let c = w.pool.get().await.map_err(|e| Error::pool("save the tree", e))?;
        w.store.save_tree(&c, w.session, &tree).await?;
        *saved = Some(tree);
        Ok(())
    }
}
