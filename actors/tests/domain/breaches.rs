use std::collections::BTreeSet;

use pgflow_actors::breach::{Assessment, Counts, Metric, ReportStatus, Severity, assess};
use pgflow_actors::messages::{ExecutionMetrics, RollbackTrigger, decode};
use pgflow_actors::metrics::{Judged, Metrics, deltas, judged};
use pgflow_actors::profile::Profile;
use pgflow_actors::strategy::Strategy as Plan;
use pgflow_actors::thresholds::Thresholds;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::close;

fn once(judged: Judged) -> Assessment {
    assess(&judged, &Thresholds::default(), &Counts::new(), &BTreeSet::new())
}

/// The documented metrics must give exactly the documented trigger.
#[test]
fn the_documented_report_gives_the_documented_trigger() {
    let report: ExecutionMetrics = decode(include_bytes!("../golden/execution_metrics.json")).unwrap();
    let trigger: Value = serde_json::from_str(include_str!("../golden/rollback_trigger.json")).unwrap();
    let seen = judged(&report.metrics_before, &report.metrics_after);
    assert_eq!(seen.error_rate, Some(0.15));
    assert_eq!(seen.memory_delta_mb, Some(1.5));
    let limits = Thresholds::effective("BugFixerAgent", &Profile::default(), None);
    let result = assess(&seen, &limits, &Counts::new(), &BTreeSet::new());
    assert_eq!(result.status, ReportStatus::ThresholdBreachDetected);
    let (breach, count) = result.roll_back.unwrap();
    assert_eq!(count, 1);
    assert_eq!(breach.metric.reason(), trigger["reason"]);
    assert_eq!(serde_json::to_value(breach.limit()).unwrap(), trigger["threshold"]);
    assert_eq!(serde_json::to_value(breach).unwrap(), trigger["threshold"]);
    let documented: RollbackTrigger = serde_json::from_value(trigger).unwrap();
    assert_eq!(documented.threshold, breach.limit());
}

/// A derived success rate is never judged, or it would hide every error rate.
#[test]
fn a_derived_success_rate_is_not_judged() {
    let before = Metrics { error_count: Some(0), execution_count: Some(0), ..Metrics::default() };
    let after = Metrics { error_count: Some(5), execution_count: Some(10), ..Metrics::default() };
    let seen = judged(&before, &after);
    assert_eq!((seen.success_rate, seen.derived_success_rate), (None, Some(0.5)));
    assert_eq!(once(seen).roll_back.unwrap().0.metric, Metric::ErrorRate);
}

#[test]
fn the_bridge() {
    let counts = |errors, runs| Metrics { error_count: errors, execution_count: runs, ..Metrics::default() };
    let rate = |b: &Metrics, a: &Metrics| judged(b, a).error_rate;
    assert_eq!(rate(&counts(Some(9), Some(90)), &counts(Some(2), Some(95))), Some(0.0), "a reset counter");
    assert_eq!(rate(&counts(Some(0), Some(5)), &counts(Some(3), Some(5))), Some(1.0), "errors without executions");
    // The guide's own sample: two errors, then three, and no count of executions.
    let guide = judged(&counts(Some(2), None), &counts(Some(3), None));
    assert_eq!((guide.error_rate, guide.error_growth), (None, Some(1)));
    assert_eq!(once(guide).status, ReportStatus::Monitored);
    let reported = Metrics { error_rate: Some(0.02), ..counts(Some(100), Some(1)) };
    assert_eq!(rate(&counts(Some(0), Some(0)), &reported), Some(0.02), "reported wins over derived");
    let success_only = Metrics { success_rate: Some(0.95), ..Metrics::default() };
    assert!(close(rate(&Metrics::default(), &success_only).unwrap(), 0.05));
    let delta = deltas(&Metrics { cpu_usage: Some(45.2), ..counts(Some(2), None) }, &counts(Some(8), None), true);
    assert_eq!((delta.cpu_delta, delta.error_delta, delta.execution_success), (None, Some(6), true));
}

