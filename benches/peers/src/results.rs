//! What was measured: every value of every round, and what it comes to.

use serde::Serialize;

use crate::peer::About;

/// A quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "measure", rename_all = "snake_case")]
pub(crate) enum Measure {
    /// Milliseconds.
    LatencyP50 { gap_ms: u64 },
    /// Milliseconds.
    LatencyP99 { gap_ms: u64 },
    /// Messages a second.
    Drain,
    /// Messages a second.
    Bulk,
    /// Messages a second.
    Enqueue { connections: u16 },
    /// Of a hundred messages enqueued, those that its worker handled in the same time.
    Meanwhile { connections: u16 },
    /// Of one message.
    WalBytes,
    /// For one message.
    Commits,
}

impl Measure {
    /// The head of its column.
    pub(crate) fn title(self) -> String {
        match self {
            Self::LatencyP50 { gap_ms } => format!("latency, gap {gap_ms} ms, p50, ms"),
            Self::LatencyP99 { gap_ms } => format!("latency, gap {gap_ms} ms, p99, ms"),
            Self::Drain => "drain, messages/s".to_owned(),
            Self::Bulk => "bulk enqueue, messages/s".to_owned(),
            Self::Enqueue { connections } => format!("enqueue, {connections} connections, messages/s"),
            Self::Meanwhile { connections } => format!("handled meanwhile, {connections} connections, %"),
            Self::WalBytes => "log, bytes/message".to_owned(),
            Self::Commits => "commits/message".to_owned(),
        }
    }

    /// Whether more is better; none where neither is.
    pub(crate) fn more_is_better(self) -> Option<bool> {
        match self {
            Self::LatencyP50 { .. } | Self::LatencyP99 { .. } | Self::WalBytes | Self::Commits => Some(false),
            Self::Drain | Self::Bulk | Self::Enqueue { .. } => Some(true),
            Self::Meanwhile { .. } => None,
        }
    }

    /// A value in words.
    pub(crate) fn words(self, value: f64) -> String {
        match self {
            Self::LatencyP50 { .. } | Self::LatencyP99 { .. } => format!("{value:.2}"),
            Self::Commits => format!("{value:.4}"),
            Self::Meanwhile { .. } => format!("{value:.0}"),
            Self::Drain | Self::Bulk | Self::Enqueue { .. } | Self::WalBytes => thousands(value),
        }
    }
}

/// A value of one round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Value {
    pub(crate) round: u16,
    pub(crate) system: &'static str,
    #[serde(flatten)]
    pub(crate) measure: Measure,
    pub(crate) value: f64,
}

/// What went otherwise than planned: a failed turn, or a remark on one.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Incident {
    pub(crate) round: u16,
    pub(crate) system: &'static str,
    pub(crate) what: String,
    pub(crate) failed: bool,
}

/// All of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Results {
    pub(crate) systems: Vec<About>,
    pub(crate) values: Vec<Value>,
    pub(crate) incidents: Vec<Incident>,
    /// Rounds that all systems went through.
    pub(crate) rounds: u16,
    /// Turns, and those of them that began while the machine was busy with other things.
    pub(crate) turns: usize,
    pub(crate) busy_turns: usize,
    /// Microseconds of a small commit before each turn.
    pub(crate) commit_us: Vec<i64>,
    pub(crate) seconds: f64,
}

/// The middle of a system's rounds, and their ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Results {
    /// The quantities that were measured, in their order.
    pub(crate) fn measures(&self) -> Vec<Measure> {
        let mut measures: Vec<Measure> = self.values.iter().map(|value| value.measure).collect();
        measures.sort_unstable();
        measures.dedup();
        measures
    }

    /// None where no round of it went well.
    pub(crate) fn figure(&self, system: &str, measure: Measure) -> Option<Figure> {
        let mut values: Vec<f64> =
            self.values.iter().filter(|v| v.system == system && v.measure == measure).map(|v| v.value).collect();
        values.sort_unstable_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        // Of an even number the mean of both in the middle: neither flatters.
        let half = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) };
        Some(Figure { median, least, most })
    }

    /// The best of these systems.
    pub(crate) fn best(&self, measure: Measure, among: impl Fn(&About) -> bool) -> Option<(&'static str, f64)> {
        let more = measure.more_is_better()?;
        let figures = self.systems.iter().filter(|about| among(about));
        let figures = figures.filter_map(|about| Some((about.name, self.figure(about.name, measure)?.median)));
        if more { figures.max_by(|a, b| a.1.total_cmp(&b.1)) } else { figures.min_by(|a, b| a.1.total_cmp(&b.1)) }
    }
}

/// The smallest sample that so many in a hundred do not exceed; 0 of none.
pub(crate) fn percentile(sorted: &[i64], percent: usize) -> i64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.max(0.0));
    let mut words = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            words.push(',');
        }
        words.push(digit);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(values: &[f64]) -> Results {
        let value = |value: &f64| Value { round: 1, system: "a", measure: Measure::Drain, value: *value };
        Results { values: values.iter().map(value).collect(), ..Results::default() }
    }

    /// Fear: one disturbed round moves the figure.
    #[test]
    fn a_figure_is_the_median() {
        let median = |values: &[f64]| results(values).figure("a", Measure::Drain).map(|figure| figure.median);
        assert_eq!(median(&[5.0, 1.0, 9.0]), Some(5.0));
        assert_eq!(median(&[5.0, 1.0]), Some(3.0));
        assert_eq!(median(&[]), None);
    }

    /// Fear: a percentile that is off by one rank flatters the tail.
    #[test]
    fn percentiles_are_of_the_samples() {
        let samples: Vec<i64> = (1..=200).collect();
        assert_eq!((percentile(&samples, 50), percentile(&samples, 99)), (100, 198));
        assert_eq!((percentile(&[7], 99), percentile(&[], 50)), (7, 0));
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!([999.4, 1_000.0, 1_234_567.0].map(thousands), ["999", "1,000", "1,234,567"]);
    }
}
