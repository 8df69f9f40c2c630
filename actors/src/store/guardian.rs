//! Watched changes, their reports, rollbacks and alerts.

use time::OffsetDateTime;
use tokio_postgres::GenericClient;
use tokio_postgres::types::Json;
use uuid::Uuid;

use super::typed::{Parameters, execute, query, query_one, query_opt, took};
use super::{Result, json, sql};
use crate::breach::{Breach, Counts};
use crate::messages::{ExecutionMetrics, Limit};
use crate::metrics::Judged;
use crate::profile::Profile;
use crate::strategy::Strategy;

/// A change as Guardian knows it.
#[derive(Debug, Clone)]
pub struct WatchedChange {
    /// Where it is applied.
    pub instance_id: String,
    /// Whose change it is.
    pub agent_type: String,
    /// What sort.
    pub change_type: String,
    /// The proposer's figures.
    pub safety_profile: Profile,
    /// `pending`, `active`, or how it was closed.
    pub status: String,
    /// Breaches in a row, per metric.
    pub breach_counts: Counts,
    /// The first report.
    pub first_report_at: Option<OffsetDateTime>,
    /// The newest report.
    pub last_report_at: Option<OffsetDateTime>,
    /// In the newest report nothing passed its limit, whoever is held to have done it.
    pub last_report_clean: bool,
    /// When its window ends; known from the first report on.
    pub window_ends_at: Option<OffsetDateTime>,
    /// When its silence was told of.
    pub stale_alerted_at: Option<OffsetDateTime>,
}

impl WatchedChange {
    /// Is it still to be watched?
    pub fn is_open(&self) -> bool {
        matches!(self.status.as_str(), "pending" | "active")
    }
}

/// `lock_change.sql`
pub async fn lock_change<C: GenericClient + Sync>(client: &C, id: Uuid) -> Result<Option<WatchedChange>> {
    let Some(row) = query_opt(client, sql!("lock_change"), &[&id]).await? else { return Ok(None) };
    Ok(Some(WatchedChange {
        instance_id: row.try_get("instance_id")?,
        agent_type: row.try_get("agent_type")?,
        change_type: row.try_get("change_type")?,
        safety_profile: json(&row, "safety_profile")?,
        status: row.try_get("status")?,
        breach_counts: json(&row, "breach_counts")?,
        first_report_at: row.try_get("first_report_at")?,
        last_report_at: row.try_get("last_report_at")?,
        last_report_clean: row.try_get("last_report_clean")?,
        window_ends_at: row.try_get("window_ends_at")?,
        stale_alerted_at: row.try_get("stale_alerted_at")?,
    }))
}

/// A report as it is kept.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// As it came.
    pub message: &'a ExecutionMetrics,
    /// As it was judged.
    pub judged: &'a Judged,
    /// What was wrong.
    pub breaches: &'a [Breach],
}

/// `insert_metrics.sql`
pub async fn insert_metrics<C: GenericClient + Sync>(client: &C, report: Report<'_>) -> Result<()> {
    let Report { message, judged, breaches } = report;
    let parameters: Parameters<'_> = &[
        &message.proposal_id,
        &message.instance_id,
        &message.status,
        &judged.success_rate.or(judged.derived_success_rate),
        &judged.error_rate,
        &judged.latency_p95_ms,
        &judged.cost_cents,
        &message.metrics_after.throughput_per_min,
        &Json(&message.metrics_before),
        &Json(&message.metrics_after),
        &Json(breaches),
        &message.timestamp,
    ];
    execute(client, sql!("insert_metrics"), parameters).await
}

/// `save_report.sql`
pub async fn save_report<C: GenericClient + Sync>(
    client: &C,
    id: Uuid,
    counts: &Counts,
    clean: bool,
    (reported_at, window_ends_at): (OffsetDateTime, OffsetDateTime),
) -> Result<()> {
    execute(client, sql!("save_report"), &[&id, &Json(counts), &reported_at, &window_ends_at, &clean]).await
}

