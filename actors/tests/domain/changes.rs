use pgflow_actors::change::{ChangeError, ChangeType, Target, change_type, content, read_change, target, target_key};
use pgflow_actors::messages::Verdict;
use pgflow_actors::metrics::Metrics;
use pgflow_actors::profile::Profile;
use pgflow_actors::proposal::{
    ExecutionError, OnExecute, OnResult, State, on_execute, on_result, validate_execution, verify_execution,
};
use serde_json::{Value, json};

use crate::support::object;

#[test]
fn allowed_edges() {
    use State::*;
    let allowed = [
        (Pending, SentForConsensus),
        (SentForConsensus, ConsensusReached),
        (SentForConsensus, ConsensusFailed),
        (ConsensusReached, Executing),
        (Executing, Applied),
        (Executing, Failed),
        (Executing, RolledBack),
        (Applied, RolledBack),
        (Failed, RolledBack),
    ];
    for from in State::ALL {
        for to in State::ALL {
            assert_eq!(from.may_become(*to), allowed.contains(&(*from, *to)), "{from} -> {to}");
        }
    }
    assert_eq!(State::before(RolledBack), [Executing, Applied, Failed]);
    assert_eq!(State::before(Pending), []);
    for state in State::ALL {
        assert_eq!(State::from_tag(state.tag()), Some(*state));
    }
    assert_eq!(State::from_tag("done"), None);
}

#[test]
fn results_in_every_state() {
    for state in State::ALL.iter().copied() {
        let (yes, no) = (on_result(state, &Verdict::Approved), on_result(state, &Verdict::Rejected));
        match state {
            State::Pending => assert_eq!((yes, no), (OnResult::NotSent, OnResult::NotSent)),
            State::SentForConsensus => assert_eq!((yes, no), (OnResult::Execute, OnResult::Fail)),
            _ => assert_eq!((yes, no), (OnResult::AlreadyProcessed, OnResult::AlreadyProcessed)),
        }
    }
}

#[test]
fn orders_in_every_state() {
    for state in State::ALL.iter().copied() {
        let order = match state {
            State::ConsensusReached => OnExecute::Begin,
            State::Executing => OnExecute::BeginAgain,
            State::Applied | State::Failed | State::RolledBack => OnExecute::AlreadyProcessed,
            _ => OnExecute::NotApproved,
        };
        assert_eq!(on_execute(state), order, "{state}");
    }
}

#[test]
fn phase_one() {
    let filled = Profile { success_rate: Some(0.9), ..Profile::default() };
    let forced = Profile { force_consensus: Some(true), ..filled.clone() };
    assert_eq!(validate_execution(8.0, &filled, false), Ok(()));
    assert_eq!(validate_execution(8.1, &filled, false), Err(ExecutionError::HighRiskRequiresConsensus));
    assert_eq!(validate_execution(8.1, &forced, false), Ok(()));
    assert_eq!(validate_execution(8.1, &filled, true), Ok(()), "a vote is consensus");
    assert_eq!(validate_execution(1.0, &Profile::default(), true), Err(ExecutionError::MissingSafetyProfile));
}

#[test]
fn phase_five() {
    let read =
        |cpu: f64, errors: u64| Metrics { cpu_usage: Some(cpu), error_count: Some(errors), ..Metrics::default() };
    let verify = |cpu, errors| verify_execution(&read(10.0, 2), &read(cpu, errors));
    assert_eq!(verify(60.0, 12), Ok(()));
    assert_eq!(verify(60.1, 2), Err(ExecutionError::CpuSpike));
    assert_eq!(verify(10.0, 13), Err(ExecutionError::ErrorSpike));
    assert_eq!(verify(0.0, 0), Ok(()), "a reset counter");
    assert_eq!(verify_execution(&Metrics::default(), &read(99.0, 99)), Ok(()), "what was not read passes");
}

/// The documented run passes its own gates, so that it is applied before the Guardian catches it.
#[test]
fn the_documented_run_passes_its_gates() {
    let sample: Value = serde_json::from_str(include_str!("../golden/execution_metrics.json")).unwrap();
    let read = |key: &str| serde_json::from_value::<Metrics>(sample[key].clone()).unwrap();
    assert_eq!(verify_execution(&read("metrics_before"), &read("metrics_after")), Ok(()));
}

#[test]
fn change_types() {
    let of = |metadata, kind: &str| change_type(metadata, &object(json!({ "type": kind })));
    for kind in ChangeType::ALL {
        assert_eq!(of(None, kind.tag()), *kind);
    }
    assert_eq!(of(Some("quality"), "bug_fix"), ChangeType::Quality, "metadata first");
    assert_eq!(of(None, "surgery"), ChangeType::Generic);
    assert_eq!(change_type(None, &object(json!({"type": 1}))), ChangeType::Generic);
}

#[test]
fn contents_in_order_of_preference() {
    let keys = ["content", "new_code", "fixed_code", "improved_code", "refactored_code", "code"];
    for first in 0..keys.len() {
        let change: Value = keys[first..].iter().map(|k| (k.to_string(), json!(k))).collect();
        assert_eq!(content(&object(change)).as_deref(), Some(keys[first]));
    }
    assert_eq!(content(&object(json!({"details": {"code": "x"}}))).as_deref(), Some("x"));
    assert_eq!(content(&object(json!({"content": " \n", "code": "x"}))).as_deref(), Some("x"), "blank is empty");
    assert_eq!(content(&object(json!({"content": ["x"]}))), None);
}

#[test]
fn what_cannot_be_executed() {
    let read = |value| read_change(None, &object(value)).map_err(|e| e.tag());
    assert_eq!(read(json!({"type": "bug_fix", "module": "a"})), Err("empty_content"));
    assert_eq!(read(json!({"type": "bug_fix", "code": "", "module": "a"})), Err("empty_content"));
    assert_eq!(read(json!({"type": "generic", "code": "x"})), Err("missing_target_module"));
    assert_eq!(read_change(None, &object(json!({}))), Err(ChangeError::EmptyContent));
    let change = read(json!({"type": "bug_fix", "target_module": "billing::tax", "fixed_code": "x"})).unwrap();
    assert_eq!((change.change_type, change.target), (ChangeType::BugFix, Target::Module("billing::tax".into())));
}

#[test]
fn targets() {
    let of = |value| target(&object(value));
    assert_eq!(of(json!({"file": "a.rs", "target_module": "b"})), Some(Target::File("a.rs".into())));
    assert_eq!(of(json!({"target_file": "a.rs"})), Some(Target::File("a.rs".into())));
    assert_eq!(of(json!({"target": "b"})), Some(Target::Module("b".into())));
    assert_eq!(of(json!({})), None);
    let key = |value| target_key(&object(value)).unwrap();
    assert_eq!(key(json!({"target_module": "billing::tax"})), "billing/tax");
    assert_eq!(key(json!({"file": "./billing/tax.rs"})), "billing/tax", "however it is written");
    assert_eq!(key(json!({"file": "a.b/.env"})), "a.b/.env");
}
