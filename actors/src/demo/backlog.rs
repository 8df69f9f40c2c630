//! The low-priority messages on another queue, and who takes them once they may go.

use std::time::Duration;

use anyhow::{Context as _, Result};
use pgflow::{AnyHandler, Config, Context, Failure, Queue, Runtime};
use tokio_postgres::Client;

use super::invariants::BACKLOG;

/// How many messages are handled at once when the backlog is drained.
const WORKERS: usize = 16;

/// Publishes so many messages at low priority, in one transaction; nobody serves the queue yet.
pub(crate) async fn publish(client: &Client, count: usize) -> Result<()> {
    let count = i64::try_from(count)?;
    client.execute("SELECT pgflow_create_queue($1)", &[&BACKLOG]).await.context("create the backlog's queue")?;
    let all = "SELECT count(pgflow_publish($1, jsonb_build_object('number', n), priority => -10)) \
               FROM generate_series(1, $2::bigint) AS n";
    client.query_one(all, &[&BACKLOG, &count]).await.context("publish the backlog")?;
    Ok(())
}

/// Takes a message and is done.
struct Taker;

impl AnyHandler for Taker {
    async fn handle(&mut self, _cx: &mut Context<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

/// Starts a runtime that drains the backlog.
pub(crate) async fn drain(database_url: &str) -> Result<Runtime> {
    let builder = Runtime::builder(Config::new(database_url).instance("backlog_consumer"));
    let queue = Queue::new(BACKLOG).workers(WORKERS);
    Ok(builder.queue(queue).any_handler(BACKLOG, || Taker).start().await?)
}

/// Ends the runtime; what its heartbeats found is told.
pub(crate) async fn stop(runtime: Runtime) -> Result<u64> {
    let found = runtime.found_by_heartbeat();
    runtime.stop(Duration::from_secs(5)).await?;
    Ok(found)
}
