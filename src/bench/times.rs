//! Times, kept as counts of their values: a long measurement takes no more memory than a short one.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::report::Amount;

/// The longest time that is told apart, in µs: an hour. What takes longer is counted as an hour.
const TIME_US_MAX: u64 = 3_600_000_000;
/// Digits of a time that are kept.
const DIGITS: u8 = 3;

/// Times in µs. One that is below zero says that the end was seen before the beginning: a handler may start before its publisher is
/// told of the commit.
#[derive(Clone, Debug)]
pub(super) struct Times {
    /// Zero and above.
    late: Histogram<u64>,
    /// Below zero, without the sign.
    early: Histogram<u64>,
}

impl Times {
    pub(super) fn new() -> Self {
        let empty = Histogram::new_with_bounds(1, TIME_US_MAX, DIGITS).expect("the bounds are in order");
        Self { late: empty.clone(), early: empty }
    }

    /// Counts the time from one instant to a later, or perhaps an earlier, one.
    pub(super) fn add(&mut self, from: Instant, to: Instant) {
        let us = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
        match to.checked_duration_since(from) {
            Some(late) => self.late.saturating_record(us(late)),
            None => self.early.saturating_record(us(from.saturating_duration_since(to))),
        }
    }

    /// Half of the times, and 99 of 100.
    pub(super) fn amount(&self) -> Amount {
        Amount::Time { p50_us: self.percentile(50), p99_us: self.percentile(99) }
    }

    /// The smallest time that so many in a hundred do not exceed, in µs, to its first three digits; 0 of none.
    fn percentile(&self, percent: u64) -> i64 {
        let (early, late) = (self.early.len(), self.late.len());
        let rank = ((early + late) * percent).div_ceil(100).max(1);
        // The earliest come first, and among them the largest.
        if rank <= early { -ranked(&self.early, early + 1 - rank) } else { ranked(&self.late, rank - early) }
    }
}

/// The value of this rank, from 1.
fn ranked(histogram: &Histogram<u64>, rank: u64) -> i64 {
    // Half a rank less: rounded up to whole ranks by the histogram, it is this one whatever a division leaves over.
    let quantile = (rank as f64 - 0.5) / histogram.len().max(1) as f64;
    i64::try_from(histogram.value_at_quantile(quantile)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(us: impl IntoIterator<Item = i64>) -> Times {
        let (mut times, zero) = (Times::new(), Instant::now() + Duration::from_secs(10));
        for us in us {
            let apart = Duration::from_micros(us.unsigned_abs());
            times.add(zero, if us < 0 { zero - apart } else { zero + apart });
        }
        times
    }

    /// Fear: a percentile that is off by one rank flatters the tail.
    #[test]
    fn percentiles_are_of_the_samples() {
        let hundred = times(1..=100);
        assert_eq!([50, 99, 100].map(|p| hundred.percentile(p)), [50, 99, 100]);
        assert_eq!((times([7]).percentile(99), times([]).percentile(50)), (7, 0));
        // 15 / 29 * 29 is above 15: the rank must not be lifted to the first of the ones.
        assert_eq!(times((1..=29).map(|n| i64::from(n > 15))).percentile(50), 0);
    }

    /// Fear: a start before its publish returned is cut to zero, or sorted behind the late ones.
    #[test]
    fn early_times_come_first() {
        let some = times([-30, -20, -10, 40]);
        assert_eq!([25, 50, 75, 99].map(|p| some.percentile(p)), [-30, -20, -10, 40]);
    }
}
