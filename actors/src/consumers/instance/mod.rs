//! What an instance takes in.

mod batching;
mod consensus_result;
mod execution;
mod judging;
mod observation;
mod rollback;
mod safety_profile;
mod sending;
mod tidying;
mod voting;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pgflow::Failure;
use tokio::sync::Mutex;
use tokio_postgres::GenericClient;

use super::{Context, Register};
use crate::alerts::Alarms;
use crate::check::Check;
use crate::executor::FileExecutor;
use crate::hooks::Agents;
use crate::messages::{
    CONSENSUS_RESULTS, GUARDIAN_SAFETY_PROFILES, METRICS_TO_SEND, OBSERVATIONS, PROPOSALS_FOR_EXECUTION,
    PROPOSALS_TO_SEND, ROLLBACK_TRIGGERS, VOTING_REQUESTS,
};
use crate::metrics::Metrics;
use crate::producers::instance::send_proposals;
use crate::runs::Runs;
use crate::settings::Settings;
use crate::store::{self, Database, Proposal};
use crate::thresholds::Thresholds;
use crate::voter::Voter;

/// What an instance's consumers share.
pub(crate) struct Own {
    pub(crate) id: String,
    pub(crate) settings: Settings,
    pub(crate) database: Database,
    pub(crate) alarms: Alarms,
    pub(crate) executor: FileExecutor,
    pub(crate) check: Check,
    pub(crate) steps: Option<String>,
    pub(crate) agents: Agents,
    pub(crate) runs: Runs,
    /// Held from the first reading of a change to its last: a check measures the whole workspace.
    pub(crate) measuring: Mutex<()>,
    /// Rollbacks so far: a reading that one fell into says nothing.
    pub(crate) rollbacks: AtomicU64,
    pub(crate) voter: Box<dyn Voter>,
}

impl Own {
    /// Changes whenever a rollback falls between two calls.
    fn rollbacks(&self) -> u64 {
        self.rollbacks.load(Ordering::Acquire)
    }

    /// Refuses what is addressed to someone else.
    fn is_mine(&self, instance: &str) -> Result<(), Failure> {
        if instance == self.id {
            return Ok(());
        }
        Err(Failure::dead(format!("wrong_instance: addressed to {instance}, this is {}", self.id)))
    }
}

/// Registers all consumers of an instance.
pub(crate) fn register<R: Register>(queues: R, own: &Arc<Own>) -> R {
    let (s, w) = (&own.settings, own.settings.workers);
    let shared = || Arc::clone(own);
    let (a, b, c, d) = (shared(), shared(), shared(), shared());
    let (e, f, g, h) = (shared(), shared(), shared(), shared());
    queues
        // One sender: the best score goes first.
        .queue(s.brief_queue(PROPOSALS_TO_SEND, 1))
        .consumer(move || sending::Sending(a.clone()))
        .queue(s.brief_queue(VOTING_REQUESTS, w.consensus))
        .consumer(move || voting::Voting(b.clone()))
        .queue(s.brief_queue(CONSENSUS_RESULTS, w.consensus))
        .consumer(move || consensus_result::ConsensusResults(c.clone()))
        .queue(s.queue(PROPOSALS_FOR_EXECUTION, w.proposals))
        .consumer(move || execution::Execution(d.clone()))
        .queue(s.queue(OBSERVATIONS, w.metrics))
        .consumer(move || observation::Observation(e.clone()))
        .queue(s.queue(ROLLBACK_TRIGGERS, w.rollback))
        .consumer(move || rollback::Rollback(f.clone()))
        .queue(s.brief_queue(METRICS_TO_SEND, 1))
        .consumer(move || batching::Batching(h.clone()))
        .queue(s.brief_queue(GUARDIAN_SAFETY_PROFILES, w.safety))
        .consumer(move || safety_profile::SafetyProfiles(g.clone()))
}

/// The limits of a change here: those of its agent type, tightened by its own profile, what was learned, and the agent itself.
async fn limits<C: GenericClient + Sync>(own: &Own, client: &C, proposal: &Proposal) -> Result<Thresholds, Failure> {
    let learned = store::safety_profile(client, &own.id, &proposal.agent_type).await?;
    let limits = Thresholds::effective(&proposal.agent_type, &proposal.safety_profile, learned.as_ref());
    let agents_own = own.agents.of(&proposal.agent_type).and_then(|agent| agent.safety_profile(&proposal.code_change));
    Ok(agents_own.map_or(limits, |profile| limits.tightened(&profile)))
}

/// A change let go of its target: whoever waits for it is sent. Whether anybody does is for the sender to see, after the commit: who
/// comes before that finds the target held.
async fn release_target<C: GenericClient + Sync>(
    cx: &Context<'_>,
    client: &C,
    proposal: &Proposal,
) -> Result<(), Failure> {
    if proposal.target_key.is_some() {
        send_proposals(cx.transport(), client, &proposal.instance_id).await?;
    }
    Ok(())
}

/// The metrics of a check that found the program broken: nothing succeeds.
fn broken(why: &impl std::fmt::Display) -> Metrics {
    let mut metrics = Metrics { success_rate: Some(0.0), ..Metrics::default() };
    metrics.other.insert("check_error".to_owned(), why.to_string().into());
    metrics
}
