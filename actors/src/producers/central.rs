//! What central sends: to instances, and to itself.

use std::time::Duration;

use pgflow::Receipt;
use time::OffsetDateTime;
use tokio_postgres::GenericClient;
use uuid::Uuid;

use super::{Result, broadcast, publish, send, together};
use crate::consensus::{Decision, ballots};
use crate::events::{CONSENSUS_RESULT_PUBLISHED, PROFILE_UPDATE_PUBLISHED, ROLLBACK_TRIGGER_PUBLISHED, tell};
use crate::learning::next_midnight;
use crate::messages::{
    BROADCAST, CheckHealth, ConsensusDeadline, ConsensusResult, Envelope, LearningLoopCompleted, ProposalForConsensus,
    RollbackTrigger, RunLearning, SafetyProfileUpdate, VotingRequest, WatchChange,
};
use crate::store::{self, Figures, LearnedProfile, Rollback};
use crate::transport::Transport;
use crate::voting::CastVote;

/// Asks every live instance to vote, and sets the vote's timer, which by the queue is durable, so that central may be killed meanwhile;
/// answers how many were asked.
pub async fn open_vote<C: GenericClient + Sync>(
    transport: &Transport,
    client: &C,
    proposal: &ProposalForConsensus,
    deadline: OffsetDateTime,
    window: Duration,
) -> Result<usize> {
    let id = proposal.proposal_id;
    let request = VotingRequest::about(proposal, OffsetDateTime::now_utc(), deadline);
    let timer = ConsensusDeadline { envelope: Envelope::new(), proposal_id: id, deadline };
    let asked = broadcast(transport, client, request);
    let timer = publish(transport, client, timer, |out| out.delay(window));
    let (asked, timer) = together(transport, asked, timer).await?;
    let links: Vec<_> = asked.receipts.iter().chain(&timer).filter_map(|receipt| Some((id, receipt.id()?))).collect();
    store::link_messages(client, &links).await?;
    Ok(asked.copies)
}

/// Tells the proposer what was decided.
pub async fn send_consensus_result<C: GenericClient + Sync>(
    transport: &Transport,
    client: &C,
    (instance, proposal): (&str, Uuid),
    votes: &[CastVote],
    decision: &Decision,
) -> Result<()> {
    let Some(status) = decision.status.on_wire() else { return Ok(()) };
    let message = ConsensusResult {
        envelope: Envelope::new(),
        proposal_id: proposal,
        instance_id: instance.to_owned(),
        status,
        votes: ballots(votes),
        confidence: decision.confidence,
        decision_rationale: Some(decision.rationale.clone()),
        timestamp: OffsetDateTime::now_utc(),
    };
    send(transport, client, message, |out| out.target(instance)).await?;
    tell!(
        CONSENSUS_RESULT_PUBLISHED,
        proposal_id = %proposal,
        instance_id = instance,
        status = decision.status.tag(),
        confidence = decision.confidence,
        "consensus: {}",
        decision.rationale
    );
    Ok(())
}

/// Orders a change to be taken back, once: false when that was done before.
pub async fn order_rollback<C: GenericClient + Sync>(
    transport: &Transport,
    client: &C,
    order: &Rollback,
) -> Result<bool> {
    if !store::insert_rollback(client, order).await? {
        return Ok(false);
    }
    if let Some(number) = send_rollback_trigger(transport, client, order).await?.and_then(|receipt| receipt.id()) {
        store::note_trigger(client, order.proposal_id, number).await?;
    }
    Ok(true)
}

/// Sends the order at high priority.
pub async fn send_rollback_trigger<C: GenericClient + Sync>(
    transport: &Transport,
    client: &C,
    order: &Rollback,
) -> Result<Option<Receipt>> {
    let message = RollbackTrigger {
        envelope: Envelope::new(),
        proposal_id: order.proposal_id,
        instance_id: order.instance_id.clone(),
        reason: order.reason.clone(),
        threshold: order.limit.clone(),
        rollback_id: Some(order.rollback_id),
        strategy: Some(order.strategy.clone()),
        breach_count: Some(order.breach_count),
        timestamp: OffsetDateTime::now_utc(),
    };
    let receipt = send(transport, client, message, |out| out.target(&order.instance_id)).await?;
    tell!(
        ROLLBACK_TRIGGER_PUBLISHED,
        proposal_id = %order.proposal_id,
        instance_id = order.instance_id,
        reason = order.reason,
        actual = order.limit.actual,
        threshold = order.limit.threshold,
        "rollback ordered"
    );
    Ok(receipt)
}

