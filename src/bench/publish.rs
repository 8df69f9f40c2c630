//! How many messages a second several connections publish, one message a transaction.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;

use super::{
    Figure, Report,
    arena::{Arena, Ball, failed},
    median,
};
use crate::{Publisher, Result};

/// Ours and the floor's take turns so often; the median counts.
const ROUNDS: usize = 3;
const FLOOR: &str = "a prepared INSERT of the same row into a table without triggers, on as many connections";

/// Measures with so many connections, each round for so long.
///
/// # Errors
/// When the database fails.
pub async fn publish(url: &str, connections: usize, round: Duration) -> Result<Report> {
    let mut arena = Arena::open(url).await?;
    arena.config.handler_connections = connections;
    let measured = measure(&arena, connections, round).await;
    arena.close().await?;
    measured
}

async fn measure(arena: &Arena, connections: usize, round: Duration) -> Result<Report> {
    let publisher = Publisher::connect(&arena.config).await?;
    let insert = arena.sql("INSERT INTO {schema}.raw (kind, body) VALUES ('ball', $1) RETURNING seq");
    let mut plain = Vec::with_capacity(connections);
    for _ in 0..connections {
        let client = arena.plain().await?;
        let insert = client.prepare(&insert).await.map_err(failed)?;
        plain.push((client, insert));
    }
    let (mut ours, mut floors) = (Vec::new(), Vec::new());
    // The first round warms up and is not counted.
    for n in 0..=ROUNDS {
        let rate = {
            let publish = async |ball: Ball| publisher.publish(&ball).await.map(|_| ());
            run(round, (0..connections).map(|_| &publish)).await?
        };
        let raw = {
            let inserts: Vec<_> = plain
                .iter()
                .map(|(client, insert)| {
                    async move |ball: Ball| client.query_one(insert, &[&ball.body()]).await.map(|_| ()).map_err(failed)
                })
                .collect();
            run(round, inserts.iter()).await?
        };
        if n > 0 {
            ours.push(rate);
            floors.push(raw);
        }
        arena.run("TRUNCATE {schema}.raw; TRUNCATE {schema}.pgflow_ready; CHECKPOINT").await?;
    }
    let setting = format!("{connections} connections, median of {ROUNDS} rounds of {round:?}");
    let mut report = arena.report("publish", setting, FLOOR).await?;
    report.figures.push(Figure::new("publish_rate", "msg/s", median(ours), median(floors)));
    Ok(report)
}

/// Every sender sends one after the other until the time is over; answers the rate of all together.
async fn run<'a, S>(time: Duration, senders: impl Iterator<Item = &'a S>) -> Result<f64>
where
    S: AsyncFn(Ball) -> Result<()> + 'a,
{
    let (sent, begun) = (AtomicU64::new(0), Instant::now());
    try_join_all(senders.map(async |send| {
        while begun.elapsed() < time {
            send(Ball::new(sent.fetch_add(1, Ordering::Relaxed))).await?;
        }
        Ok(())
    }))
    .await?;
    Ok(sent.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
}
