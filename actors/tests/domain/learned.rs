use pgflow_actors::learning::{LearningSettings, action_for, changed, learn, learned_profile, rule_confidence};
use pgflow_actors::patterns::Pattern;
use pgflow_actors::profile::Profile;
use proptest::prelude::*;
use serde_json::{Value, json};
use time::Duration;

use crate::support::{close, hours, noon, report};

fn pattern(instances: usize, success: f64) -> Pattern {
    let code = || json!({"name": "n", "description": format!("pattern of {instances} at {success}")});
    let mut pattern = Pattern::first(&report("s0", success, code()));
    (1..instances).for_each(|n| pattern.merge(&report(&format!("s{n}"), success, code()), 1.0));
    pattern
}

#[test]
fn worked_confidences() {
    assert!(close(rule_confidence(0.98, 5, 10), 0.49));
    assert!(close(rule_confidence(0.95, 3, 10), 0.285));
    assert!(close(rule_confidence(0.85, 3, 10), 0.255));
    assert!(close(rule_confidence(1.0, 3, 0), 1.0), "those who confirmed count even when gone");
}

#[test]
fn the_gate_is_success_not_confidence() {
    let known = [pattern(5, 0.98), pattern(3, 0.95), pattern(3, 0.85), pattern(2, 0.99)];
    let lesson = learn(&known, 10, noon(), &LearningSettings::default());
    let learned: Vec<String> = lesson.rules.iter().map(|r| format!("{:.3}", r.confidence)).collect();
    assert_eq!(learned, ["0.490", "0.285"]);
    assert_eq!(lesson.trusted, [known[0].fingerprint.clone(), known[1].fingerprint.clone()]);
    assert!(lesson.rules.iter().all(|r| r.is_applicable() && r.action == "auto_refactor"));
    assert_eq!(lesson.rules[1].source_instances, ["s0", "s1", "s2"]);
}

#[test]
fn only_what_was_updated_in_the_last_day() {
    let known = [pattern(3, 0.97)];
    let settings = LearningSettings::default();
    assert_eq!(learn(&known, 3, noon() + hours(24), &settings).rules.len(), 1);
    assert_eq!(learn(&known, 3, noon() + hours(24) + Duration::SECOND, &settings).rules.len(), 0);
}

#[test]
fn actions() {
    let table = [
        ("refactoring", "auto_refactor"),
        ("optimization", "optimize_code"),
        ("bug_fix", "apply_fix"),
        ("documentation", "auto_document"),
        ("framework", "apply_transformation"),
    ];
    table.into_iter().for_each(|(kind, action)| assert_eq!(action_for(kind), action));
}

/// Without tightening, the documented profile; with it, twice the failures seen.
#[test]
fn learned_thresholds() {
    let documented =
        json!({"success_rate": 0.99, "error_threshold": 0.1, "latency_threshold": 3000, "cost_threshold": 0.1});
    assert_eq!(serde_json::to_value(learned_profile(0.99, false)).unwrap(), documented);
    assert_eq!(learned_profile(0.99, true).error_threshold, Some(0.02));
    assert_eq!(learned_profile(1.0, true).error_threshold, Some(0.01), "floor");
    assert_eq!(learned_profile(0.5, true).error_threshold, Some(0.10), "never looser than the default");
}

#[test]
fn profiles_per_agent_type() {
    let mut shared = pattern(3, 0.96);
    let mut by_other = report("s1", 0.96, json!({"description": "x"}));
    by_other.agent_type = "BugFixerAgent".into();
    shared.merge(&by_other, 1.0);
    let known = [pattern(3, 0.98), shared];
    let lesson = learn(&known, 3, noon(), &LearningSettings { tighten: true, ..LearningSettings::default() });
    assert_eq!(lesson.profiles.keys().collect::<Vec<_>>(), ["RefactoringAgent"], "one instance is not three");
    let profile = &lesson.profiles["RefactoringAgent"];
    assert_eq!((profile.success_rate, profile.error_threshold), (Some(0.97), Some(0.06)));
    assert_eq!(profile.other["instance_count"], 3);
    assert_eq!(profile.other["source"], "genesis_learning_loop");
    assert_eq!(profile.other["updated_at"], Value::from("2025-10-31T12:00:00Z"));
}

#[test]
fn sent_only_when_changed() {
    let profile = learned_profile(0.99, true);
    assert!(changed(None, &profile));
    assert!(!changed(Some(&profile), &profile));
    let later = Profile { other: [("updated_at".into(), json!("2026"))].into_iter().collect(), ..profile.clone() };
    assert!(!changed(Some(&profile), &later));
    assert!(!changed(Some(&profile), &learned_profile(0.9895, false).merged(&profile)));
    assert!(!changed(Some(&profile), &Profile { success_rate: Some(0.991), ..profile.clone() }), "0.001 is not above");
    assert!(changed(Some(&profile), &Profile { success_rate: Some(0.992), ..profile.clone() }));
    assert!(changed(Some(&profile), &Profile { cost_threshold: None, ..profile.clone() }));
}

proptest! {
    #[test]
    fn learning_is_bounded_and_repeatable(
        patterns in prop::collection::vec((1..6_usize, 0.8..=1.0_f64), 0..8), live in 0..12_usize, tighten: bool,
    ) {
        let known: Vec<Pattern> = patterns.iter().map(|&(n, s)| pattern(n, s)).collect();
        let settings = LearningSettings { tighten, ..LearningSettings::default() };
        let lesson = learn(&known, live, noon(), &settings);
        prop_assert_eq!(&lesson, &learn(&known, live, noon(), &settings));
        prop_assert_eq!(lesson.rules.len(), lesson.trusted.len());
        for rule in &lesson.rules {
            prop_assert!((0.0..=1.0).contains(&rule.confidence));
            prop_assert!(rule.is_applicable() && rule.source_instances.len() >= 3);
        }
        for profile in lesson.profiles.values() {
            prop_assert!((0.01..=0.10).contains(&profile.error_threshold.unwrap()));
            prop_assert!(profile.validate().is_ok());
        }
    }
}
