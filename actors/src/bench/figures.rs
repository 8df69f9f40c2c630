//! The documented targets (domain §5.4), and what was measured of each.

use std::time::Duration;

use serde::Serialize;

use crate::demo::figures::percentile;

/// Times of one kind, over all rounds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Spread {
    /// Their mean.
    pub(crate) mean_ms: f64,
    /// Half were as fast as this.
    pub(crate) p50_ms: f64,
    /// 99 in 100 were as fast as this.
    pub(crate) p99_ms: f64,
    /// All were as fast as this.
    pub(crate) max_ms: f64,
}

impl Spread {
    /// Of these; zeros of none.
    pub(crate) fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        let at = |percent| ms(percentile(&samples, percent).unwrap_or_default());
        let count = u32::try_from(samples.len()).unwrap_or(u32::MAX);
        let mean = samples.iter().sum::<Duration>().as_secs_f64() / f64::from(count.max(1));
        Self { mean_ms: ms(Duration::from_secs_f64(mean)), p50_ms: at(50), p99_ms: at(99), max_ms: at(100) }
    }
}

/// Milliseconds, to the microsecond; of less than one, as they are.
fn ms(time: Duration) -> f64 {
    let ms = time.as_secs_f64() * 1_000.0;
    if ms < 0.001 { ms } else { (ms * 1_000.0).round() / 1_000.0 }
}

/// A documented limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// Its key in JSON, and its name.
    pub(crate) name: &'static str,
    /// The limit, for the mean.
    pub(crate) ms: f64,
    /// From when to when.
    pub(crate) what: &'static str,
}

/// A call of the library, to its return.
pub(crate) const SUBMIT: Target = Target {
    name: "submit",
    ms: 100.0,
    what: "a submitter's call, the wait for one of its connections included, to its return: committed",
};
/// One score.
pub(crate) const SCORING: Target = Target { name: "scoring", ms: 50.0, what: "one score computed" };
/// From an instance to all.
pub(crate) const CONSENSUS_BROADCAST: Target = Target {
    name: "consensus_broadcast",
    ms: 500.0,
    what: "a proposal published to central, all waiting included, to the voting requests to all instances published",
};
/// What an instance notes of a run.
pub(crate) const EXECUTION: Target =
    Target { name: "execution", ms: 5_000.0, what: "execution_time_ms: check, write, check again" };
/// From an instance to its judge.
pub(crate) const GUARDIAN: Target = Target {
    name: "guardian",
    ms: 100.0,
    what: "an execution's metrics published, all waiting included, to Guardian's verdict, written but for its commit",
};

/// A target, and what was measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    /// The limit, for the mean.
    pub(crate) target_ms: f64,
    /// The measurement.
    #[serde(flatten)]
    pub(crate) spread: Spread,
    /// Is the mean below the limit?
    pub(crate) met: bool,
}

impl Measured {
    /// Compares.
    pub(crate) fn of(target: Target, samples: Vec<Duration>) -> Self {
        let spread = Spread::of(samples);
        Self { target_ms: target.ms, spread, met: spread.mean_ms < target.ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_its_samples() {
        let spread = Spread::of((1..=100).map(Duration::from_millis).collect());
        assert_eq!((spread.p50_ms, spread.p99_ms, spread.max_ms), (50.0, 99.0, 100.0));
        assert!((spread.mean_ms - 50.5).abs() < 1e-9);
        assert!(Spread::of(Vec::new()).mean_ms.abs() < 1e-9);
        assert!(Spread::of(vec![Duration::from_nanos(30)]).mean_ms > 0.0, "a score takes less than a microsecond");
    }

    /// Fear: a target that is missed by a hair is said to be met.
    #[test]
    fn the_mean_must_be_below_the_target() {
        let of = |ms| Measured::of(SCORING, vec![Duration::from_millis(ms)]).met;
        assert_eq!((of(49), of(50)), (true, false));
    }
}
