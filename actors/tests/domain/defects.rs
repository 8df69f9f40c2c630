//! Defects of the system this one descends from (domain §7), one named test each.

use pgflow_actors::consensus::{Clock, ConsensusSettings, Rule, Status, decide};
use pgflow_actors::intake::{Intake, route};
use pgflow_actors::messages::{
    ExecutionMetrics, PatternDiscovered, ProposalForConsensus, ROLLBACK_TRIGGERS, SEED_QUEUES, Verdict, decode,
};
use pgflow_actors::patterns::Pattern;
use pgflow_actors::proposal::{OnExecute, OnResult, State, on_execute, on_result, validate_execution};
use pgflow_actors::similarity::{ShingleCosine, Similarity};
use pgflow_actors::text::change_tokens;
use pgflow_actors::voting::{Refusal, admit};
use serde_json::{Value, json};
use time::Duration;

use crate::support::{ballot, ballots, noon, object, report};

fn proposal(profile: Value) -> ProposalForConsensus {
    let mut body: Value = serde_json::from_str(include_str!("../golden/proposal_for_consensus.json")).unwrap();
    body["safety_profile"] = profile;
    body["risk_score"] = json!(9.0);
    decode(body.to_string().as_bytes()).unwrap()
}

#[test]
fn two_of_three_is_two_thirds() {
    let clock = Clock { now: noon(), deadline: noon() + Duration::seconds(30) };
    let decision = decide(&ballots(&[0.95, 0.90, -0.80]), Rule::TwoThirds, clock, &ConsensusSettings::default());
    assert_eq!(decision.status, Status::Approved, "0.6667 is below 0.67, but is two thirds");
}

#[test]
fn force_consensus_is_seen_in_json() {
    let forced = proposal(json!({"force_consensus": true, "success_rate": 0.9}));
    assert_eq!(validate_execution(forced.risk_score, &forced.safety_profile, false), Ok(()));
    let way = route(0.99, 1.0, &[forced.safety_profile], &ConsensusSettings::default());
    assert!(matches!(way, Intake::Vote { .. }), "and is never approved by likeness");
}

#[test]
fn a_null_profile_is_an_empty_one() {
    assert!(proposal(Value::Null).safety_profile.is_empty());
}

#[test]
fn a_redelivered_approval_does_not_execute_twice() {
    assert_eq!(on_result(State::SentForConsensus, &Verdict::Approved), OnResult::Execute);
    for state in [State::ConsensusReached, State::Executing, State::Applied, State::RolledBack, State::Failed] {
        assert_eq!(on_result(state, &Verdict::Approved), OnResult::AlreadyProcessed, "{state}");
    }
    for state in [State::Applied, State::RolledBack, State::Failed] {
        assert_eq!(on_execute(state), OnExecute::AlreadyProcessed, "{state}");
    }
}

#[test]
fn votes_after_a_decision_are_refused() {
    let votes = ballots(&[0.95, 0.90, 0.85]);
    assert_eq!(
        admit(&votes, &ballot("late", pgflow_actors::messages::Vote::Approve, 0.9), true),
        Err(Refusal::AlreadyDecided)
    );
}

#[test]
fn usage_is_a_sum_not_a_count_of_rows() {
    let code = || json!({"description": "the same again"});
    let mut pattern = Pattern::first(&report("s0", 1.0, code()));
    (1..102).for_each(|n| pattern.merge(&report(&format!("s{}", n % 3), 1.0, code()), 1.0));
    assert_eq!((pattern.instances(), pattern.usage_count()), (3, 102));
    assert!(pattern.is_promotable(), "three rows, a hundred uses");
}

/// The score was the constant 0.85, below every threshold.
#[test]
fn a_pattern_can_reach_consensus() {
    let code = || json!({"description": "the same again"});
    let mut pattern = Pattern::first(&report("s0", 0.99, code()));
    pattern.merge(&report("s1", 0.99, code()), 1.0);
    pattern.merge(&report("s2", 0.99, code()), 1.0);
    assert!(pattern.consensus_score() > 0.95);
}

/// Similarity was the constant 0.85, between the thresholds: nothing was ever approved by likeness, or unfamiliar.
#[test]
fn similarity_is_measured() {
    let code = |body: &str| change_tokens(&object(json!({"fixed_code": format!("def rate(net): {body}")})));
    let known = code("return net * 19 / 100");
    assert!(ShingleCosine.between(&known, &code("return net * 19 / 100")) >= 0.90);
    assert!(ShingleCosine.between(&known, &code("import os; os.remove('/')")) < 0.75);
}

/// `report_metrics` was called with five arguments and defined with three; `record_pattern` took keywords, got a float.
#[test]
fn metrics_and_patterns_arrive_with_all_their_fields() {
    let m: ExecutionMetrics = decode(include_bytes!("../golden/execution_metrics.json")).unwrap();
    assert_eq!((m.status.as_deref(), m.agent_type.as_deref()), (Some("applied"), Some("BugFixerAgent")));
    let p: PatternDiscovered = decode(include_bytes!("../golden/pattern_discovered.json")).unwrap();
    assert_eq!((p.success_rate, p.agent_type.as_str()), (0.97, "RefactoringAgent"));
}

/// A long reject without a confidence was taken for 0.95, a veto.
#[test]
fn a_wordy_reject_is_no_veto() {
    let confidence = pgflow_actors::voting::confidence_of(None, &"because ".repeat(40));
    let votes = ballots(&[0.95, 0.95, 0.95, -confidence]);
    let clock = Clock { now: noon(), deadline: noon() + Duration::seconds(30) };
    assert_eq!(decide(&votes, Rule::TwoThirds, clock, &ConsensusSettings::default()).status, Status::Approved);
}

#[test]
fn rollbacks_have_a_queue_of_their_own() {
    assert!(SEED_QUEUES.contains(&ROLLBACK_TRIGGERS));
}
