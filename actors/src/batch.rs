//! What an instance measured, agent by agent (domain §5.4): the side stream that is sent once a minute.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::json::three_decimals;
use crate::metrics::Metrics;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Whose change was measured.
    pub agent_type: String,
    /// What.
    pub metric: String,
    /// How much.
    pub value: f64,
    /// When.
    pub at: OffsetDateTime,
}

/// A metric of an agent over a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// The newest values, at most a hundred, oldest first.
    pub values: Vec<f64>,
    /// How many there were.
    pub count: u64,
    /// Their mean, three decimals.
    pub avg: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

/// Per agent type, per metric.
pub type Agents = BTreeMap<String, BTreeMap<String, Summary>>;

/// Values kept of each metric.
pub const VALUES_MAX: usize = 100;

/// The figures of readings that come oldest first.
pub fn summarise(readings: &[Reading]) -> Agents {
    let mut values: BTreeMap<&str, BTreeMap<&str, Vec<f64>>> = BTreeMap::new();
    for r in readings.iter().filter(|r| r.value.is_finite()) {
        values.entry(&r.agent_type).or_default().entry(&r.metric).or_default().push(r.value);
    }
    let summary = |all: &Vec<f64>| Summary {
        values: all[all.len().saturating_sub(VALUES_MAX)..].to_vec(),
        count: all.len() as u64,
        avg: three_decimals(all.iter().sum::<f64>() / all.len() as f64),
        min: all.iter().copied().fold(f64::INFINITY, f64::min),
        max: all.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    };
    let of_agent = |metrics: BTreeMap<&str, Vec<f64>>| {
        metrics.iter().map(|(metric, all)| ((*metric).to_owned(), summary(all))).collect()
    };
    values.into_iter().map(|(agent, metrics)| (agent.to_owned(), of_agent(metrics))).collect()
}

/// The values of one reading, by name.
pub fn values_of(metrics: &Metrics) -> Vec<(&'static str, f64)> {
    [
        ("cpu_usage", metrics.cpu_usage),
        ("memory", metrics.memory),
        ("error_count", metrics.error_count.map(|n| n as f64)),
        ("execution_count", metrics.execution_count.map(|n| n as f64)),
        ("latency_p95_ms", metrics.latency_p95_ms),
        ("success_rate", metrics.success_rate),
        ("error_rate", metrics.error_rate),
        ("cost_cents", metrics.cost_cents),
        ("throughput_per_min", metrics.throughput_per_min),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect()
}
