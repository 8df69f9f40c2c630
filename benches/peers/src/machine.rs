//! Where it was measured.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use serde::Serialize;
use tokio_postgres::Client;

use crate::wait;

/// Settings of the server without which a figure says nothing.
const SETTINGS: [&str; 8] = [
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "shared_buffers",
    "max_wal_size",
    "max_connections",
    "autovacuum",
];
/// A machine of which less is idle is busy.
const IDLE: f64 = 0.9;

/// The machine and the server.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) system: String,
    pub(crate) server: String,
    pub(crate) settings: Vec<(String, String)>,
    /// The server's day.
    pub(crate) date: String,
}

impl Machine {
    pub(crate) async fn ask(client: &Client) -> Result<Self> {
        let mut settings = Vec::new();
        for name in SETTINGS {
            let row = client.query_one("SELECT current_setting($1)", &[&name]).await.context("ask for a setting")?;
            settings.push((name.to_owned(), row.get(0)));
        }
        let sql = "SELECT current_setting('server_version'), to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD')";
        let row = client.query_one(sql, &[]).await.context("ask for the server's version")?;
        let line = |file: &str, name: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let found = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
            found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory_kib: f64 =
            line("/proc/meminfo", "MemTotal").split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or(0.0);
        Ok(Self {
            processor: line("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: (memory_kib / 1_048_576.0 * 10.0).round() / 10.0,
            system: fs::read_to_string("/proc/sys/kernel/ostype").unwrap_or_default().trim().to_owned()
                + " "
                + fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
            server: row.get(0),
            settings,
            date: row.get(1),
        })
    }
}

/// Waits for a machine that is idle, so long at most; whether it was in the end. Where nobody can say, it was.
pub(crate) async fn quiet(limit: Duration) -> bool {
    let begun = tokio::time::Instant::now();
    loop {
        let Some(before) = ticks() else { return true };
        wait(200).await;
        let Some(after) = ticks() else { return true };
        let all = after.0.saturating_sub(before.0).max(1);
        if after.1.saturating_sub(before.1) as f64 / all as f64 >= IDLE {
            return true;
        }
        if begun.elapsed() >= limit {
            return false;
        }
    }
}

/// All time of all cores so far, and what of it was idle.
fn ticks() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<u64> = text.lines().next()?.split_whitespace().skip(1).filter_map(|t| t.parse().ok()).collect();
    Some((ticks.iter().take(8).sum(), ticks.get(3)? + ticks.get(4)?))
}
