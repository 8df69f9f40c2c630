//! Alerts about queues (domain §6.5): when they are raised, and when not any more.

use std::collections::BTreeMap;

use pgflow_actors::alerts::{Alert, Depth, Look, Urgency, judge};
use proptest::prelude::*;
use time::Duration;

use crate::support::noon;

/// Depths a minute apart, newest first, all with this age.
fn queue(pending: &[i64], oldest_s: f64) -> BTreeMap<String, Vec<Depth>> {
    let at = |n: usize| noon() - Duration::minutes(i64::try_from(n).unwrap());
    let looks =
        pending.iter().enumerate().map(|(n, pending)| Depth { at: at(n), pending: *pending, oldest_s }).collect();
    BTreeMap::from([("q".to_owned(), looks)])
}

fn tags(look: &Look) -> Vec<&'static str> {
    judge(look).iter().map(|f| f.alert.tag()).collect()
}

/// Fear: dead letters pile up in silence, or a handful of them wakes somebody at night.
#[test]
fn dead_letters() {
    let of = |dead| judge(&Look { dead, ..Look::default() }).into_iter().map(|f| (f.alert, f.urgency)).next();
    assert_eq!(of(10), None);
    assert_eq!(of(11), Some((Alert::DeadLetters, Urgency::Warn)));
    assert_eq!(of(100), Some((Alert::DeadLetters, Urgency::Warn)));
    assert_eq!(of(101), Some((Alert::DeadLetters, Urgency::Page)));
}

/// Fear: a queue that stands still is taken for an empty one, or a burst for a lag.
#[test]
fn latency_and_lag() {
    let of = |pending: &[i64], age| tags(&Look { queues: queue(pending, age), ..Look::default() });
    assert!(of(&[9], 5.0).is_empty());
    assert_eq!(of(&[9], 5.1), ["queue_latency"]);
    assert_eq!(of(&[9, 5, 2], 6.0), ["queue_latency"], "two growths are not three");
    assert_eq!(of(&[9, 5, 2, 1], 6.0), ["queue_latency", "consumer_lag"]);
    assert_eq!(of(&[9, 5, 5, 1], 6.0), ["queue_latency"]);
    assert!(of(&[9, 5, 2, 1], 4.0).is_empty(), "it grows, and nobody waits");
}

/// Fear: a new system's first megabytes are growth, or a full disk is none.
#[test]
fn size() {
    let mib = |n: i64| n << 20;
    let of = |bytes, before, max| {
        tags(&Look { bytes: mib(bytes), bytes_a_day_ago: before, bytes_max: max, ..Look::default() })
    };
    assert!(of(900, None, None).is_empty());
    assert!(of(90, Some(mib(1)), None).is_empty());
    assert_eq!(of(700, Some(mib(500)), None), ["database_size"]);
    assert!(of(590, Some(mib(500)), None).is_empty());
    assert_eq!(of(590, Some(mib(500)), Some(mib(580))), ["database_size"]);
}

proptest! {
    /// Fear: one cause raises the same alert twice, so that it can never be cleared.
    #[test]
    fn an_alert_is_found_once_a_subject(
        pending in proptest::collection::vec(0_i64..20, 0..6), age in 0.0..20.0_f64, dead in 0_i64..200, bytes in 0_i64..1 << 40,
    ) {
        let look = Look { queues: queue(&pending, age), dead, bytes, bytes_a_day_ago: Some(1), bytes_max: Some(1 << 39) };
        let mut found: Vec<_> = judge(&look).into_iter().map(|f| (f.alert, f.subject)).collect();
        let all = found.len();
        found.sort();
        found.dedup();
        prop_assert_eq!(found.len(), all);
    }
}
