//! The Guardian's judgement of one report (domain §3.3): ordered checks, breaches in a row, what to do.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::json::Object;
use crate::messages::Limit;
use crate::metrics::Judged;
use crate::tag::tagged;
use crate::thresholds::Thresholds;

tagged! {
    /// What is checked, in order of checking.
    pub enum Metric {
        /// Share of successes, too low.
        SuccessRate = "success_rate",
        /// Share of errors, too high.
        ErrorRate = "error_rate",
        /// p95 latency, too high.
        Latency = "latency_p95_ms",
        /// Cost, too high.
        Cost = "cost_cents",
        /// Growth of memory, too high.
        Memory = "memory_delta_mb",
        /// Growth of the error count, too high.
        ErrorCount = "error_count",
    }
}

tagged! {
    /// How bad a breach is.
    pub enum Severity {
        /// Tolerated for a while.
        Medium = "medium",
        /// Tolerated once.
        High = "high",
        /// Not tolerated.
        Critical = "critical",
    }
}

/// The reason of a rollback ordered by a person.
pub const MANUAL: &str = "manual";

impl Metric {
    /// How bad a breach of this metric is.
    pub const fn severity(self) -> Severity {
        match self {
            Self::SuccessRate | Self::ErrorRate | Self::ErrorCount => Severity::Critical,
            Self::Latency | Self::Memory => Severity::High,
            Self::Cost => Severity::Medium,
        }
    }

    /// How many breaches in a row roll back.
    pub const fn breaches_to_roll_back(self) -> u32 {
        match self.severity() {
            Severity::Critical => 1,
            Severity::High => 2,
            Severity::Medium => 5,
        }
    }

    /// The documented `reason` of a rollback.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::SuccessRate => "success_rate_breach",
            Self::ErrorRate => "error_rate_breach",
            Self::Latency => "latency_breach",
            Self::Cost => "cost_breach",
            Self::Memory => "memory_breach",
            Self::ErrorCount => "error_count_breach",
        }
    }
}

/// One limit passed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Breach {
    /// Which.
    pub metric: Metric,
    /// The value.
    pub actual: f64,
    /// The limit.
    pub threshold: f64,
    /// How bad.
    pub severity: Severity,
}

impl Breach {
    /// The `threshold` object of a trigger.
    pub fn limit(&self) -> Limit {
        Limit {
            metric: Some(self.metric.tag().to_owned()),
            actual: Some(self.actual),
            threshold: Some(self.threshold),
            severity: Some(self.severity.tag().to_owned()),
            other: Object::new(),
        }
    }
}

/// Breaches in a row per metric, of one change. Stored between reports.
pub type Counts = BTreeMap<Metric, u32>;

tagged! {
    /// The documented result of a report.
    pub enum ReportStatus {
        /// Nothing wrong.
        Monitored = "monitored",
        /// Something wrong, whether or not it is enough to roll back.
        ThresholdBreachDetected = "threshold_breach_detected",
    }
}

/// A judged report.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    /// The documented result.
    pub status: ReportStatus,
    /// Every breach, in order of checking.
    pub breaches: Vec<Breach>,
    /// The counts to store.
    pub counts: Counts,
    /// The breach to roll back for, and how often in a row it has happened; the first one that suffices.
    pub roll_back: Option<(Breach, u32)>,
    /// There is a breach that is told of, rather than taken back by the next one (domain §3.3): of cost, or of anything where nothing is
    /// rolled back without asking.
    pub alert: bool,
}

/// Judges a report by the limits, given the counts of the reports before it.
///
/// A metric within its limit starts again from zero; one that was not reported keeps its count, since silence is
/// not a clean report, and so does one that another change shadows. With `auto_rollback` off nothing is rolled back,
/// only recorded.
pub fn assess(judged: &Judged, limits: &Thresholds, before: &Counts, shadowed: &BTreeSet<Metric>) -> Assessment {
    let mut counts = before.clone();
    let mut breaches = Vec::new();
    let mut roll_back = None;
    for metric in Metric::ALL.iter().copied() {
        let Some((actual, threshold)) = reading(metric, judged, limits) else { continue };
        if shadowed.contains(&metric) {
            continue;
        }
        let passed = if metric == Metric::SuccessRate { actual < threshold } else { actual > threshold };
        if !passed {
            counts.remove(&metric);
            continue;
        }
        let breach = Breach { metric, actual, threshold, severity: metric.severity() };
        let count = counts.entry(metric).or_insert(0);
        *count = count.saturating_add(1);
        breaches.push(breach);
        if limits.auto_rollback && roll_back.is_none() && *count >= metric.breaches_to_roll_back() {
            roll_back = Some((breach, *count));
        }
    }
    let status = if breaches.is_empty() { ReportStatus::Monitored } else { ReportStatus::ThresholdBreachDetected };
    let told = |breach: &Breach| breach.severity == Severity::Medium || !limits.auto_rollback;
    let alert = roll_back.is_none() && breaches.iter().any(told);
    Assessment { status, breaches, counts, roll_back, alert }
}

fn reading(metric: Metric, judged: &Judged, limits: &Thresholds) -> Option<(f64, f64)> {
    let pair = match metric {
        Metric::SuccessRate => (judged.success_rate?, limits.success_rate),
        Metric::ErrorRate => (judged.error_rate?, limits.error_rate),
        Metric::Latency => (judged.latency_p95_ms?, limits.latency_p95_ms),
        Metric::Cost => (judged.cost_cents?, limits.cost_cents),
        Metric::Memory => (judged.memory_delta_mb?, limits.memory_delta_mb),
        Metric::ErrorCount => (judged.error_growth? as f64, limits.error_growth as f64),
    };
    Some(pair)
}
