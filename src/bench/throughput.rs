//! How many waiting messages a second one instance handles, history kept.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;

use super::{
    arena::{Arena, Ball, STOP},
    report::{Amount, Figure, Report, Round},
};
use crate::{AnyHandler, Context, Error, Failure, Result};

/// The floor's connections, and rows that each claims and settles at once.
const FLOOR_CONNECTIONS: usize = 2;
const FLOOR_BATCH: i32 = 256;
/// A round that takes longer fails the measurement.
const ROUND_LIMIT: Duration = Duration::from_secs(600);
/// Between two looks at whether all is done.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How [`throughput`] measures.
#[derive(Clone, Debug)]
pub struct ThroughputOptions {
    /// Rounds of ours and of the floor's.
    pub rounds: usize,
    /// Messages that wait when a round begins.
    pub messages: usize,
    /// How many the instance handles at once.
    pub workers: usize,
}

impl Default for ThroughputOptions {
    fn default() -> Self {
        Self { rounds: 5, messages: 50_000, workers: 32 }
    }
}

/// Measures the draining of waiting messages by handlers that do nothing: from the start of the instance until the
/// database counts all of them as done. The floor: the same claim and settle statements on a copy of the tables, 256 rows
/// at a time, by two connections.
///
/// # Errors
/// When the database fails, or a round takes over ten minutes.
pub async fn throughput(url: &str, options: &ThroughputOptions) -> Result<Report> {
    Arena::with(url, async |arena| measure(arena, options).await).await
}

async fn measure(arena: &Arena, options: &ThroughputOptions) -> Result<Vec<Figure>> {
    let mut rounds = Vec::new();
    for n in 0..options.rounds {
        fill(arena, options.messages).await?;
        // Turns change places: what one leaves behind (autovacuum, cache) must not always meet the other.
        let (own, raw) = if n % 2 == 0 {
            let own = drain(arena, options).await?;
            (own, floor(arena).await?)
        } else {
            let raw = floor(arena).await?;
            (drain(arena, options).await?, raw)
        };
        let rate = |seconds| Amount::rate(options.messages, seconds);
        rounds.push(Round::new(rate(own), rate(raw)));
        arena.empty().await?;
    }
    Ok(vec![Figure::new("drain", rounds)])
}

/// The same messages into the queue and into the floor's.
async fn fill(arena: &Arena, messages: usize) -> Result<()> {
    let publisher = arena.foreign_publisher(1).await?;
    let balls: Vec<Ball> = (0..messages as u64).map(Ball::new).collect();
    for batch in balls.chunks(crate::publish::BATCH_MESSAGES_MAX / 2) {
        publisher.publish_many(batch).await?;
    }
    arena
        .run(
            "INSERT INTO {floor}.pgflow_ready (lane_id, message_id, kind, version, codec, body, headers, source) \
             SELECT lane_id, message_id, kind, version, codec, body, headers, source FROM {schema}.pgflow_ready ORDER BY seq",
        )
        .await?;
    for table in ["{schema}.pgflow_ready", "{floor}.pgflow_ready"] {
        arena.run(&format!("VACUUM ANALYZE {table}")).await?;
    }
    arena.settle_down().await
}

/// Seconds from the instance's start until history holds all of them.
async fn drain(arena: &Arena, options: &ThroughputOptions) -> Result<f64> {
    let handled = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let runtime = {
        let handled = handled.clone();
        arena.serve(options.workers, move || Nothing { handled: handled.clone() }).await?
    };
    // Counting rows takes the server's time: not before all have been handled.
    let done = "SELECT count(*) FROM {schema}.pgflow_history WHERE status = 'done'";
    while handled.load(Ordering::Relaxed) < options.messages
        || usize::try_from(arena.count(done).await?).ok() != Some(options.messages)
    {
        if begun.elapsed() > ROUND_LIMIT {
            return Err(Error::timeout("bench throughput", 1_000 * ROUND_LIMIT.as_secs()));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    runtime.stop(STOP).await?;
    Ok(seconds)
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

/// Seconds until the copy is drained.
async fn floor(arena: &Arena) -> Result<f64> {
    let floor = &arena.floor;
    let begun = Instant::now();
    try_join_all((0..FLOOR_CONNECTIONS).map(async |_| {
        let c = floor.connect(false).await?;
        loop {
            let claimed = floor.claim(&c, FLOOR_BATCH).await?;
            if claimed.0.is_empty() {
                return Ok::<_, Error>(());
            }
            floor.settle(&c, &claimed).await?;
        }
    }))
    .await?;
    Ok(begun.elapsed().as_secs_f64())
}
