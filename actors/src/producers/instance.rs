//! What an instance sends: to central, and to itself.

use std::collections::BTreeMap;
use std::time::Duration;

use pgflow::Receipt;
use time::OffsetDateTime;
use tokio_postgres::GenericClient;
use uuid::Uuid;

use super::{Result, publish, send, send_all};
use crate::batch::Agents;
use crate::events::{
    METRICS_PUBLISHED, PATTERN_PUBLISHED, PROPOSAL_PUBLISHED, PROPOSAL_SENT_FOR_CONSENSUS, PUBLISH_FAILED, tell,
};
use crate::json::Object;
use crate::messages::{
    ConsensusVote, Envelope, ExecuteProposal, ExecutionMetrics, FlushMetrics, MetricsBatch, ObserveChange,
    PatternDiscovered, Payload, ProposalForConsensus, SendProposals, VotingRequest,
};
use crate::metrics::Metrics;
use crate::proposal::State;
use crate::store::{self, Proposal};
use crate::transport::Transport;
use crate::voter::Opinion;
use crate::wire::Wire;

/// Asks central for consent to each, in this order.
pub async fn propose_for_consensus<C: GenericClient + Sync>(
    transport: &Transport,
    client: &C,
    proposals: &[Proposal],
) -> Result<()> {
    let message = |proposal: &Proposal| ProposalForConsensus {
        envelope: Envelope::new(),
        proposal_id: proposal.proposal_id,
        instance_id: proposal.instance_id.clone(),
        agent_type: proposal.agent_type.clone(),
        code_change: proposal.code_change.clone(),
        impact_score: proposal.impact_score,
        risk_score: proposal.risk_score,
        safety_profile: proposal.safety_profile.clone(),
        timestamp: OffsetDateTime::now_utc(),
    };
    let receipts = send_all(transport, client, proposals.iter().map(message)).await?;
    for (proposal, receipt) in proposals.iter().zip(receipts) {
        let number = receipt.and_then(|receipt| receipt.id());
        tell!(PROPOSAL_PUBLISHED, proposal_id = %proposal.proposal_id, number, "proposal published");
        tell!(PROPOSAL_SENT_FOR_CONSENSUS, proposal_id = %proposal.proposal_id, "proposal sent for consensus");
    }
    Ok(())
}

/// Reports what a change did, as of `status`; `shadowed` is held against other changes.
pub async fn report_metrics_to_guardian<C: GenericClient + Sync>(
    transport: &Transport,
    client: &C,
    proposal: &Proposal,
    status: State,
    (before, after): (&Metrics, &Metrics),
    shadowed: BTreeMap<String, Uuid>,
) -> Result<Option<Receipt>> {
    let message = ExecutionMetrics {
        envelope: Envelope::new(),
        proposal_id: proposal.proposal_id,
        instance_id: proposal.instance_id.clone(),
        agent_type: Some(proposal.agent_type.clone()),
        metrics_before: before.clone(),
        metrics_after: after.clone(),
        status: Some(status.tag().to_owned()),
        shadowed,
        timestamp: OffsetDateTime::now_utc(),
    };
    let receipt = send(transport, client, message, |out| out).await?;
    tell!(METRICS_PUBLISHED, proposal_id = %proposal.proposal_id, status = status.tag(), "metrics published");
    Ok(receipt)
}

/// Sends what was measured from the first of these moments to the second.
pub async fn send_metrics_batch<C: GenericClient + Sync>(
    transport: &Transport,
    client: &C,
    instance: &str,
    agents: Agents,
    (from, timestamp): (OffsetDateTime, OffsetDateTime),
) -> Result<Option<Receipt>> {
    let count = agents.len();
    let message = MetricsBatch { envelope: Envelope::new(), instance_id: instance.to_owned(), agents, from, timestamp };
    let receipt = send(transport, client, message, |out| out).await?;
    tell!(METRICS_PUBLISHED, instance_id = instance, agents = count, "metrics batch published");
    Ok(receipt)
}

/// Has what will be measured by then sent, after `delay`.
pub async fn flush_metrics_later<C: GenericClient + Sync>(
    transport: &Transport,
    client: &C,
    instance: &str,
    delay: Duration,
) -> Result<Option<Receipt>> {
    let message = FlushMetrics { envelope: Envelope::new(), instance_id: instance.to_owned() };
    send(transport, client, message, |out| out.target(instance).delay(delay)).await
}

