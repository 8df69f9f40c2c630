use pgflow_actors::agents::built_in;
use pgflow_actors::profile::{Level, Profile};
use pgflow_actors::thresholds::{ERROR_THRESHOLD_FLOOR, Thresholds};
use proptest::prelude::*;
use serde_json::{Value, json};
use time::Duration;

use crate::support::object;

fn parse(value: Value) -> Result<Profile, &'static str> {
    Profile::parse(&object(value)).map_err(|e| e.tag())
}

#[test]
fn documented_error_tags() {
    assert_eq!(parse(json!({"error_threshold": "low"})), Err("invalid_error_threshold"));
    assert_eq!(parse(json!({"error_threshold": 1.0})), Err("error_threshold_out_of_range"));
    assert_eq!(parse(json!({"error_threshold": -0.1})), Err("error_threshold_out_of_range"));
    assert_eq!(parse(json!({"needs_consensus": "yes"})), Err("invalid_needs_consensus"));
    assert_eq!(parse(json!({"max_blast_radius": "huge"})), Err("invalid_max_blast_radius"));
    assert_eq!(parse(json!({"max_blast_radius": 1})), Err("invalid_max_blast_radius"));
    assert_eq!(parse(json!({"reversibility": "perhaps"})), Err("invalid_profile"));
    assert_eq!(parse(json!({"test_coverage": 2})), Err("invalid_profile"));
    let required = |value| parse(value).unwrap().validate_for_agent().map_err(|e| e.tag());
    assert_eq!(required(json!({"needs_consensus": true, "max_blast_radius": "low"})), Err("invalid_error_threshold"));
    assert_eq!(required(json!({"error_threshold": 0.05, "max_blast_radius": "low"})), Err("invalid_needs_consensus"));
    assert_eq!(required(json!({"error_threshold": 0.05, "needs_consensus": true})), Err("invalid_max_blast_radius"));
    let whole = json!({"error_threshold": 0.05, "needs_consensus": true, "max_blast_radius": "low"});
    assert_eq!(required(whole), Ok(()));
}

#[test]
fn all_four_vocabularies_and_unknown_keys_survive() {
    let all = json!({
        "success_rate": 0.5, "cost_factor": 5.0, "force_consensus": false, "error_threshold": 0.05,
        "needs_consensus": true, "max_blast_radius": "medium", "auto_rollback": true, "max_error_count": 10,
        "observation_window_seconds": 300, "risk_level": "low", "blast_radius": "single_agent",
        "reversibility": "automatic", "test_coverage": 0.8, "similar_changes_success_rate": 0.9,
        "latency_threshold": 3000, "memory_threshold": 1024, "cost_threshold": 0.1, "colour": {"of": "money"}
    });
    let profile = parse(all.clone()).unwrap();
    assert_eq!(profile.other.len(), 1);
    assert_eq!(serde_json::to_value(&profile).unwrap(), all);
    assert!(parse(json!({})).unwrap().is_empty());
    assert!(!parse(json!({"colour": 1})).unwrap().is_empty());
}

#[test]
fn built_in_profiles() {
    let rows = [
        ("QualityEnforcer", 0.01, true, Level::Medium, true, 5, 180),
        ("RefactoringAgent", 0.01, true, Level::High, true, 3, 300),
        ("DocumentationPipeline", 0.05, false, Level::Low, false, 20, 600),
        ("MetricsFeeder", 0.15, false, Level::Low, false, 100, 1200),
        ("RuntimeBootstrapper", 0.005, true, Level::High, true, 2, 180),
    ];
    for (agent, error, consensus, radius, rollback, errors, window) in rows {
        let p = built_in(agent).unwrap();
        assert_eq!((p.error_threshold, p.needs_consensus), (Some(error), Some(consensus)), "{agent}");
        assert_eq!((p.max_blast_radius, p.auto_rollback), (Some(radius), Some(rollback)), "{agent}");
        assert_eq!((p.max_error_count, p.observation_window_seconds), (Some(errors), Some(window)), "{agent}");
        p.validate_for_agent().unwrap();
    }
    assert_eq!(built_in("BugFixerAgent"), None);
}

