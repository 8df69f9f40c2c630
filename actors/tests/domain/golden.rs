//! The documented payloads: decoded, encoded again, byte for byte what is on the wire.

use pgflow_actors::messages::{
    ConsensusResult, ConsensusVote, Envelope, ExecuteProposal, ExecutionMetrics, LearningLoopCompleted,
    PatternDiscovered, Payload, ProposalForConsensus, RollbackTrigger, SEED_QUEUES, SafetyProfileUpdate, Verdict, Vote,
    VotingRequest, decode, encode, full_name,
};
use serde_json::{Value, json};
use time::Duration;
use uuid::Uuid;

use crate::support::noon;

/// Decodes the documented payload, encodes it, and compares both ways.
fn round_trip<P: Payload>(documented: &str, wire: &str) -> P {
    let message: P = decode(documented.as_bytes()).unwrap();
    let bytes = encode(&message).unwrap();
    let before: Value = serde_json::from_str(documented).unwrap();
    let after: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(before, after, "nothing is added, lost or changed");
    assert_eq!(String::from_utf8(bytes.clone()).unwrap(), wire.trim_end(), "the bytes on the wire are stable");
    let again: P = decode(&bytes).unwrap();
    assert_eq!(encode(&again).unwrap(), bytes);
    assert_eq!(before["type"], P::TYPE);
    assert!(P::REQUIRED.iter().all(|field| before.get(*field).is_some()));
    message
}

macro_rules! golden {
    ($type:ty, $name:literal) => {
        round_trip::<$type>(
            include_str!(concat!("../golden/", $name, ".json")),
            include_str!(concat!("../golden/", $name, ".wire")),
        )
    };
}

#[test]
fn proposal() {
    let m = golden!(ProposalForConsensus, "proposal_for_consensus");
    assert_eq!(m.proposal_id.to_string(), "123e4567-e89b-12d3-a456-426614174000");
    assert_eq!((m.impact_score, m.risk_score), (8.0, 1.0));
    assert_eq!((m.safety_profile.success_rate, m.safety_profile.cost_factor), (Some(0.95), Some(2.0)));
    assert_eq!(m.timestamp, noon());
}

#[test]
fn result() {
    let m = golden!(ConsensusResult, "consensus_result");
    assert_eq!(m.status, Verdict::Approved);
    assert_eq!(m.votes.len(), 3);
    assert!(m.votes.values().all(|b| b.vote() == Vote::Approve));
}

#[test]
fn metrics() {
    let m = golden!(ExecutionMetrics, "execution_metrics");
    assert_eq!((m.metrics_before.memory, m.metrics_after.latency_p95_ms), (Some(512.0), Some(850.0)));
}

#[test]
fn pattern() {
    let m = golden!(PatternDiscovered, "pattern_discovered");
    assert_eq!((m.name(), m.description()), ("extract function", "split a long body"));
}

#[test]
fn rollback() {
    let m = golden!(RollbackTrigger, "rollback_trigger");
    assert_eq!(m.threshold.clone().normalised(), m.threshold);
}

#[test]
fn profile_update() {
    let m = golden!(SafetyProfileUpdate, "safety_profile_update");
    assert!(m.is_broadcast());
    assert_eq!(m.safety_profile.latency_threshold, Some(3000.0));
}

/// The seed's own examples lack version, message id and a filled profile.
#[test]
fn the_seeds_examples_decode() {
    let proposal = json!({
        "type": "proposal_for_consensus", "proposal_id": "123e4567-e89b-12d3-a456-426614174000",
        "instance_id": "singularity_1", "agent_type": "BugFixerAgent", "code_change": {}, "impact_score": 8.0,
        "risk_score": 1.0, "safety_profile": {}, "timestamp": "2025-10-31T12:00:00Z"
    });
    let m: ProposalForConsensus = decode(proposal.to_string().as_bytes()).unwrap();
    assert_eq!((m.envelope.version, m.envelope.message_id), (1, None));
    assert!(m.safety_profile.is_empty());
    let result = json!({
        "type": "consensus_result", "proposal_id": "123e4567-e89b-12d3-a456-426614174000",
        "instance_id": "singularity_1", "status": "approved", "votes": {}, "confidence": 0.95,
        "timestamp": "2025-10-31T12:00:05Z"
    });
    decode::<ConsensusResult>(result.to_string().as_bytes()).unwrap();
}

