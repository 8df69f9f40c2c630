//! Queues and instances as an operator sees them.

use deadpool_postgres::GenericClient;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio_postgres::types::ToSql;

use super::Store;
use crate::{Error, Result};

/// A queue: its settings and its depth now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QueueInfo {
    /// Its name.
    pub queue_name: String,
    /// Whether nothing of it is started.
    pub paused: bool,
    /// Redeliveries after the first try.
    pub max_retries: i32,
    /// The first retry's delay.
    pub retry_delay_ms: i32,
    /// The longest delay of a retry.
    pub retry_delay_ms_max: i32,
    /// The largest body in bytes.
    pub payload_bytes_max: i32,
    /// When it was made (RFC 3339, UTC).
    pub created_at: String,
    /// Messages that could be started now.
    pub pending: i64,
    /// The age of the oldest pending message in seconds, of those first in a lane; none when nothing is pending.
    pub oldest_pending_age_s: Option<f64>,
    /// Messages that wait for a time.
    pub scheduled: i64,
    /// Messages that wait for their key's turn, or for an instance that decodes them.
    pub parked: i64,
    /// Messages that are being handled.
    pub processing: i64,
    /// Dead letters.
    pub dead: i64,
}

/// A queue's figures: now, and over the last hour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QueueStats {
    /// Its name.
    pub queue_name: String,
    /// Whether nothing of it is started.
    pub paused: bool,
    /// Messages that could be started now.
    pub pending: i64,
    /// Messages that wait for a time.
    pub scheduled: i64,
    /// Messages that wait for their key's turn, or for an instance that decodes them.
    pub parked: i64,
    /// Messages that are being handled.
    pub processing: i64,
    /// Messages done in the last hour.
    pub done_1h: i64,
    /// Dead letters.
    pub dead: i64,
    /// The age of the oldest pending message in seconds; none when nothing is pending.
    pub oldest_pending_age_s: Option<f64>,
    /// Messages finished in the last hour after more than one try, and those that wait for their next try.
    pub retried: i64,
    /// Publish to first start over the last hour, median, in ms. A delay that was asked for counts.
    pub latency_p50_ms: Option<f64>,
    /// Its 95th percentile.
    pub latency_p95_ms: Option<f64>,
    /// Its 99th percentile.
    pub latency_p99_ms: Option<f64>,
    /// Messages finished a minute, over the last five.
    pub throughput_per_min: f64,
    /// Live instances that serve the queue.
    pub instances: i64,
    /// Running workers, as those instances last reported.
    pub workers: i64,
}

/// A live instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InstanceInfo {
    /// Its number, new at every start.
    pub session_id: i32,
    /// Its name, by which addressed messages find it.
    pub name: String,
    /// The machine it runs on.
    pub host: Option<String>,
    /// Its process there.
    pub pid: Option<i32>,
    /// When it started (RFC 3339, UTC).
    pub started_at: String,
    /// When it last wrote that it lives (RFC 3339, UTC).
    pub heartbeat_at: String,
    /// How long that is ago, in seconds.
    pub heartbeat_age_s: f64,
    /// What it takes: `{"queue": {"kind": newest version}}`.
    pub decodes: serde_json::Value,
    /// Its supervision tree as last reported.
    pub tree: Option<serde_json::Value>,
}

impl Store {
    /// Runs a statement whose rows are one JSON object each.
    pub(super) async fn objects<C: GenericClient, T: DeserializeOwned>(
        &self,
        c: &C,
        phase: impl Fn() -> String,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<T>> {
        let rows = self.query(c, &phase, sql, params).await?;
        let read = |row: &tokio_postgres::Row| {
            serde_json::from_value(row.get(0)).map_err(|e| Error::state(phase(), format!("unexpected answer: {e}")))
        };
        rows.iter().map(read).collect()
    }

    /// The queues by name, at most `limit`.
    pub(crate) async fn list_queues<C: GenericClient>(&self, c: &C, limit: i32) -> Result<Vec<QueueInfo>> {
        self.objects(c, || "list the queues".into(), &self.sql.list_queues, &[&limit]).await
    }

    /// The figures of a queue; none when it is unknown.
    pub(crate) async fn queue_stats<C: GenericClient>(&self, c: &C, queue: &str) -> Result<Option<QueueStats>> {
        let phase = || format!("stats of queue \"{queue}\"");
        Ok(self.objects(c, phase, &self.sql.queue_stats, &[&queue]).await?.pop())
    }

    /// Whether a queue of this name is there, or was.
    pub(crate) async fn queue_exists<C: GenericClient>(&self, c: &C, queue: &str) -> Result<bool> {
        Ok(self.query(c, || format!("look up queue \"{queue}\""), &self.sql.queue_exists, &[&queue]).await?[0].get(0))
    }

    /// Pauses or resumes a queue; false when it is unknown.
    pub(crate) async fn pause_queue<C: GenericClient>(&self, c: &C, queue: &str, paused: bool) -> Result<bool> {
        let phase = || format!("{} queue \"{queue}\"", if paused { "pause" } else { "resume" });
        Ok(!self.query(c, phase, &self.sql.pause_queue, &[&queue, &paused]).await?.is_empty())
    }

    /// Deletes a queue; answers how many waiting messages were cancelled.
    pub(crate) async fn delete_queue<C: GenericClient>(&self, c: &C, queue: &str, cancel: bool) -> Result<i64> {
        let phase = || format!("delete queue \"{queue}\"");
        let rows = self.query(c, phase, &self.sql.delete_queue, &[&queue, &cancel]).await.map_err(Error::plain)?;
        Ok(rows[0].get(0))
    }

    /// Has every runtime look at its queues again.
    pub(crate) async fn notify_ctl<C: GenericClient>(&self, c: &C) -> Result<()> {
        self.query(c, || "notify the runtimes".into(), &self.sql.notify_ctl, &[]).await?;
        Ok(())
    }

    /// Changes how publishers wake runtimes.
    pub(crate) async fn set_mode<C: GenericClient>(&self, c: &C, mode: &str) -> Result<()> {
        self.query(c, || format!("set mode {mode}"), &self.sql.set_mode, &[&mode]).await?;
        Ok(())
    }

    /// The live instances, at most `limit`.
    pub(crate) async fn tree<C: GenericClient>(&self, c: &C, limit: i32) -> Result<Vec<InstanceInfo>> {
        self.objects(c, || "read the tree".into(), &self.sql.tree, &[&limit]).await
    }
}
