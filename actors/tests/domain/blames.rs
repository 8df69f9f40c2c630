//! Whom a reading is held against where several changes share a workspace.

use std::collections::BTreeSet;

use pgflow_actors::blame::{Blame, Watched, blame};
use pgflow_actors::breach::{Counts, Metric, assess};
use pgflow_actors::metrics::{Judged, Metrics, rebased};
use pgflow_actors::thresholds::Thresholds;
use proptest::prelude::*;
use time::Duration;
use uuid::Uuid;

use crate::support::noon;

fn watched(number: u128, suspect: &[Metric]) -> Watched {
    let started_at = noon() + Duration::seconds(i64::try_from(number).unwrap());
    Watched { id: Uuid::from_u128(number), started_at, suspect: suspect.iter().copied().collect() }
}

fn against(blame: &Blame, metric: Metric) -> Option<u128> {
    blame.shadowed.get(&metric).map(|id| id.as_u128())
}

/// Fear: a change alone in its workspace escapes.
#[test]
fn a_change_alone_is_blamed() {
    let seen = blame([Metric::ErrorRate], &watched(1, &[]), &[]);
    assert_eq!((seen.own, seen.shadowed.len()), (BTreeSet::from([Metric::ErrorRate]), 0));
}

/// Fear: whoever is executed beside a bad change is rolled back for it.
#[test]
fn who_is_suspected_already_stays_the_one() {
    let seen = blame([Metric::ErrorRate], &watched(3, &[]), &[watched(1, &[]), watched(2, &[Metric::ErrorRate])]);
    assert_eq!((seen.own.len(), against(&seen, Metric::ErrorRate)), (0, Some(2)));
    let seen = blame([Metric::Latency, Metric::ErrorRate], &watched(3, &[]), &[watched(2, &[Metric::ErrorRate])]);
    assert_eq!(seen.own, BTreeSet::from([Metric::Latency]), "but only for what it did");
}

/// Fear: a defect that shows late rolls back the oldest change, which ran well before the newest came.
#[test]
fn without_a_suspect_it_is_the_newest() {
    let seen = blame([Metric::ErrorRate], &watched(1, &[]), &[watched(2, &[]), watched(3, &[])]);
    assert_eq!(against(&seen, Metric::ErrorRate), Some(3));
    let seen = blame([Metric::ErrorRate], &watched(3, &[]), &[watched(1, &[]), watched(2, &[])]);
    assert_eq!(seen.own.len(), 1);
}

/// Fear: a shadowed metric counts all the same, or wipes out what was counted.
#[test]
fn a_shadowed_metric_is_not_judged_and_not_forgotten() {
    let bad = Judged { error_rate: Some(0.5), latency_p95_ms: Some(9_000.0), ..Judged::default() };
    let counts = Counts::from([(Metric::Latency, 1)]);
    let seen = assess(&bad, &Thresholds::default(), &counts, &BTreeSet::from([Metric::ErrorRate, Metric::Latency]));
    assert!(seen.breaches.is_empty() && seen.roll_back.is_none() && !seen.alert);
    assert_eq!(seen.counts, counts);
}

fn reading(errors: u64, runs: u64) -> Metrics {
    Metrics { error_count: Some(errors), execution_count: Some(runs), ..Metrics::default() }
}

/// Fear: errors of a change that was taken back are held against its neighbours for ever after.
#[test]
fn what_a_neighbour_did_is_excused() {
    let (from, to) = (reading(2, 100), reading(14, 180));
    let older = rebased(&reading(1, 60), &from, &to);
    assert_eq!(older, reading(13, 140), "measured before it came: only its own time is cut out");
    let younger = rebased(&reading(8, 140), &from, &to);
    assert_eq!(younger, reading(14, 180), "measured since it was there: begins anew");
    assert_eq!(rebased(&reading(1, 60), &reading(2, 100), &reading(0, 5)), reading(1, 60), "the counters were reset");
    let gauges = Metrics { memory: Some(5.0), ..Metrics::default() };
    assert_eq!(rebased(&gauges, &from, &to), gauges, "what is no counter stays");
}

proptest! {
    /// Fear: a metric is blamed on nobody, on two, or on someone who is not there.
    #[test]
    fn every_metric_is_blamed_once(
        passed in proptest::sample::subsequence(Metric::ALL.to_vec(), 0..=6),
        suspects in proptest::collection::vec(proptest::sample::subsequence(Metric::ALL.to_vec(), 0..=6), 1..6),
        at in 0_usize..6,
    ) {
        let mut all: Vec<Watched> =
            suspects.iter().enumerate().map(|(n, s)| watched(n as u128 + 1, s)).collect();
        let mine = all.remove(at % all.len());
        let seen = blame(passed.iter().copied(), &mine, &all);
        for metric in &passed {
            prop_assert!(seen.own.contains(metric) != seen.shadowed.contains_key(metric));
        }
        prop_assert_eq!(seen.own.len() + seen.shadowed.len(), passed.len());
        prop_assert!(seen.shadowed.values().all(|id| all.iter().any(|w| w.id == *id)));
    }

    /// Fear: of several changes that show one defect, more than one is held to have done it, or none.
    #[test]
    fn one_defect_has_one_suspect(count in 1_usize..6, order in proptest::collection::vec(0_usize..6, 1..40)) {
        let mut all: Vec<Watched> = (0..count).map(|n| watched(n as u128 + 1, &[])).collect();
        let rounds = order.into_iter().map(|at| at % count).chain(0..count).collect::<Vec<_>>();
        for at in rounds {
            let others: Vec<Watched> = all.iter().filter(|w| w.id != all[at].id).cloned().collect();
            all[at].suspect = blame([Metric::ErrorRate], &all[at], &others).own;
        }
        prop_assert_eq!(all.iter().filter(|w| !w.suspect.is_empty()).count(), 1);
        prop_assert!(!all[count - 1].suspect.is_empty(), "the newest");
    }

    /// Fear: excusing takes away a change's own errors, or runs the counters backwards.
    #[test]
    fn a_baseline_never_goes_back_or_beyond(base in 0_u64..50, from in 0_u64..50, gained in 0_u64..50) {
        let to = base.max(from) + gained;
        let new = rebased(&reading(base, base), &reading(from, from), &reading(to, to));
        let errors = new.error_count.unwrap();
        prop_assert!(errors >= base && errors <= to);
    }
}
