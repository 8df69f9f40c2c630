//! Waiting messages, and their handling by nothing but claim and settle, ours and the floor's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;

use super::arena::{Arena, Ball, STOP};
use crate::{AnyHandler, Context, Error, Failure, Result, Runtime};

/// The floor's connections, and rows that each claims and settles at once.
const FLOOR_CONNECTIONS: usize = 2;
const FLOOR_BATCH: i32 = 256;
/// A turn that takes longer fails the measurement.
const TURN_LIMIT: Duration = Duration::from_secs(600);
/// Between two looks at whether all is done.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// So many messages into the queue, and the same into the floor's: one is published and copied on the server.
pub(super) async fn fill(arena: &Arena, messages: usize) -> Result<()> {
    arena.foreign_publisher(1).await?.publish(&Ball::new(0)).await?;
    let columns = "lane_id, message_id, kind, version, codec, body, headers, source";
    arena
        .run(&format!(
            "INSERT INTO {{schema}}.pgflow_ready ({columns}) SELECT {columns} FROM {{schema}}.pgflow_ready, generate_series(2, {messages}); \
             INSERT INTO {{floor}}.pgflow_ready ({columns}) SELECT {columns} FROM {{schema}}.pgflow_ready ORDER BY seq"
        ))
        .await?;
    for table in ["{schema}.pgflow_ready", "{floor}.pgflow_ready"] {
        arena.run(&format!("VACUUM ANALYZE {table}")).await?;
    }
    arena.settle_down().await
}

/// Seconds from an instance's start until history holds all of these messages.
pub(super) async fn all(arena: &Arena, workers: usize, messages: usize) -> Result<f64> {
    let begun = Instant::now();
    let (runtime, handled) = serve(arena, workers).await?;
    // Counting rows takes the server's time: not before all have been handled.
    let done = "SELECT count(*) FROM {schema}.pgflow_history WHERE status = 'done'";
    while handled.load(Ordering::Relaxed) < messages || usize::try_from(arena.count(done).await?).ok() != Some(messages)
    {
        look_again(begun).await?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    runtime.stop(STOP).await?;
    Ok(seconds)
}

/// Seconds for so many of the messages that wait, after the first.
pub(super) async fn first(arena: &Arena, workers: usize, messages: usize) -> Result<f64> {
    let (runtime, handled) = serve(arena, workers).await?;
    let asked = Instant::now();
    while handled.load(Ordering::Relaxed) == 0 {
        look_again(asked).await?;
    }
    let (begun, before) = (Instant::now(), handled.load(Ordering::Relaxed));
    while handled.load(Ordering::Relaxed) < before + messages {
        look_again(asked).await?;
    }
    let (seconds, more) = (begun.elapsed().as_secs_f64(), handled.load(Ordering::Relaxed) - before);
    runtime.stop(STOP).await?;
    Ok(seconds * messages as f64 / more as f64)
}

/// Seconds until the floor has claimed and settled so many of its messages, 256 at a time.
pub(super) async fn floor(arena: &Arena, messages: usize) -> Result<f64> {
    let (floor, taken) = (&arena.floor, AtomicUsize::new(0));
    let connections = try_join_all((0..FLOOR_CONNECTIONS).map(|_| floor.connect(false))).await?;
    let begun = Instant::now();
    try_join_all(connections.iter().map(async |c| {
        while taken.load(Ordering::Relaxed) < messages {
            let claimed = floor.claim(c, FLOOR_BATCH).await?;
            if claimed.0.is_empty() {
                break;
            }
            floor.settle(c, &claimed).await?;
            taken.fetch_add(claimed.0.len(), Ordering::Relaxed);
        }
        Ok::<_, Error>(())
    }))
    .await?;
    Ok(begun.elapsed().as_secs_f64() * messages as f64 / taken.load(Ordering::Relaxed).max(1) as f64)
}

async fn look_again(begun: Instant) -> Result<()> {
    if begun.elapsed() > TURN_LIMIT {
        return Err(Error::timeout("bench", 1_000 * TURN_LIMIT.as_secs()));
    }
    tokio::time::sleep(LOOK_EVERY).await;
    Ok(())
}

/// An instance whose handlers do nothing but count.
async fn serve(arena: &Arena, workers: usize) -> Result<(Runtime, Arc<AtomicUsize>)> {
    let handled = Arc::new(AtomicUsize::new(0));
    let runtime = {
        let handled = handled.clone();
        arena.serve(workers, move || Nothing { handled: handled.clone() }).await?
    };
    Ok((runtime, handled))
}

struct Nothing {
    handled: Arc<AtomicUsize>,
}

impl AnyHandler for Nothing {
    async fn handle(&mut self, _: &mut Context<'_>) -> Result<(), Failure> {
        self.handled.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