/// `close_change.sql`
pub async fn close_change<C: GenericClient + Sync>(client: &C, id: Uuid, status: &str) -> Result<bool> {
    took(client, sql!("close_change"), &[&id, &status]).await
}

/// An order to take a change back.
#[derive(Debug, Clone)]
pub struct Rollback {
    /// The change.
    pub proposal_id: Uuid,
    /// This rollback.
    pub rollback_id: Uuid,
    /// Where.
    pub instance_id: String,
    /// The documented reason.
    pub reason: String,
    /// What was broken.
    pub limit: Limit,
    /// How often in a row.
    pub breach_count: u32,
    /// The plan.
    pub strategy: Strategy,
}

/// `insert_rollback.sql`; false when one was ordered before.
pub async fn insert_rollback<C: GenericClient + Sync>(client: &C, order: &Rollback) -> Result<bool> {
    let count = i32::try_from(order.breach_count).unwrap_or(i32::MAX);
    let parameters: Parameters<'_> = &[
        &order.proposal_id,
        &order.rollback_id,
        &order.instance_id,
        &order.reason,
        &Json(&order.limit),
        &count,
        &Json(&order.strategy),
    ];
    took(client, sql!("insert_rollback"), parameters).await
}

/// `note_trigger.sql`
pub async fn note_trigger<C: GenericClient + Sync>(client: &C, id: Uuid, message: i64) -> Result<()> {
    execute(client, sql!("note_trigger"), &[&id, &message]).await
}

/// `complete_rollback.sql`; its duration in seconds, if it was ordered and not completed before.
pub async fn complete_rollback<C: GenericClient + Sync>(client: &C, id: Uuid) -> Result<Option<f64>> {
    query_opt(client, sql!("complete_rollback"), &[&id]).await?.map(|row| row.try_get(0)).transpose()
}

/// `rollback_ordered.sql`
pub async fn rollback_ordered<C: GenericClient + Sync>(client: &C, id: Uuid) -> Result<bool> {
    query_one(client, sql!("rollback_ordered"), &[&id]).await?.try_get(0)
}

/// `strategy.sql`; the documented plan until one was learned.
pub async fn strategy<C: GenericClient + Sync>(client: &C, change_type: &str) -> Result<Strategy> {
    let documented = Strategy::for_change_type(change_type);
    let row = query_opt(client, sql!("strategy"), &[&documented.change_type]).await?;
    row.map_or(Ok(documented), |row| json(&row, "strategy"))
}

/// `save_strategy.sql`
pub async fn save_strategy<C: GenericClient + Sync>(client: &C, strategy: &Strategy) -> Result<()> {
    execute(client, sql!("save_strategy"), &[&strategy.change_type, &Json(strategy)]).await
}

/// `mark_stale.sql`
pub async fn mark_stale<C: GenericClient + Sync>(client: &C, id: Uuid) -> Result<()> {
    execute(client, sql!("mark_stale"), &[&id]).await
}

/// A rollback that was given up.
#[derive(Debug, Clone)]
pub struct FailedRollback {
    /// The change.
    pub proposal_id: Uuid,
    /// Where.
    pub instance_id: String,
    /// By whose plan.
    pub change_type: String,
    /// How long it was tried.
    pub seconds: f64,
    /// Why it was given up.
    pub error: String,
}

/// `failed_rollbacks.sql`
pub async fn failed_rollbacks<C: GenericClient + Sync>(client: &C) -> Result<Vec<FailedRollback>> {
    let rows = query(client, sql!("failed_rollbacks"), &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(FailedRollback {
                proposal_id: row.try_get("proposal_id")?,
                instance_id: row.try_get("instance_id")?,
                change_type: row.try_get("change_type")?,
                seconds: row.try_get("seconds")?,
                error: row.try_get("error")?,
            })
        })
        .collect()
}