#[test]
fn ordered_checks_with_reason_and_severity() {
    let bad = Judged {
        success_rate: Some(0.5),
        error_rate: Some(0.5),
        latency_p95_ms: Some(9000.0),
        cost_cents: Some(50.0),
        memory_delta_mb: Some(2000.0),
        error_growth: Some(50),
        ..Judged::default()
    };
    let result = once(bad);
    let seen: Vec<_> = result.breaches.iter().map(|b| (b.metric.reason(), b.severity.tag())).collect();
    assert_eq!(
        seen,
        [
            ("success_rate_breach", "critical"),
            ("error_rate_breach", "critical"),
            ("latency_breach", "high"),
            ("cost_breach", "medium"),
            ("memory_breach", "high"),
            ("error_count_breach", "critical"),
        ]
    );
    assert_eq!(result.roll_back.unwrap().0.metric, Metric::SuccessRate);
    assert!(Severity::Critical > Severity::High && Severity::High > Severity::Medium);
}

#[test]
fn a_limit_itself_is_allowed() {
    let edge = Judged {
        success_rate: Some(0.90),
        error_rate: Some(0.10),
        latency_p95_ms: Some(3000.0),
        cost_cents: Some(10.0),
        memory_delta_mb: Some(1024.0),
        error_growth: Some(10),
        ..Judged::default()
    };
    assert_eq!(once(edge).status, ReportStatus::Monitored);
    assert_eq!(once(Judged::default()).status, ReportStatus::Monitored, "nothing reported, nothing judged");
}

/// Runs reports of latency and cost one after the other; `None` reports nothing.
fn rollbacks(reports: &[(Option<f64>, Option<f64>)]) -> Vec<Option<(&'static str, u32)>> {
    let mut counts = Counts::new();
    let step = |(latency, cost): &(Option<f64>, Option<f64>)| {
        let seen = Judged { latency_p95_ms: *latency, cost_cents: *cost, ..Judged::default() };
        let result = assess(&seen, &Thresholds::default(), &counts, &BTreeSet::new());
        counts = result.counts;
        result.roll_back.map(|(breach, count)| (breach.metric.reason(), count))
    };
    reports.iter().map(step).collect()
}

#[test]
fn two_in_a_row_for_latency_five_for_cost() {
    let (slow, fast) = ((Some(3001.0), None), (Some(10.0), None));
    assert_eq!(rollbacks(&[slow, slow]), [None, Some(("latency_breach", 2))]);
    assert_eq!(rollbacks(&[slow, fast, slow]), [None, None, None], "a clean report starts again");
    assert_eq!(rollbacks(&[slow, (None, None), slow])[2], Some(("latency_breach", 2)), "silence is not clean");
    let dear = (None, Some(10.1));
    assert_eq!(rollbacks(&[dear; 5]), [None, None, None, None, Some(("cost_breach", 5))]);
    let mixed = rollbacks(&[(Some(3001.0), Some(10.1)), (Some(10.0), Some(10.1)), (Some(3001.0), Some(10.1))]);
    assert_eq!(mixed, [None, None, None], "each metric counts for itself");
}

#[test]
fn without_auto_rollback_there_is_only_an_alert() {
    let limits = Thresholds { auto_rollback: false, ..Thresholds::default() };
    let seen = Judged { error_rate: Some(0.9), ..Judged::default() };
    let result = assess(&seen, &limits, &Counts::new(), &BTreeSet::new());
    assert!(result.roll_back.is_none() && result.alert);
    assert_eq!(result.status, ReportStatus::ThresholdBreachDetected);
    assert_eq!(result.counts[&Metric::ErrorRate], 1);
}

#[test]
fn counts_are_stored_by_their_documented_names() {
    let result = once(Judged { latency_p95_ms: Some(4000.0), ..Judged::default() });
    assert!(!result.alert, "the next one rolls back");
    assert_eq!(serde_json::to_value(&result.counts).unwrap(), json!({"latency_p95_ms": 1}));
    let back: Counts = serde_json::from_value(json!({"latency_p95_ms": 1})).unwrap();
    assert_eq!(back, result.counts);
}

