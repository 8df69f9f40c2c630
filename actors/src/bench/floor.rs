//! The floor under a submission: its two unavoidable INSERTs in one transaction, by a bare client, prepared, nothing else going on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_postgres::types::Json;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::pool::Pool;
use super::sql;

/// A connection, and both statements prepared on it.
pub(crate) struct Bare {
    client: Client,
    proposal: Statement,
    message: Statement,
}

/// As many as the submitters have.
pub(crate) async fn pool(url: &str, connections: u16) -> Result<Pool<Bare>> {
    let mut all = Vec::new();
    for _ in 0..connections {
        let client = pgflow::connect(url, "evolution bench, floor").await?;
        let proposal = client.prepare(sql!("bench_floor_proposal")).await?;
        let message = client.prepare(sql!("bench_floor_message")).await?;
        all.push(Bare { client, proposal, message });
    }
    Ok(Pool::of(all))
}

/// Writes all at once; how long each took, its wait for a connection included.
pub(crate) async fn round(pool: &Arc<Pool<Bare>>, changes: Vec<Value>) -> Result<Vec<Duration>> {
    let mut writers = JoinSet::new();
    for change in changes {
        let pool = Arc::clone(pool);
        writers.spawn(async move {
            let begun = Instant::now();
            let mut bare = pool.get().await?;
            write(&mut bare, &change).await?;
            pool.give_back(bare);
            anyhow::Ok(begun.elapsed())
        });
    }
    writers.join_all().await.into_iter().collect()
}

async fn write(bare: &mut Bare, change: &Value) -> Result<()> {
    let id = Uuid::now_v7();
    let body = serde_json::to_vec(&json!({ "type": "send_proposals", "instance_id": "floor", "message_id": id }))?;
    let tx = bare.client.transaction().await?;
    tx.execute(&bare.proposal, &[&id, &Json(change), &id.to_string()]).await?;
    tx.execute(&bare.message, &[&id, &body]).await?;
    Ok(tx.commit().await?)
}
