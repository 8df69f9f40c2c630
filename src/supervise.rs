//! Supervision: children in order, restarted by a strategy within a budget, with backoff; a snapshot for the operator.
//!
//! Written on plain ractor actors. A handler's panic never arrives here (its worker catches it): what does is a bug of
//! ours or a kill, and `killed` counts as abnormal although ractor reports it as a termination.

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use serde::Serialize;

/// How long a child may take to start, in ms.
const START_MS_MAX: u64 = 30_000;
/// How long a child may take to stop before it is killed, in ms.
const STOP_MS_MAX: u64 = 5_000;

/// Who else is restarted with a child that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// Nobody.
    OneForOne,
    /// The children after it, which depend on it.
    RestForOne,
}

/// Starts a child under a supervisor.
pub(crate) type Start = Arc<dyn Fn(ActorCell) -> BoxFuture<'static, Result<ActorCell, String>> + Send + Sync>;

/// One child.
#[derive(Clone)]
pub(crate) struct ChildSpec {
    pub(crate) id: String,
    pub(crate) start: Start,
}

impl ChildSpec {
    /// A child that is an actor with these arguments, made anew for each start.
    pub(crate) fn actor<A, M>(id: impl Into<String>, make: M) -> Self
    where
        A: Actor,
        A::Arguments: Send,
        M: Fn() -> (A, A::Arguments) + Send + Sync + 'static,
    {
        let make = Arc::new(make);
        let start: Start = Arc::new(move |supervisor| {
            let make = make.clone();
            Box::pin(async move {
                let (actor, arguments) = make();
                let (child, _) =
                    Actor::spawn_linked(None, actor, arguments, supervisor).await.map_err(|e| start_error(&e))?;
                Ok(child.get_cell())
            })
        });
        Self { id: id.into(), start }
    }

    /// A child that is a supervisor itself.
    pub(crate) fn supervisor(plan: Plan) -> Self {
        Self::actor(plan.id.clone(), move || (Supervisor, plan.clone()))
    }
}

/// ractor wraps the error of `pre_start`: say the error itself.
fn start_error(e: &ractor::SpawnErr) -> String {
    match e {
        ractor::SpawnErr::StartupFailed(inner) => inner.to_string(),
        other => other.to_string(),
    }
}

/// What a supervisor supervises.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) id: String,
    pub(crate) strategy: Strategy,
    /// More restarts than this within the window end the supervisor: its own supervisor decides.
    pub(crate) restarts_max: usize,
    pub(crate) window: Duration,
    /// The first restart's delay; it doubles with every further one in the window.
    pub(crate) backoff: Duration,
    pub(crate) backoff_max: Duration,
    pub(crate) children: Vec<ChildSpec>,
}

/// A node of the tree as it stands.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct TreeNode {
    /// What it is: `runtime NAME`, `dispatcher`, `queue mail`, `pool`, `worker 3`, `worker high`…
    pub id: String,
    /// Whether it runs now; false between a death and its restart.
    pub running: bool,
    /// How often it was restarted since its supervisor started.
    pub restarts: u64,
    /// What is wrong with it though it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What it supervises.
    pub children: Vec<TreeNode>,
}

impl TreeNode {
    pub(crate) fn root(id: String, running: bool, children: Vec<Self>) -> Self {
        Self { id, running, restarts: 0, note: None, children }
    }
}

/// The supervisor's protocol.
pub(crate) enum Msg {
    /// A restart's backoff is over.
    Restart { child: usize, generation: u64 },
    /// The subtree as it stands.
    Snapshot(RpcReplyPort<Vec<TreeNode>>),
}

/// The actor.
pub(crate) struct Supervisor;

struct Child {
    spec: ChildSpec,
    cell: Option<ActorCell>,
    restarts: u64,
    /// Raised at every start: a restart asked for by an older one is void.
    generation: u64,
}

/// Its state.
pub(crate) struct State {
    plan: Plan,
    children: Vec<Child>,
    /// When restarts happened, within the window.
    recent: VecDeque<Instant>,
}

impl Actor for Supervisor {
    type Msg = Msg;
    type State = State;
    type Arguments = Plan;

    async fn pre_start(&self, myself: ActorRef<Msg>, plan: Plan) -> Result<State, ActorProcessingErr> {
        let mut children = Vec::with_capacity(plan.children.len());
        for spec in plan.children.clone() {
            let cell = start(&spec, &myself).await.map_err(|why| format!("{}: {why}", spec.id))?;
            children.push(Child { spec, cell: Some(cell), restarts: 0, generation: 0 });
        }
        Ok(State { plan, children, recent: VecDeque::new() })
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Restart { child, generation } => state.restart(&myself, child, generation).await,
            Msg::Snapshot(reply) => {
                // Children that are supervisors are asked without holding this one up.
                let nodes: Vec<(TreeNode, Option<ActorCell>)> = state.children.iter().map(Child::node).collect();
                tokio::spawn(async move {
                    let _ = reply.send(expand(nodes).await);
                });
                Ok(())
            }
        }
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Msg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (cell, why) = match event {
            SupervisionEvent::ActorTerminated(cell, _, reason) => (cell, reason.unwrap_or_else(|| "stopped".into())),
            SupervisionEvent::ActorFailed(cell, error) => (cell, error.to_string()),
            _ => return Ok(()),
        };
        // Late news of a child that was replaced already, or stopped by us, changes nothing.
        let is_it = |c: &Child| c.cell.as_ref().is_some_and(|current| current.get_id() == cell.get_id());
        let Some(child) = state.children.iter().position(is_it) else { return Ok(()) };
        state.ended(&myself, child, &why).await
    }
}

