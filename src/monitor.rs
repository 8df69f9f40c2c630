//! The monitor: gauges of this process, and its supervision tree written where `pgflow tree` reads it.
//!
//! It costs the database nothing while nothing changes: the tree is saved only when it differs from the last one.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use deadpool_postgres::Pool;
use metrics::gauge;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::{
    Error, Result,
    listen::Health,
    settle::Settler,
    store::Store,
    supervise::{self, TreeNode},
};

/// Time between two looks, in ms.
const LOOK_MS: u64 = 2_000;

/// The tree as it stands, with what is wrong with the listener.
pub(crate) async fn tree(root: &ActorRef<supervise::Msg>, health: &Health) -> Vec<TreeNode> {
    let mut nodes = supervise::snapshot(root).await;
    let note = match (health.listening(), health.polls()) {
        (false, _) => Some("not connected: nothing is claimed"),
        (true, true) => Some("polls: its connection is no session"),
        (true, false) => None,
    };
    for node in nodes.iter_mut().filter(|node| node.id == "listener") {
        node.note = note.map(str::to_owned);
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
    pub(crate) session: i32,
    pub(crate) root: Arc<OnceLock<ActorRef<supervise::Msg>>>,
}

/// The actor; its state is the tree as last saved.
pub(crate) struct Monitor {
    pub(crate) wiring: Arc<Wiring>,
}

impl Actor for Monitor {
    type Msg = Msg;
    type State = Option<serde_json::Value>;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Msg>, (): ()) -> Result<Self::State, ActorProcessingErr> {
        myself.send_after(Duration::ZERO, || Msg::Look);
        Ok(None)
    }

    async fn handle(&self, myself: ActorRef<Msg>, _: Msg, saved: &mut Self::State) -> Result<(), ActorProcessingErr> {
        let w = &self.wiring;
        gauge!("pgflow_listening").set(f64::from(u8::from(w.health.listening())));
        gauge!("pgflow_leader").set(f64::from(u8::from(w.health.leads())));
        gauge!("pgflow_claims_unsettled").set(w.settler.ledger().len() as f64);
        if let Err(e) = self.save_tree(saved).await {
            tracing::debug!(target: "pgflow::monitor", error = %e, "the tree was not saved");
        }
        myself.send_after(Duration::from_millis(LOOK_MS), || Msg::Look);
        Ok(())
    }
}

impl Monitor {
    async fn save_tree(&self, saved: &mut Option<serde_json::Value>) -> Result<()> {
        let w = &self.wiring;
        let Some(root) = w.root.get() else { return Ok(()) };
        let tree = serde_json::to_value(tree(root, &w.health).await)
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