#[test]
fn rollback_plans() {
    let table = [
        ("pattern_enhancement", 3, 15.0, false, 0.96, 42),
        ("model_optimization", 2, 5.0, false, 0.98, 28),
        ("cache_improvement", 2, 10.0, false, 0.92, 19),
        ("code_refactoring", 2, 30.0, true, 0.85, 12),
        ("bug_fix", 2, 20.0, true, 0.80, 0),
    ];
    for (kind, steps, seconds, manual, success, from) in table {
        let plan = Plan::for_change_type(kind);
        assert_eq!((plan.steps.len(), plan.manual_review, plan.learned_from), (steps, manual, from), "{kind}");
        assert_eq!((plan.estimated_duration_seconds, plan.success_rate), (seconds, success), "{kind}");
    }
    assert_eq!(Plan::for_change_type("refactoring").change_type, "code_refactoring");
    let first = &Plan::for_change_type("anything").steps[0];
    assert_eq!((first.action.as_str(), first.target.as_str()), ("revert_code", "all"));
}

#[test]
fn rollback_plans_learn() {
    let mut plan = Plan::for_change_type("cache_improvement");
    plan.learn(false, 30.0);
    assert_eq!(plan.learned_from, 20);
    assert!(close(plan.success_rate, 0.92 * 19.0 / 20.0));
    assert!(close(plan.estimated_duration_seconds, 11.0));
    let mut unknown = Plan::for_change_type("bug_fix");
    unknown.learn(true, 2.0);
    assert_eq!((unknown.success_rate, unknown.estimated_duration_seconds), (1.0, 2.0));
    unknown.learn(true, f64::NAN);
    assert_eq!((unknown.estimated_duration_seconds, unknown.learned_from), (2.0, 2));
}

fn some_judged() -> impl Strategy<Value = Judged> {
    let o = |range| prop::option::of(range);
    (o(0.0..1.0_f64), o(0.0..1.0_f64), o(0.0..9000.0_f64), o(0.0..50.0_f64), o(-500.0..3000.0_f64)).prop_map(
        |(success_rate, error_rate, latency_p95_ms, cost_cents, memory_delta_mb)| Judged {
            success_rate,
            error_rate,
            latency_p95_ms,
            cost_cents,
            memory_delta_mb,
            ..Judged::default()
        },
    )
}

proptest! {
    #[test]
    fn a_tighter_limit_never_sees_less(
        seen in some_judged(), error in 0.0..1.0_f64, latency in 0.0..9000.0_f64, cost in 0.0..1.0_f64,
        memory in 0.0..4000.0_f64,
    ) {
        let profile = Profile {
            error_threshold: Some(error),
            latency_threshold: Some(latency),
            cost_threshold: Some(cost),
            memory_threshold: Some(memory),
            ..Profile::default()
        };
        let base = Thresholds::default();
        let loose = assess(&seen, &base, &Counts::new(), &BTreeSet::new());
        let tight = assess(&seen, &base.tightened(&profile), &Counts::new(), &BTreeSet::new());
        for breach in &loose.breaches {
            prop_assert!(tight.breaches.iter().any(|b| b.metric == breach.metric));
        }
        prop_assert!(loose.roll_back.is_none() || tight.roll_back.is_some());
    }

    #[test]
    fn status_and_alert_agree_with_the_breaches(seen in some_judged()) {
        let result = once(seen);
        prop_assert_eq!(result.breaches.is_empty(), result.status == ReportStatus::Monitored);
        prop_assert_eq!(result.counts.len(), result.breaches.len());
        let dear = result.breaches.iter().any(|breach| breach.metric == Metric::Cost);
        prop_assert_eq!(result.alert, dear && result.roll_back.is_none());
    }
}