impl Child {
    fn node(&self) -> (TreeNode, Option<ActorCell>) {
        let node = TreeNode {
            id: self.spec.id.clone(),
            running: self.cell.is_some(),
            restarts: self.restarts,
            note: None,
            children: Vec::new(),
        };
        (node, self.cell.clone())
    }
}

async fn expand(nodes: Vec<(TreeNode, Option<ActorCell>)>) -> Vec<TreeNode> {
    let mut out = Vec::with_capacity(nodes.len());
    for (mut node, cell) in nodes {
        if let Some(cell) = cell.filter(|c| c.is_message_type_of::<Msg>() == Some(true)) {
            node.children = Box::pin(snapshot(&ActorRef::from(cell))).await;
        }
        out.push(node);
    }
    out
}

/// A supervisor's subtree; empty when it does not answer.
pub(crate) async fn snapshot(supervisor: &ActorRef<Msg>) -> Vec<TreeNode> {
    match supervisor.call(Msg::Snapshot, Some(Duration::from_millis(STOP_MS_MAX))).await {
        Ok(ractor::rpc::CallResult::Success(nodes)) => nodes,
        _ => Vec::new(),
    }
}

async fn start(spec: &ChildSpec, supervisor: &ActorRef<Msg>) -> Result<ActorCell, String> {
    match tokio::time::timeout(Duration::from_millis(START_MS_MAX), (spec.start)(supervisor.get_cell())).await {
        Ok(started) => started,
        Err(_) => Err(format!("did not start within {START_MS_MAX} ms")),
    }
}

impl State {
    /// A child ended by itself: restart it, and under rest-for-one those after it, after the backoff.
    async fn ended(&mut self, myself: &ActorRef<Msg>, child: usize, why: &str) -> Result<(), ActorProcessingErr> {
        tracing::error!(target: "pgflow::supervise", supervisor = %self.plan.id, child = %self.children[child].spec.id, why, "a child ended, restarting it");
        self.children[child].cell = None;
        if self.plan.strategy == Strategy::RestForOne {
            for later in self.children[child + 1..].iter_mut().rev() {
                if let Some(cell) = later.cell.take() {
                    stop_or_kill(&cell).await;
                }
            }
        }
        self.plan_restart(myself, child)
    }

    fn plan_restart(&mut self, myself: &ActorRef<Msg>, child: usize) -> Result<(), ActorProcessingErr> {
        let now = Instant::now();
        while self.recent.front().is_some_and(|at| now - *at > self.plan.window) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        if self.recent.len() > self.plan.restarts_max {
            let why = format!(
                "{} restarts of {} within {:?}",
                self.recent.len(),
                self.children[child].spec.id,
                self.plan.window
            );
            return Err(why.into());
        }
        let doublings = u32::try_from(self.recent.len() - 1).unwrap_or(u32::MAX).min(16);
        let wait = (self.plan.backoff * 2u32.pow(doublings)).min(self.plan.backoff_max);
        let generation = self.children[child].generation;
        myself.send_after(wait, move || Msg::Restart { child, generation });
        Ok(())
    }

    async fn restart(
        &mut self,
        myself: &ActorRef<Msg>,
        child: usize,
        generation: u64,
    ) -> Result<(), ActorProcessingErr> {
        if self.children[child].generation != generation {
            return Ok(());
        }
        for i in child..self.children.len() {
            if self.children[i].cell.is_some() {
                continue;
            }
            if i != child && self.plan.strategy == Strategy::OneForOne {
                break;
            }
            let c = &mut self.children[i];
            c.generation += 1;
            c.restarts += 1;
            metrics::counter!("pgflow_restarts_total", "child" => c.spec.id.clone()).increment(1);
            match start(&c.spec, myself).await {
                Ok(cell) => c.cell = Some(cell),
                Err(why) => {
                    tracing::error!(target: "pgflow::supervise", child = %c.spec.id, why, "restart failed");
                    return self.plan_restart(myself, i);
                }
            }
        }
        Ok(())
    }
}

async fn stop_or_kill(cell: &ActorCell) {
    let limit = Some(Duration::from_millis(STOP_MS_MAX));
    if cell.stop_and_wait(Some("its supervisor restarts it".into()), limit).await.is_err() {
        let _ = cell.kill_and_wait(limit).await;
    }
}
