use pgflow_actors::agents::default_cost;
use pgflow_actors::score::{Scoring, agent_success, priority};
use proptest::prelude::*;
use time::Duration;

use crate::support::{close, hours};

fn scoring(impact: f64, success_rate: f64, cost: f64, risk: f64) -> Scoring {
    Scoring { impact, success_rate, cost, risk }
}

#[test]
fn worked_examples() {
    let first = scoring(8.0, 0.95, 2.0, 1.0);
    assert!(close(priority(first, Duration::ZERO), 3.8));
    let after_two_hours = priority(first, hours(2));
    assert!((after_two_hours / 3.8 - 1.008).abs() < 0.001);
    assert_eq!(format!("{after_two_hours:.2}"), "3.83");
    assert!(close(priority(scoring(5.0, 0.60, 8.0, 5.0), Duration::ZERO), 0.075));
    let third = scoring(6.0, 0.75, 3.0, 4.0);
    assert!(close(priority(third, Duration::ZERO), 0.375));
    assert_eq!(format!("{:.3}", priority(third, hours(4))), "0.381");
}

#[test]
fn defaults() {
    assert!(close(priority(Scoring::default(), Duration::ZERO), 0.1));
    assert!(close(priority(scoring(5.0, 0.5, 5.0, 0.0), Duration::ZERO), 25.0), "the divisor is at least 0.1");
    let costs = [
        ("BugFixerAgent", 3.0),
        ("BugFixer", 3.0),
        ("RefactoringAgent", 2.0),
        ("Optimization", 8.0),
        ("DocumentationGenerator", 1.0),
        ("QualityCodeGenerator", 5.0),
        ("FeatureSynthesizer", 7.0),
        ("Agent", 5.0),
        ("Other", 5.0),
    ];
    for (agent, cost) in costs {
        assert_eq!(default_cost(agent), cost, "{agent}");
    }
}

#[test]
fn success_looks_back_a_hundred() {
    assert_eq!(agent_success([]), 0.5);
    assert_eq!(agent_success([true, true, true, false]), 0.75);
    let newest = std::iter::repeat_n(true, 100).chain(std::iter::repeat_n(false, 100));
    assert_eq!(agent_success(newest), 1.0);
}

proptest! {
    #[test]
    fn never_negative_and_never_falls_with_waiting(
        impact in 0.0..=10.0_f64, success in 0.0..=1.0_f64, cost in 1.0..=10.0_f64, risk in 0.0..=10.0_f64,
        early in -100..10_000_i64, more in 0..10_000_i64,
    ) {
        let s = scoring(impact, success, cost, risk);
        let (a, b) = (priority(s, hours(early)), priority(s, hours(early + more)));
        prop_assert!(a >= 0.0 && a.is_finite());
        prop_assert!(b >= a);
    }

    #[test]
    fn more_impact_and_less_risk_never_score_lower(
        impact in 0.0..=9.0_f64, gain in 0.0..=1.0_f64, success in 0.0..=1.0_f64, cost in 1.0..=10.0_f64,
        risk in 0.0..=9.0_f64,
    ) {
        let base = priority(scoring(impact, success, cost, risk), Duration::ZERO);
        prop_assert!(priority(scoring(impact + gain, success, cost, risk), Duration::ZERO) >= base);
        prop_assert!(priority(scoring(impact, success, cost, risk + gain), Duration::ZERO) <= base);
    }

    #[test]
    fn nonsense_scores_zero(impact in prop::num::f64::ANY, risk in prop::num::f64::ANY) {
        let score = priority(scoring(impact, 0.5, 5.0, risk), Duration::ZERO);
        prop_assert!(score >= 0.0 && !score.is_nan());
    }
}
