//! Measurements that anybody can repeat, each figure beside its raw floor from the same run.
//!
//! A floor is the least that the same server needs for the same guarantee in plain SQL, without actors, fences or retries.
//! Ours and the floor take turns, so that a neighbour's load meets both. Everything happens in a schema of its own,
//! dropped in the end.

mod arena;
mod latency;
mod publish;
mod throughput;

use serde::Serialize;

pub use latency::latency;
pub use publish::publish;
pub use throughput::throughput;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Which measurement.
    pub bench: &'static str,
    /// The server's version.
    pub server: String,
    /// `synchronous_commit` and `fsync`, without which a figure says nothing.
    pub durable: bool,
    /// `release` or `debug`: a debug build says little.
    pub build: &'static str,
    /// How much of what was done.
    pub setting: String,
    /// What the floor is.
    pub floor: &'static str,
    /// The figures.
    pub figures: Vec<Figure>,
}

/// One figure and its floor, in the same unit.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Figure {
    /// What it is.
    pub name: &'static str,
    /// Its unit: `ms` or `msg/s`.
    pub unit: &'static str,
    /// Ours.
    pub value: f64,
    /// The same of plain SQL.
    pub floor: f64,
    /// Ours divided by the floor: a latency wants to be near 1 from above, a rate from below.
    pub ratio: f64,
}

impl Figure {
    fn new(name: &'static str, unit: &'static str, value: f64, floor: f64) -> Self {
        let rounded = |x: f64| (x * 1_000.0).round() / 1_000.0;
        Self { name, unit, value: rounded(value), floor: rounded(floor), ratio: rounded(value / floor) }
    }
}

/// The value below which this share of the sorted samples lies.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    percentile(&samples, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A percentile that is off by one rank flatters the tail.
    #[test]
    fn percentiles_are_of_the_samples() {
        let samples: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&samples, 0.5), 50.0);
        assert_eq!(percentile(&samples, 0.99), 99.0);
        assert_eq!(percentile(&samples, 1.0), 100.0);
        assert_eq!(percentile(&[7.0], 0.99), 7.0);
        assert!(percentile(&[], 0.5).is_nan());
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    }
}
