//! The gate that moves, and what instances measured.

use serde_json::Value;
use time::OffsetDateTime;
use tokio_postgres::GenericClient;
use tokio_postgres::types::Json;

use super::{Result, json, sql};
use crate::batch::{Reading, Summary};
use crate::gate::AdaptiveGate;

/// `gate.sql`; the documented start until it moved.
pub async fn gate<C: GenericClient + Sync>(client: &C) -> Result<AdaptiveGate> {
    client.query_opt(sql!("gate"), &[]).await?.map_or_else(|| Ok(AdaptiveGate::default()), |row| json(&row, "gate"))
}

/// `lock_gate.sql`, `save_gate.sql`: takes in what became of an approved change.
pub async fn record_outcome<C: GenericClient + Sync>(client: &C, succeeded: bool) -> Result<AdaptiveGate> {
    let row = client.query_opt(sql!("lock_gate"), &[]).await?;
    let mut gate: AdaptiveGate = row.map_or_else(|| Ok(AdaptiveGate::default()), |row| json(&row, "gate"))?;
    gate.record(succeeded);
    client.execute(sql!("save_gate"), &[&Json(gate)]).await?;
    Ok(gate)
}

/// `lock_readings.sql`; true when some wait to be sent.
pub async fn lock_readings<C: GenericClient + Sync>(client: &C, instance: &str) -> Result<bool> {
    client.query_one(sql!("lock_readings"), &[&instance]).await?.try_get(0)
}

/// `insert_readings.sql`
pub async fn insert_readings<C: GenericClient + Sync>(
    client: &C,
    instance: &str,
    agent_type: &str,
    values: &[(&str, f64)],
) -> Result<()> {
    let (metrics, values): (Vec<&str>, Vec<f64>) = values.iter().copied().unzip();
    client.execute(sql!("insert_readings"), &[&instance, &agent_type, &metrics, &values]).await.map(drop)
}

/// `take_readings.sql`
pub async fn take_readings<C: GenericClient + Sync>(client: &C, instance: &str) -> Result<Vec<Reading>> {
    let rows = client.query(sql!("take_readings"), &[&instance]).await?;
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
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&instance, &agent_type, &metric, &count, &summary.avg, &summary.min, &summary.max, &newest, &from, &until];
    client.execute(sql!("save_agent_metrics"), parameters).await.map(drop)
}