/// Reports a pattern that works. One that would be refused is only told of: what showed it is no worse for it.
pub async fn report_pattern_to_aggregator<C: GenericClient + Sync>(
    transport: &Transport,
    client: &C,
    proposal: &Proposal,
    code_pattern: Object,
    success_rate: f64,
) -> Result<Option<Receipt>> {
    let message = PatternDiscovered {
        envelope: Envelope::new(),
        instance_id: proposal.instance_id.clone(),
        pattern_type: proposal.change_type.clone(),
        agent_type: proposal.agent_type.clone(),
        success_rate,
        code_pattern,
        timestamp: OffsetDateTime::now_utc(),
    };
    if let Err(reason) = Wire::of(message.clone()).outgoing() {
        let proposal_id = proposal.proposal_id;
        tell!(PUBLISH_FAILED, kind = PatternDiscovered::TYPE, %proposal_id, %reason, "a pattern is not published");
        return Ok(None);
    }
    let receipt = send(transport, client, message, |out| out).await?;
    tell!(
        PATTERN_PUBLISHED,
        pattern_type = proposal.change_type,
        agent_type = proposal.agent_type,
        success_rate,
        "pattern published"
    );
    Ok(receipt)
}

/// Votes.
pub async fn cast_vote<C: GenericClient + Sync>(
    transport: &Transport,
    client: &C,
    instance: &str,
    request: &VotingRequest,
    opinion: Opinion,
) -> Result<Option<Receipt>> {
    let message = ConsensusVote {
        envelope: Envelope::new(),
        proposal_id: request.proposal_id,
        instance_id: instance.to_owned(),
        vote: opinion.vote,
        confidence: Some(opinion.confidence),
        reason: opinion.reason,
        timestamp: OffsetDateTime::now_utc(),
    };
    let receipt = publish(transport, client, message, |out| out).await?;
    // After the publish: what is noted in time was published in time.
    let links: Vec<_> = receipt.iter().filter_map(|receipt| Some((request.proposal_id, receipt.id()?))).collect();
    tokio::try_join!(store::note_vote(client, request.proposal_id, instance), store::link_messages(client, &links))?;
    Ok(receipt)
}

/// Orders an approved change to be executed; or, when the order before `died`, to be taken back and failed. One execution a target at
/// a time.
pub async fn order_execution<C: GenericClient + Sync>(
    transport: &Transport,
    client: &C,
    proposal: &Proposal,
    died: Option<String>,
) -> Result<Option<Receipt>> {
    let message = ExecuteProposal {
        envelope: Envelope::new(),
        proposal_id: proposal.proposal_id,
        instance_id: proposal.instance_id.clone(),
        died,
        timestamp: OffsetDateTime::now_utc(),
    };
    let target = proposal.target_key.clone().unwrap_or_else(|| proposal.proposal_id.to_string());
    let mut key = format!("{}/{target}", proposal.instance_id);
    if key.len() > pgflow::limits::KEY_BYTES_MAX {
        key = crate::text::fingerprint_bytes(key.as_bytes());
    }
    send(transport, client, message, |out| out.target(&proposal.instance_id).ordering_key(key)).await
}

/// Has an applied change looked at again, after `delay`.
pub async fn observe_later<C: GenericClient + Sync>(
    transport: &Transport,
    client: &C,
    proposal: &Proposal,
    until: OffsetDateTime,
    delay: Duration,
) -> Result<Option<Receipt>> {
    let message = ObserveChange {
        envelope: Envelope::new(),
        proposal_id: proposal.proposal_id,
        instance_id: proposal.instance_id.clone(),
        until,
    };
    send(transport, client, message, |out| out.target(&proposal.instance_id).delay(delay)).await
}

/// Has an instance look through its waiting proposals.
pub async fn send_proposals<C: GenericClient + Sync>(
    transport: &Transport,
    client: &C,
    instance: &str,
) -> Result<Option<Receipt>> {
    let message = SendProposals { envelope: Envelope::new(), instance_id: instance.to_owned() };
    send(transport, client, message, |out| out.target(instance)).await
}