#[test]
fn defaults_fill_what_may_be_absent() {
    let m: ProposalForConsensus = decode(
        json!({
            "type": "proposal_for_consensus", "proposal_id": Uuid::nil(), "instance_id": "s1", "agent_type": "A",
            "code_change": {"type": "bug_fix"}, "timestamp": "2025-10-31T13:00:00.5+01:00", "unknown": [1]
        })
        .to_string()
        .as_bytes(),
    )
    .unwrap();
    assert_eq!((m.impact_score, m.risk_score), (5.0, 5.0));
    assert!(String::from_utf8(encode(&m).unwrap()).unwrap().contains("\"timestamp\":\"2025-10-31T12:00:00.5Z\""));
    let m: ConsensusResult = decode(
        json!({
            "type": "consensus_result", "proposal_id": Uuid::nil(), "instance_id": "s1", "status": "rejected",
            "timestamp": "2025-10-31T12:00:05Z"
        })
        .to_string()
        .as_bytes(),
    )
    .unwrap();
    assert_eq!((m.confidence, m.votes.len(), m.decision_rationale), (0.0, 0, None));
}

#[test]
fn memory_has_two_names() {
    let body = include_str!("../golden/execution_metrics.json").replace("\"memory\"", "\"memory_usage\"");
    let m: ExecutionMetrics = decode(body.as_bytes()).unwrap();
    assert_eq!((m.metrics_before.memory, m.metrics_after.memory), (Some(512.0), Some(513.5)));
}

#[test]
fn votes_may_carry_their_grounds() {
    let body = include_str!("../golden/consensus_result.json").replace(
        "\"singularity_3\":\"approve\"",
        "\"singularity_3\":{\"vote\":\"reject\",\"confidence\":0.6,\"reason\":\"too risky today\"}",
    );
    let m: ConsensusResult = decode(body.as_bytes()).unwrap();
    assert_eq!(m.votes["singularity_3"].vote(), Vote::Reject);
    assert_eq!(decode::<ConsensusResult>(&encode(&m).unwrap()).unwrap(), m);
}

/// Both older shapes of a trigger's threshold say the same as the one in use.
#[test]
fn older_threshold_shapes_are_read() {
    for shape in [json!({"error_rate": 0.10, "actual": 0.15}), json!({"error_rate": 0.15, "threshold": 0.10})] {
        let mut value: Value = serde_json::from_str(include_str!("../golden/rollback_trigger.json")).unwrap();
        value["threshold"] = shape;
        let m: RollbackTrigger = decode(value.to_string().as_bytes()).unwrap();
        let limit = m.threshold.normalised();
        assert_eq!(limit.metric.as_deref(), Some("error_rate"));
        assert_eq!((limit.actual, limit.threshold), (Some(0.15), Some(0.10)));
        assert!(limit.other.is_empty());
    }
}

#[test]
fn extensions_round_trip() {
    let proposal: ProposalForConsensus = decode(include_bytes!("../golden/proposal_for_consensus.json")).unwrap();
    let request = VotingRequest::about(&proposal, noon(), noon() + Duration::seconds(30));
    assert_eq!(decode::<VotingRequest>(&encode(&request).unwrap()).unwrap(), request);
    let vote = ConsensusVote {
        envelope: Envelope::new(),
        proposal_id: proposal.proposal_id,
        instance_id: "singularity_2".into(),
        vote: Vote::Approve,
        confidence: None,
        reason: "expected success 0.95".into(),
        timestamp: noon(),
    };
    assert_eq!(decode::<ConsensusVote>(&encode(&vote).unwrap()).unwrap(), vote);
    let order = ExecuteProposal {
        envelope: Envelope::new(),
        proposal_id: proposal.proposal_id,
        instance_id: "singularity_1".into(),
        died: Some("process_died".into()),
        timestamp: noon(),
    };
    assert_eq!(decode::<ExecuteProposal>(&encode(&order).unwrap()).unwrap(), order);
    let done = LearningLoopCompleted {
        envelope: Envelope::new(),
        patterns_processed: 3,
        rules_generated: 3,
        thresholds_updated: 1,
        timestamp: noon(),
    };
    assert_eq!(decode::<LearningLoopCompleted>(&encode(&done).unwrap()).unwrap(), done);
}

#[test]
fn queue_names_are_accepted_with_and_without_suffix() {
    assert_eq!(SEED_QUEUES.len(), 6);
    for queue in SEED_QUEUES {
        assert_eq!(full_name(queue), Some(queue));
        assert_eq!(full_name(queue.strip_suffix("_queue").unwrap()), Some(queue));
    }
    assert_eq!(full_name("proposals"), None);
    assert_eq!(full_name("_queue"), None);
}
