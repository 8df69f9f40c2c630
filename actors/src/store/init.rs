//! Puts the tables and the queues in place, once, whoever comes first.

use anyhow::{Context as _, Result};
use tokio_postgres::Client;

use crate::messages::ALL_QUEUES;

/// Numbered, in order; a migration that was applied is never edited.
const MIGRATIONS: [(i32, &str); 8] = [
    (1, include_str!("../../sql/0001_evolution.sql")),
    (2, include_str!("../../sql/0002_neighbours.sql")),
    (3, include_str!("../../sql/0003_alerts.sql")),
    (4, include_str!("../../sql/0004_learning.sql")),
    (5, include_str!("../../sql/0005_messages.sql")),
    (6, include_str!("../../sql/0006_pgflow_alerts.sql")),
    (7, include_str!("../../sql/0007_votes_cast.sql")),
    (8, include_str!("../../sql/0008_last_report.sql")),
];

/// Any number, the same in every program.
const LOCK: i64 = 0x0065_766f_6c75_7469;

/// pgflow's tables, the evolution system's, and all queues. Repeating it does nothing.
///
/// # Errors
/// When the database cannot be reached or refuses; nothing is left half done.
pub async fn init(url: &str, schema: &str) -> Result<Vec<String>> {
    let mut client = pgflow::connect(url, "evolution init").await?;
    let applied = pgflow::migrate::migrate(&mut client, schema).await?;
    let mut done: Vec<String> = applied.iter().map(|a| format!("pgflow {:04} {}", a.version, a.name)).collect();
    done.extend(init_tables(&client).await?.into_iter().map(|number| format!("evolution {number:04}")));
    Ok(done)
}

/// The evolution system's tables and queues alone; the numbers of what was applied.
///
/// # Errors
/// Those of [`init`].
pub async fn init_tables(client: &Client) -> Result<Vec<i32>> {
    in_transaction(client, async || {
        let applied = tables(client).await?;
        // Made here as well as by the runtimes, so that anyone may publish before anyone listens.
        for queue in ALL_QUEUES {
            client.execute("SELECT pgflow_create_queue($1)", &[&queue]).await?;
        }
        Ok(applied)
    })
    .await
}

/// The tables without the queues, for a process that can do without.
///
/// # Errors
/// Those of [`init`].
pub(crate) async fn init_without_queues(url: &str) -> Result<()> {
    let client = pgflow::connect(url, "evolution init").await?;
    in_transaction(&client, async || tables(&client).await).await.map(drop)
}

async fn in_transaction<T>(client: &Client, work: impl AsyncFnOnce() -> Result<T>) -> Result<T> {
    client.batch_execute("BEGIN").await?;
    let done = work().await;
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    client.batch_execute(end).await?;
    done
}

async fn tables(client: &Client) -> Result<Vec<i32>> {
    client.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    client
        .batch_execute(
            "SET LOCAL client_min_messages = warning;
             CREATE TABLE IF NOT EXISTS evolution_migrations (
               number int PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())",
        )
        .await?;
    let mut applied = Vec::new();
    for (number, text) in MIGRATIONS {
        let known = client.query_opt("SELECT FROM evolution_migrations WHERE number = $1", &[&number]).await?;
        if known.is_none() {
            client.batch_execute(text).await.with_context(|| format!("apply evolution migration {number}"))?;
            client.execute("INSERT INTO evolution_migrations (number) VALUES ($1)", &[&number]).await?;
            applied.push(number);
        }
    }
    Ok(applied)
}
