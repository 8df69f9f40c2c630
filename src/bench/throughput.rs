//! How many waiting messages a second one instance handles.

use std::time::Instant;

use futures_util::future::try_join_all;
use tokio_postgres::Client;

use super::{
    Figure, Report,
    arena::{Arena, Ball, QUEUE, STOP, failed},
    median,
};
use crate::{AnyHandler, Context, Error, Failure, Outgoing, Publisher, Result};

/// Ours and the floor's take turns so often; the median counts.
const ROUNDS: usize = 3;
/// Connections of the floor, and rows that each takes at once.
const FLOOR_CONNECTIONS: usize = 4;
const FLOOR_BATCH: i64 = 100;
/// Messages of one batch when the queue is filled.
const FILL: usize = 10_000;
/// A round that takes longer fails.
const ROUND_LIMIT_S: u64 = 600;
const FLOOR: &str = "4 connections that each move 100 rows at once from a table to another (DELETE … SKIP LOCKED, INSERT): no handler, no fence";

/// Measures the handling of so many messages by so many workers that do nothing.
///
/// # Errors
/// When the database fails, or a round takes over ten minutes.
pub async fn throughput(url: &str, messages: usize, workers: usize) -> Result<Report> {
    let arena = Arena::open(url).await?;
    let measured = measure(&arena, messages, workers).await;
    arena.close().await?;
    measured
}

async fn measure(arena: &Arena, messages: usize, workers: usize) -> Result<Report> {
    let publisher = Publisher::connect(&arena.config).await?;
    let (mut ours, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        fill(arena, &publisher, messages).await?;
        arena.run("VACUUM ANALYZE {schema}.pgflow_ready").await?;
        arena.run("VACUUM ANALYZE {schema}.raw").await?;
        ours.push(messages as f64 / drain(arena, messages, workers).await?);
        floors.push(messages as f64 / floor(arena).await?);
        arena.run("TRUNCATE {schema}.raw_done; TRUNCATE {schema}.pgflow_history; CHECKPOINT").await?;
    }
    let setting = format!("{messages} waiting messages, {workers} workers, median of {ROUNDS} rounds");
    let mut report = arena.report("throughput", setting, FLOOR).await?;
    report.figures.push(Figure::new("handle_rate", "msg/s", median(ours), median(floors)));
    Ok(report)
}

/// The same messages into the queue and into the plain table.
async fn fill(arena: &Arena, publisher: &Publisher, messages: usize) -> Result<()> {
    let mut left = messages;
    while left > 0 {
        let batch = left.min(FILL);
        let balls = (0..batch).map(|n| Outgoing::new(&Ball::new(n as u64))).collect::<Result<Vec<_>>>()?;
        publisher.send_many(balls).await?;
        left -= batch;
    }
    arena.run("INSERT INTO {schema}.raw (kind, body) SELECT kind, body FROM {schema}.pgflow_ready ORDER BY seq").await
}

/// Seconds from the instance's start until history holds all of them.
async fn drain(arena: &Arena, messages: usize, workers: usize) -> Result<f64> {
    let begun = Instant::now();
    let runtime = arena.serve(workers, || Nothing).await?;
    let unfinished =
        "SELECT (SELECT count(*) FROM {schema}.pgflow_ready) + (SELECT count(*) FROM {schema}.pgflow_active)";
    let seconds = loop {
        let seconds = begun.elapsed().as_secs_f64();
        if arena.count(unfinished).await? == 0 {
            break seconds;
        }
        if begun.elapsed().as_secs() > ROUND_LIMIT_S {
            return Err(Error::timeout(format!("bench: drain queue \"{QUEUE}\""), ROUND_LIMIT_S * 1_000));
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    runtime.stop(STOP).await?;
    let done = arena.count("SELECT count(*) FROM {schema}.pgflow_history WHERE status = 'done'").await?;
    if usize::try_from(done).ok() != Some(messages) {
        return Err(Error::state("bench throughput", format!("{done} of {messages} messages are done")));
    }
    Ok(seconds)
}

struct Nothing;

impl AnyHandler for Nothing {
    async fn handle(&mut self, _: &mut Context<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

/// Seconds until the plain table is empty.
async fn floor(arena: &Arena) -> Result<f64> {
    let sql = arena.sql(
        "WITH taken AS (DELETE FROM {schema}.raw WHERE ctid = ANY (ARRAY( \
           SELECT ctid FROM {schema}.raw ORDER BY seq LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING *) \
         INSERT INTO {schema}.raw_done SELECT * FROM taken",
    );
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..FLOOR_CONNECTIONS {
        clients.push(arena.plain().await?);
    }
    let begun = Instant::now();
    try_join_all(clients.iter().map(async |client| {
        let take = client.prepare(&sql).await.map_err(failed)?;
        while client.execute(&take, &[&FLOOR_BATCH]).await.map_err(failed)? > 0 {}
        Ok::<_, Error>(())
    }))
    .await?;
    Ok(begun.elapsed().as_secs_f64())
}
