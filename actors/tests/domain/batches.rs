//! The side stream of measurements: per agent, per metric.

use pgflow_actors::batch::{Reading, VALUES_MAX, summarise};
use pgflow_actors::learning::next_midnight;
use proptest::prelude::*;
use time::Duration;
use time::macros::datetime;

use crate::support::noon;

fn reading(agent: &str, metric: &str, value: f64) -> Reading {
    Reading { agent_type: agent.to_owned(), metric: metric.to_owned(), value, at: noon() }
}

/// Fear: agents or metrics run together, or the mean has more decimals than documented.
#[test]
fn figures_are_per_agent_and_metric() {
    let seen = summarise(&[
        reading("A", "cpu_usage", 1.0),
        reading("A", "cpu_usage", 2.0),
        reading("A", "cpu_usage", 2.0),
        reading("A", "memory", 7.0),
        reading("B", "cpu_usage", 9.0),
        reading("B", "cpu_usage", f64::NAN),
    ]);
    let cpu = &seen["A"]["cpu_usage"];
    assert_eq!((cpu.count, cpu.avg, cpu.min, cpu.max), (3, 1.667, 1.0, 2.0));
    assert_eq!(cpu.values, [1.0, 2.0, 2.0]);
    assert_eq!((seen["A"]["memory"].count, seen["B"]["cpu_usage"].count), (1, 1));
    assert!(summarise(&[]).is_empty());
}

/// Fear: the daily loop runs at once after midnight again and again, or on the local day.
#[test]
fn the_next_midnight_is_utc_and_never_now() {
    assert_eq!(next_midnight(datetime!(2025-10-31 23:59:59.9 UTC)), datetime!(2025-11-01 0:00 UTC));
    assert_eq!(next_midnight(datetime!(2025-11-01 0:00 UTC)), datetime!(2025-11-02 0:00 UTC));
    assert_eq!(next_midnight(datetime!(2025-11-01 1:00 +2)), datetime!(2025-11-01 0:00 UTC));
    assert_eq!(next_midnight(noon()) - noon(), Duration::hours(12));
}

proptest! {
    /// Fear: a long minute keeps the first values, or more than the documented hundred.
    #[test]
    fn the_newest_hundred_are_kept(values in proptest::collection::vec(-1e6_f64..1e6, 1..300)) {
        let readings: Vec<Reading> = values.iter().map(|v| reading("A", "m", *v)).collect();
        let summary = &summarise(&readings)["A"]["m"];
        prop_assert_eq!(summary.count as usize, values.len());
        prop_assert_eq!(&summary.values[..], &values[values.len().saturating_sub(VALUES_MAX)..]);
        prop_assert!(summary.min <= summary.avg + 0.001 && summary.avg <= summary.max + 0.001);
        prop_assert!(values.iter().all(|v| (summary.min..=summary.max).contains(v)));
    }
}
