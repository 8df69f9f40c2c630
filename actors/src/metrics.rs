//! Metrics (domain §3.1): one struct for the three vocabularies in use, and the bridge between them.
//!
//! An instance *collects* cpu, memory and counts; the Guardian *judges* rates, latency and cost; a direct report
//! carries *deltas*. [`Metrics`] holds any of them, [`judged`] and [`deltas`] translate.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::invalid::{Invalid, InvalidKind, in_range};
use crate::json::Object;

/// One reading. Every field is optional; what is absent is not judged. Unknown keys are kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Metrics {
    /// CPU use in percent of one core; more than 100 is possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_usage: Option<f64>,
    /// Memory in MB; also read under its other documented name, `memory_usage`.
    #[serde(alias = "memory_usage", skip_serializing_if = "Option::is_none")]
    pub memory: Option<f64>,
    /// Errors since the program started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_count: Option<u64>,
    /// Executions since the program started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_count: Option<u64>,
    /// 95th percentile of latency, milliseconds.
    #[serde(serialize_with = "crate::json::whole::serialize", skip_serializing_if = "Option::is_none")]
    pub latency_p95_ms: Option<f64>,
    /// Share of executions that succeeded, 0..1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<f64>,
    /// Share of executions that failed, 0..1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<f64>,
    /// Cost in US cents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_cents: Option<f64>,
    /// Executions per minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput_per_min: Option<f64>,
    /// When the reading was taken.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::json::Moment>")]
    pub timestamp: Option<OffsetDateTime>,
    /// Keys this program does not know, kept for the audit trail.
    #[serde(flatten)]
    pub other: Object,
}

impl Metrics {
    /// Counters at their beginning: from here on, everything counted since is meant.
    pub fn nothing_counted() -> Self {
        Self { error_count: Some(0), execution_count: Some(0), ..Self::default() }
    }

    /// Refuses negative, infinite or out-of-range values (`invalid_metrics`).
    pub fn validate(&self) -> Result<(), Invalid> {
        let range = |name: &str, value: Option<f64>, high: f64| match value {
            Some(v) => in_range(InvalidKind::InvalidMetrics, name, v, 0.0, high),
            None => Ok(()),
        };
        range("success_rate", self.success_rate, 1.0)?;
        range("error_rate", self.error_rate, 1.0)?;
        range("cpu_usage", self.cpu_usage, f64::MAX)?;
        range("memory", self.memory, f64::MAX)?;
        range("latency_p95_ms", self.latency_p95_ms, f64::MAX)?;
        range("cost_cents", self.cost_cents, f64::MAX)?;
        range("throughput_per_min", self.throughput_per_min, f64::MAX)
    }
}

/// What the Guardian judges, taken from a pair of readings.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Judged {
    /// As reported. A rate derived from errors is in [`Judged::derived_success_rate`] and is never judged: else
    /// the success check, which comes first, would hide every `error_rate_breach`.
    pub success_rate: Option<f64>,
    /// `1 - error_rate`, for display, when no success rate was reported.
    pub derived_success_rate: Option<f64>,
    /// Reported, or derived from the two counts, or the complement of a reported success rate.
    pub error_rate: Option<f64>,
    /// As reported.
    pub latency_p95_ms: Option<f64>,
    /// As reported.
    pub cost_cents: Option<f64>,
    /// Growth of memory in MB; negative when it shrank.
    pub memory_delta_mb: Option<f64>,
    /// Growth of the error count; 0 when the counter was reset.
    pub error_growth: Option<u64>,
}

/// Bridges two readings to the judged fields.
///
/// The error rate is derived only when both readings carry both counts. The proposal in the specification also
/// covers a missing `execution_count` (as 0 new executions), but then the guide's own sample (errors 2 → 3, no
/// execution count) would be judged an error rate of 1.0 and rolled back; it is judged by error growth instead.
pub fn judged(before: &Metrics, after: &Metrics) -> Judged {
    let error_growth = growth(before.error_count, after.error_count);
    let executions = growth(before.execution_count, after.execution_count);
    let counted = match (error_growth, executions) {
        (Some(errors), Some(runs)) => Some((errors as f64 / runs.max(1) as f64).clamp(0.0, 1.0)),
        _ => None,
    };
    // The complement closes a gap: a report of the success rate alone would otherwise escape a learned error threshold.
    let error_rate = after.error_rate.or(counted).or(after.success_rate.map(|s| 1.0 - s));
    let derived = match after.success_rate {
        Some(_) => None,
        None => error_rate.map(|e| 1.0 - e),
    };
    Judged {
        success_rate: after.success_rate,
        derived_success_rate: derived,
        error_rate,
        latency_p95_ms: after.latency_p95_ms,
        cost_cents: after.cost_cents,
        memory_delta_mb: after.memory.zip(before.memory).map(|(a, b)| a - b),
        error_growth,
    }
}

/// The direct report's vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Deltas {
    /// CPU points gained.
    pub cpu_delta: Option<f64>,
    /// Errors gained.
    pub error_delta: Option<u64>,
    /// Did the execution itself succeed?
    pub execution_success: bool,
}

/// The deltas of two readings.
pub fn deltas(before: &Metrics, after: &Metrics, execution_success: bool) -> Deltas {
    Deltas {
        cpu_delta: after.cpu_usage.zip(before.cpu_usage).map(|(a, b)| a - b),
        error_delta: growth(before.error_count, after.error_count),
        execution_success,
    }
}

/// The reading from which a change is measured on, after a neighbour was taken back: what the counters gained from the
/// neighbour's first reading (`from`) to the one after its end (`to`) is not held against the change.
pub fn rebased(base: &Metrics, from: &Metrics, to: &Metrics) -> Metrics {
    let counter = |base: Option<u64>, from: Option<u64>, to: Option<u64>| match (base, from, to) {
        // Measured only since the neighbour was there: everything until its end may be its doing.
        (Some(base), Some(from), Some(to)) if base >= from && to >= base => Some(to),
        (Some(base), Some(from), Some(to)) if to >= from => Some(base.saturating_add(to - from)),
        // Reset in between, or not counted.
        _ => base,
    };
    Metrics {
        error_count: counter(base.error_count, from.error_count, to.error_count),
        execution_count: counter(base.execution_count, from.execution_count, to.execution_count),
        ..base.clone()
    }
}

fn growth(before: Option<u64>, after: Option<u64>) -> Option<u64> {
    after.zip(before).map(|(a, b)| a.saturating_sub(b))
}
