//! What central takes in.

mod batch;
mod change_watch;
mod deadline;
mod health;
mod intake;
mod known_safe;
mod learning;
mod learning_completed;
mod metrics;
mod pattern;
mod vote;

use std::sync::Arc;
use std::time::Instant;

use pgflow::Failure;
use time::OffsetDateTime;
use tokio_postgres::Client;
use uuid::Uuid;

pub(crate) use self::known_safe::KnownSafe;
use super::{Context, Register};
use crate::alerts::Alarms;
use crate::consensus::{Clock, Decision, Status, decide};
use crate::messages::{
    CHANGE_WATCHES, CONSENSUS_DEADLINES, CONSENSUS_VOTES, HEALTH_CHECKS, LEARNING_LOOP_COMPLETED, LEARNING_RUNS,
    METRICS_TO_GUARDIAN, PATTERNS_FOR_AGGREGATOR, PROPOSALS_FOR_CONSENSUS,
};
use crate::producers::central::{send_consensus_result, watch_later};
use crate::settings::{STALE_PERIODS, Settings};
use crate::store::{self, OpenVote};
use crate::voting::CastVote;

/// What central's consumers share.
pub(crate) struct Own {
    pub(crate) settings: Settings,
    pub(crate) alarms: Alarms,
    pub(crate) started: Instant,
    pub(crate) known_safe: KnownSafe,
}

/// Registers all consumers of central.
pub(crate) fn register<R: Register>(queues: R, own: &Arc<Own>) -> R {
    let (s, w) = (&own.settings, own.settings.workers);
    let shared = || Arc::clone(own);
    let (a, b, c, d, e, f, g) = (shared(), shared(), shared(), shared(), shared(), shared(), shared());
    queues
        .queue(s.brief_queue(PROPOSALS_FOR_CONSENSUS, w.proposals))
        .consumer(move || intake::Intake(a.clone()))
        .queue(s.brief_queue(CONSENSUS_VOTES, w.consensus_results))
        .consumer(move || vote::Votes(b.clone()))
        .queue(s.brief_queue(CONSENSUS_DEADLINES, w.consensus_results))
        .consumer(move || deadline::Deadlines(c.clone()))
        .queue(s.brief_queue(METRICS_TO_GUARDIAN, w.metrics))
        .consumer(move || metrics::Reports(d.clone()))
        .consumer(|| batch::Batches)
        .queue(s.brief_queue(CHANGE_WATCHES, 1))
        .consumer(move || change_watch::Watches(e.clone()))
        .queue(s.brief_queue(PATTERNS_FOR_AGGREGATOR, w.patterns))
        .consumer(|| pattern::Patterns)
        .queue(s.brief_queue(LEARNING_RUNS, w.profile))
        .consumer(move || learning::Learning(f.clone()))
        .queue(s.brief_queue(HEALTH_CHECKS, 1))
        .consumer(move || health::Health(g.clone()))
        .queue(s.brief_queue(LEARNING_LOOP_COMPLETED, 1))
        .consumer(|| learning_completed::Completed)
}

/// Closes an approved change, whose outcome moves the gate if that may move; false when it was closed before.
async fn close(tx: &Client, own: &Own, change: Uuid, end: &str) -> Result<bool, Failure> {
    if !store::close_change(tx, change, end).await? {
        return Ok(false);
    }
    if own.settings.adaptive_gate {
        let gate = store::record_outcome(tx, end == "succeeded").await?;
        tracing::debug!(target: "evolution", confidence = gate.confidence(), converged = gate.converged(), "gate");
    }
    Ok(true)
}

/// Admits a change that was decided on; of an approved one the first report is waited for.
async fn admit(cx: &Context<'_>, tx: &Client, own: &Own, change: Uuid, approved: bool) -> Result<(), Failure> {
    store::admit_change(tx, change, approved).await?;
    if approved {
        watch_later(cx.transport(), tx, (change, true), own.settings.windows.report * STALE_PERIODS).await?;
    }
    Ok(())
}

/// Decides with these votes, which are all that are there, and tells the proposer if that is a decision.
async fn try_to_decide(
    cx: &Context<'_>,
    tx: &Client,
    own: &Own,
    (proposal, open): (Uuid, &OpenVote),
    votes: Vec<CastVote>,
    now: OffsetDateTime,
) -> Result<Option<Decision>, Failure> {
    let clock = Clock { now, deadline: open.deadline };
    let mut settings = own.settings.consensus.clone();
    if own.settings.adaptive_gate {
        settings.min_confidence = store::gate(tx).await?.confidence();
    }
    let decision = decide(&votes, open.rule, clock, &settings);
    if decision.status == Status::Voting {
        return Ok(None);
    }
    if !store::decide_consensus(tx, proposal, decision.status, decision.confidence, &decision.rationale).await? {
        return Ok(None);
    }
    admit(cx, tx, own, proposal, decision.status == Status::Approved).await?;
    send_consensus_result(cx.transport(), tx, (&open.instance_id, proposal), &votes, &decision).await?;
    Ok(Some(decision))
}
