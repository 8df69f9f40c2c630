//! What is refused, and under which documented tag; the same at publish and at receipt.

use pgflow_actors::invalid::InvalidKind;
use pgflow_actors::messages::{
    ConsensusResult, ConsensusVote, ExecutionMetrics, PatternDiscovered, Payload, ProposalForConsensus,
    RollbackTrigger, SafetyProfileUpdate, Verdict, decode, encode,
};
use serde_json::{Value, json};

fn golden(kind: &str) -> Value {
    let text = match kind {
        "proposal" => include_str!("../golden/proposal_for_consensus.json"),
        "result" => include_str!("../golden/consensus_result.json"),
        "metrics" => include_str!("../golden/execution_metrics.json"),
        "pattern" => include_str!("../golden/pattern_discovered.json"),
        "rollback" => include_str!("../golden/rollback_trigger.json"),
        _ => include_str!("../golden/safety_profile_update.json"),
    };
    serde_json::from_str(text).unwrap()
}

/// The tag given when `pointer`'s value is replaced; `null` stands for absent.
fn tag<P: Payload>(kind: &str, pointer: &str, value: Value) -> &'static str {
    let mut body = golden(kind);
    match body.pointer_mut(pointer) {
        Some(place) => *place = value,
        None => {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            body.pointer_mut(parent).unwrap()[key] = value;
        }
    }
    decode::<P>(body.to_string().as_bytes()).err().map_or("accepted", |e| e.tag())
}

