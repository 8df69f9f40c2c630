//! The changes that share a workspace: whom a reading is held against, and from where each is measured.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_postgres::GenericClient;
use tokio_postgres::types::Json;
use uuid::Uuid;

use super::typed::{execute, query, query_one};
use super::{Result, json, sql};
use crate::blame::Watched;
use crate::breach::Metric;
use crate::metrics::{Metrics, rebased};

/// `watched.sql`
pub async fn watched<C: GenericClient + Sync>(client: &C, instance: &str) -> Result<Vec<Watched>> {
    let rows = query(client, sql!("watched"), &[&instance]).await?;
    rows.iter()
        .map(|row| Ok(Watched { id: row.try_get(0)?, started_at: row.try_get(1)?, suspect: json(row, "suspect")? }))
        .collect()
}

/// `mark_suspect.sql`
pub async fn mark_suspect<C: GenericClient + Sync>(
    client: &C,
    id: Uuid,
    suspect: &BTreeSet<Metric>,
    condemned: bool,
) -> Result<()> {
    execute(client, sql!("mark_suspect"), &[&id, &Json(suspect), &condemned]).await
}

/// `is_condemned.sql`
pub async fn is_condemned<C: GenericClient + Sync>(client: &C, instance: &str, within: Duration) -> Result<bool> {
    query_one(client, sql!("is_condemned"), &[&instance, &within.as_secs_f64()]).await?.try_get(0)
}

/// `cut_short.sql`
pub async fn cut_short<C: GenericClient + Sync>(client: &C, instance: &str) -> Result<Vec<Uuid>> {
    query(client, sql!("cut_short"), &[&instance]).await?.iter().map(|row| row.try_get(0)).collect()
}

/// `lock_neighbours.sql`
pub async fn lock_neighbours<C: GenericClient + Sync>(client: &C, instance: &str) -> Result<()> {
    execute(client, sql!("lock_neighbours"), &[&instance]).await
}

/// `baselines.sql`, `save_baseline.sql`: what the counters gained while `culprit` was there is not held against others.
pub async fn excuse_neighbours<C: GenericClient + Sync>(
    client: &C,
    instance: &str,
    culprit: Uuid,
    (from, to): (&Metrics, &Metrics),
) -> Result<()> {
    for row in query(client, sql!("baselines"), &[&instance, &culprit]).await? {
        let (id, base): (Uuid, Metrics) = (row.try_get("proposal_id")?, json(&row, "baseline")?);
        execute(client, sql!("save_baseline"), &[&id, &Json(rebased(&base, from, to))]).await?;
    }
    Ok(())
}
