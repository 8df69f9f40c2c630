//! The gate that moves, and what instances measured.

use serde_json::Value;
use time::OffsetDateTime;
use tokio_postgres::GenericClient;
use tokio_postgres::types::Json;

use super::typed::{Parameters, execute, query, query_one, query_opt};
use super::{Result, json, sql};
use crate::batch::{Reading, Summary};
use crate::gate::AdaptiveGate;

/// `gate.sql`; the documented start until it moved.
pub async fn gate<C: GenericClient + Sync>(client: &C) -> Result<AdaptiveGate> {
    query_opt(client, sql!("gate"), &[]).await?.map_or_else(|| Ok(AdaptiveGate::default()), |row| json(&row, "gate"))
}

/// `lock_gate.sql`, `save_gate.sql`: takes in what became of an approved change.
pub async fn record_outcome<C: GenericClient + Sync>(client: &C, succeeded: bool) -> Result<AdaptiveGate> {
    let row = query_one(client, sql!("lock_gate"), &[&Json(AdaptiveGate::default())]).await?;
    let mut gate: AdaptiveGate = json(&row, "gate")?;
    gate.record(succeeded);
    execute(client, sql!("save_gate"), &[&Json(gate)]).await?;
    Ok(gate)
}

/// `lock_readings.sql`; true when some wait to be sent.
pub async fn lock_readings<C: GenericClient + Sync>(client: &C, instance: &str) -> Result<bool> {
    query_one(client, sql!("lock_readings"), &[&instance]).await?.try_get(0)
}

/// `insert_readings.sql`
pub async fn insert_readings<C: GenericClient + Sync>(
    client: &C,
    instance: &str,
    agent_type: &str,
    values: &[(&str, f64)],
) -> Result<()> {
    let (metrics, values): (Vec<&str>, Vec<f64>) = values.iter().copied().unzip();
    execute(client, sql!("insert_readings"), &[&instance, &agent_type, &metrics, &values]).await
}

/// `take_readings.sql`
pub async fn take_readings<C: GenericClient + Sync>(client: &C, instance: &str) -> Result<Vec<Reading>> {
    let rows = query(client, sql!("take_readings"), &[&instance]).await?;
    rows.iter()
        .map(|row| {
            Ok(Reading {
                agent_type: row.try_get("agent_type")?,
                metric: row.try_get("metric")?,
                value: row.try_get("value")?,
                at: row.try_get("read_at")?,
            })
        })
        .collect()
}

/// `save_agent_metrics.sql`
pub async fn save_agent_metrics<C: GenericClient + Sync>(
    client: &C,
    (instance, agent_type, metric): (&str, &str, &str),
    summary: &Summary,
    (from, until): (OffsetDateTime, OffsetDateTime),
) -> Result<()> {
    let count = i64::try_from(summary.count).unwrap_or(i64::MAX);
    let newest = Value::from(summary.values.clone());
    let parameters: Parameters<'_> =
        &[&instance, &agent_type, &metric, &count, &summary.avg, &summary.min, &summary.max, &newest, &from, &until];
    execute(client, sql!("save_agent_metrics"), parameters).await
}