#[test]
fn bases() {
    let unlisted = Thresholds::base("BugFixerAgent");
    assert_eq!((unlisted.error_rate, unlisted.error_growth, unlisted.auto_rollback), (0.10, 10, true));
    assert_eq!(unlisted.window, Duration::seconds(300));
    let listed = Thresholds::base("MetricsFeeder");
    assert_eq!((listed.error_rate, listed.error_growth, listed.auto_rollback), (0.15, 100, false));
    assert_eq!(listed.success_rate, 0.90);
}

#[test]
fn a_proposer_can_tighten_but_not_loosen() {
    let generous = Profile {
        error_threshold: Some(0.9),
        latency_threshold: Some(1e9),
        cost_threshold: Some(100.0),
        memory_threshold: Some(1e9),
        max_error_count: Some(1_000_000),
        auto_rollback: Some(false),
        observation_window_seconds: Some(1),
        ..Profile::default()
    };
    assert_eq!(Thresholds::effective("X", &generous, None), Thresholds::default());
    let strict = Profile { error_threshold: Some(0.0001), auto_rollback: Some(true), ..Profile::default() };
    let limits = Thresholds::effective("MetricsFeeder", &strict, None);
    assert_eq!((limits.error_rate, limits.auto_rollback), (0.01, true), "floor 0.01");
    assert_eq!(Thresholds::effective("AgentSupervisor", &strict, None).error_rate, 0.005, "the base is no floor's");
    let learned = Profile { error_threshold: Some(0.02), cost_threshold: Some(0.05), ..Profile::default() };
    let limits = Thresholds::effective("X", &generous, Some(&learned));
    assert_eq!((limits.error_rate, limits.cost_cents), (0.02, 5.0));
    let nonsense = Profile { latency_threshold: Some(f64::NAN), cost_threshold: Some(-1.0), ..Profile::default() };
    assert_eq!(Thresholds::effective("X", &nonsense, None), Thresholds::default());
    let long = Profile { observation_window_seconds: Some(u64::MAX), ..Profile::default() };
    assert_eq!(Thresholds::effective("X", &long, None).window, Duration::days(1));
}

proptest! {
    #[test]
    fn tightening_only(
        agent in prop::sample::select(vec!["X", "QualityEnforcer", "MetricsFeeder", "AgentSupervisor"]),
        error in prop::option::of(prop::num::f64::ANY), latency in prop::option::of(prop::num::f64::ANY),
        cost in prop::option::of(prop::num::f64::ANY), memory in prop::option::of(prop::num::f64::ANY),
        errors in prop::option::of(any::<u64>()), rollback in prop::option::of(any::<bool>()),
        window in prop::option::of(any::<u64>()), learned: bool,
    ) {
        let profile = Profile {
            error_threshold: error,
            latency_threshold: latency,
            cost_threshold: cost,
            memory_threshold: memory,
            max_error_count: errors,
            auto_rollback: rollback,
            observation_window_seconds: window,
            ..Profile::default()
        };
        let base = Thresholds::base(agent);
        let none = Profile::default();
        let limits = if learned {
            Thresholds::effective(agent, &none, Some(&profile))
        } else {
            Thresholds::effective(agent, &profile, None)
        };
        prop_assert!(limits.error_rate <= base.error_rate);
        prop_assert!(limits.error_rate >= base.error_rate.min(ERROR_THRESHOLD_FLOOR));
        prop_assert!(limits.latency_p95_ms <= base.latency_p95_ms && limits.latency_p95_ms >= 0.0);
        prop_assert!(limits.cost_cents <= base.cost_cents && limits.cost_cents >= 0.0);
        prop_assert!(limits.memory_delta_mb <= base.memory_delta_mb && limits.memory_delta_mb >= 0.0);
        prop_assert!(limits.error_growth <= base.error_growth);
        prop_assert!(limits.auto_rollback || !base.auto_rollback);
        prop_assert!(limits.window >= base.window);
        prop_assert_eq!(limits.success_rate, base.success_rate);
    }
}