/// Sends a learned profile to every live instance; answers how many.
pub async fn send_safety_profile_update<C: GenericClient + Sync>(
    transport: &Transport,
    client: &C,
    learned: &LearnedProfile,
) -> Result<usize> {
    let message = SafetyProfileUpdate {
        envelope: Envelope::new(),
        instance_id: BROADCAST.to_owned(),
        agent_type: learned.agent_type.clone(),
        source: learned.source.clone(),
        safety_profile: learned.profile.clone(),
        timestamp: learned.learned_at,
    };
    let copies = broadcast(transport, client, message).await?.copies;
    tell!(PROFILE_UPDATE_PUBLISHED, agent_type = learned.agent_type, copies, "learned profile sent");
    Ok(copies)
}

/// Has a change looked after, after `delay`: whether its first report came, or what the reports since are.
pub async fn watch_later<C: GenericClient + Sync>(
    transport: &Transport,
    client: &C,
    (proposal, awaits_first): (Uuid, bool),
    delay: Duration,
) -> Result<Option<Receipt>> {
    let message = WatchChange { envelope: Envelope::new(), proposal_id: proposal, awaits_first };
    send(transport, client, message, |out| out.delay(delay)).await
}

/// Has central look for what dead letters were to do, after `delay`. Chains of such orders, one every `period`, become one when they meet:
/// each order is named by the period that it is due in, which is never that of the one `before` it, whatever the clock does.
pub async fn check_health_later<C: GenericClient + Sync>(
    transport: &Transport,
    client: &C,
    before: Option<OffsetDateTime>,
    (delay, period): (Duration, Duration),
) -> Result<Option<Receipt>> {
    let now = OffsetDateTime::now_utc();
    let due = before.map_or(now, |before| before.max(now)) + delay;
    let since = Duration::try_from(due - OffsetDateTime::UNIX_EPOCH).unwrap_or_default();
    let once = format!("health-{}", since.as_millis() / period.as_millis().max(1));
    let message = CheckHealth { envelope: Envelope::new(), due: Some(due) };
    send(transport, client, message, |out| out.delay(delay).dedup_key(once)).await
}

/// Orders a learning run now.
pub async fn order_learning<C: GenericClient + Sync>(
    transport: &Transport,
    client: &C,
    run_id: Uuid,
) -> Result<Option<Receipt>> {
    send(transport, client, RunLearning { envelope: Envelope::new(), run_id }, |out| out).await
}

/// Orders the learning run of the next midnight (UTC). The day is the order's name: neither restarts nor central's looks, which all
/// order it, multiply it, and one that central was away for is there when it comes back.
pub async fn order_daily_learning<C: GenericClient + Sync>(
    transport: &Transport,
    client: &C,
    now: OffsetDateTime,
) -> Result<Option<Receipt>> {
    let due = next_midnight(now);
    let message = RunLearning { envelope: Envelope::new(), run_id: Uuid::now_v7() };
    let delay = (due - now).try_into().unwrap_or_default();
    send(transport, client, message, |out| out.delay(delay).dedup_key(format!("daily-{}", due.date()))).await
}

/// Tells whoever listens that a learning run ended.
pub async fn announce_learning<C: GenericClient + Sync>(
    transport: &Transport,
    client: &C,
    figures: Figures,
    timestamp: OffsetDateTime,
) -> Result<Option<Receipt>> {
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    let message = LearningLoopCompleted {
        envelope: Envelope::new(),
        patterns_processed: count(figures.patterns_processed),
        rules_generated: count(figures.rules_generated),
        thresholds_updated: count(figures.thresholds_updated),
        timestamp,
    };
    send(transport, client, message, |out| out).await
}