#[test]
fn whatever_is_no_message() {
    let tag = |body: &str| decode::<ProposalForConsensus>(body.as_bytes()).unwrap_err().tag();
    assert_eq!(tag("{"), "unreadable");
    assert_eq!(tag("[1]"), "unreadable");
    assert_eq!(tag("{}"), "missing_type");
    assert_eq!(tag(r#"{"type":"consensus_result"}"#), "unknown_type");
    assert_eq!(tag(r#"{"type":"proposal_for_consensus"}"#), "invalid_message");
    assert_eq!(tag(r#"{"type":"proposal_for_consensus","version":2}"#), "unsupported_version");
}

#[test]
fn proposals() {
    let tag = |pointer, value| tag::<ProposalForConsensus>("proposal", pointer, value);
    for field in ["/proposal_id", "/instance_id", "/code_change", "/agent_type", "/timestamp"] {
        assert_eq!(tag(field, Value::Null), "invalid_message", "{field}");
    }
    assert_eq!(tag("/instance_id", json!(" ")), "invalid_message");
    assert_eq!(tag("/proposal_id", json!("abc")), "invalid_format");
    assert_eq!(tag("/code_change", json!("text")), "invalid_format");
    assert_eq!(tag("/timestamp", json!("yesterday")), "invalid_format");
    assert_eq!(tag("/impact_score", json!("8")), "invalid_format");
    assert_eq!(tag("/version", json!("1")), "invalid_format");
    for (value, expected) in [(0.0, "accepted"), (10.0, "accepted"), (-0.1, "refused"), (10.1, "refused")] {
        let or = |tag| if expected == "accepted" { expected } else { tag };
        assert_eq!(tag("/impact_score", json!(value)), or("invalid_impact_score"));
        assert_eq!(tag("/risk_score", json!(value)), or("invalid_risk_score"));
    }
    assert_eq!(tag("/safety_profile/success_rate", json!(1.1)), "invalid_profile");
    assert_eq!(tag("/safety_profile/cost_factor", json!(0.5)), "invalid_profile");
    assert_eq!(tag("/safety_profile/error_threshold", json!(1.0)), "error_threshold_out_of_range");
    assert_eq!(tag("/safety_profile/force_consensus", json!("yes")), "invalid_format");
    assert_eq!(tag("/version", json!(7)), "unsupported_version");
}

#[test]
fn results() {
    let tag = |pointer, value| tag::<ConsensusResult>("result", pointer, value);
    assert_eq!(tag("/status", json!("maybe")), "unknown_status");
    assert_eq!(tag("/status", json!(1)), "invalid_format");
    assert_eq!(tag("/status", Value::Null), "invalid_message");
    assert_eq!(tag("/confidence", json!(1.01)), "invalid_confidence");
    assert_eq!(tag("/votes/singularity_1", json!("abstain")), "invalid_format");
    assert_eq!(tag("/proposal_id", Value::Null), "invalid_message");
}

#[test]
fn metrics() {
    let tag = |pointer, value| tag::<ExecutionMetrics>("metrics", pointer, value);
    assert_eq!(tag("/metrics_before", Value::Null), "invalid_message");
    assert_eq!(tag("/metrics_after", json!([])), "invalid_format");
    assert_eq!(tag("/metrics_after/success_rate", json!(1.5)), "invalid_metrics");
    assert_eq!(tag("/metrics_after/latency_p95_ms", json!(-1)), "invalid_metrics");
    assert_eq!(tag("/metrics_after/error_count", json!(-1)), "invalid_format");
    assert_eq!(tag("/metrics_after/cpu_usage", json!(250)), "accepted");
    assert_eq!(tag("/agent_type", Value::Null), "accepted");
}

#[test]
fn patterns() {
    let tag = |pointer, value| tag::<PatternDiscovered>("pattern", pointer, value);
    for word in ["refactoring", "bug_fix", "service_architecture", "x9"] {
        assert_eq!(tag("/pattern_type", json!(word)), "accepted");
    }
    let long = "a".repeat(64);
    for word in ["Refactoring", "", "9x", "a b", "ä", long.as_str()] {
        assert_eq!(tag("/pattern_type", json!(word)), "invalid_pattern_type", "{word}");
    }
    assert_eq!(tag("/success_rate", json!(1.2)), "invalid_success_rate");
    assert_eq!(tag("/code_pattern/description", Value::Null), "invalid_code_pattern");
    assert_eq!(tag("/agent_type", Value::Null), "invalid_message");
    let mut body = golden("pattern");
    body["code_pattern"] = json!({"description": "\n split a long body \nin two"});
    let m: PatternDiscovered = decode(body.to_string().as_bytes()).unwrap();
    assert_eq!(m.name(), "split a long body");
}

#[test]
fn rollbacks_and_profiles() {
    assert_eq!(tag::<RollbackTrigger>("rollback", "/reason", Value::Null), "invalid_message");
    assert_eq!(tag::<RollbackTrigger>("rollback", "/proposal_id", Value::Null), "invalid_message");
    assert_eq!(tag::<RollbackTrigger>("rollback", "/reason", json!("manual")), "accepted");
    let tag = |pointer, value| tag::<SafetyProfileUpdate>("profile", pointer, value);
    assert_eq!(tag("/agent_type", Value::Null), "invalid_message");
    assert_eq!(tag("/agent_type", json!("a".repeat(255))), "accepted");
    assert_eq!(tag("/agent_type", json!("a".repeat(256))), "invalid_message", "it is part of a key");
    assert_eq!(tag("/safety_profile/error_threshold", json!(1)), "error_threshold_out_of_range");
    assert_eq!(tag("/safety_profile/new_key", json!({"a": 1})), "accepted");
}

#[test]
fn votes() {
    let vote = |reason: &str, confidence: f64| {
        let body = json!({
            "type": "consensus_vote", "proposal_id": "123e4567-e89b-12d3-a456-426614174000", "instance_id": "s",
            "vote": "reject", "confidence": confidence, "reason": reason, "timestamp": "2025-10-31T12:00:00Z"
        });
        decode::<ConsensusVote>(body.to_string().as_bytes()).err().map(|e| e.kind)
    };
    assert_eq!(vote("0123456789", 0.5), None);
    assert_eq!(vote("012345678 ", 0.5), Some(InvalidKind::InvalidReason));
    assert_eq!(vote("0123456789", -0.5), Some(InvalidKind::InvalidConfidence));
}

/// Publishing checks what receiving checks.
#[test]
fn publishing_refuses_too() {
    let mut m: ConsensusResult = serde_json::from_value(golden("result")).unwrap();
    m.status = Verdict::Unknown("perhaps".into());
    assert_eq!(encode(&m).unwrap_err().kind, InvalidKind::UnknownStatus);
    let mut m: ProposalForConsensus = serde_json::from_value(golden("proposal")).unwrap();
    m.impact_score = f64::NAN;
    assert_eq!(encode(&m).unwrap_err().kind, InvalidKind::InvalidImpactScore);
    m.impact_score = 1.0;
    m.envelope.version = 9;
    assert_eq!(encode(&m).unwrap_err().kind, InvalidKind::UnsupportedVersion);
}

/// Plain serde, which the queue library may use, refuses another type as well.
#[test]
fn the_type_is_checked_by_serde_itself() {
    assert!(serde_json::from_value::<ConsensusResult>(golden("rollback")).is_err());
}
