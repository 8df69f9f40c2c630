//! Waiting messages, and their handling by nothing but claim and settle, ours and the floor's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;

use super::arena::{self, Arena, Ball, STOP};
use crate::{AnyHandler, Context, Error, Failure, Outgoing, Result, Runtime};

/// The floor's connections, and rows that each claims and settles at once.
const FLOOR_CONNECTIONS: usize = 2;
const FLOOR_BATCH: i32 = 256;
/// Workers that are shared out among many queues: each queue gets so many at least.
const QUEUE_WORKERS_MIN: usize = 4;
/// A turn that takes longer fails the measurement.
const TURN_LIMIT: Duration = Duration::from_secs(600);
/// Between two looks at whether all is done.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What waits, and who handles it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Instances, each with all the workers.
    pub(super) instances: usize,
    /// Queues among which the messages are spread evenly, and each instance's workers shared out.
    pub(super) queues: usize,
    /// Bytes of a message.
    pub(super) bytes: usize,
}

impl Shape {
    /// One instance, one queue, 100 bytes.
    pub(super) const PLAIN: Self = Self { instances: 1, queues: 1, bytes: 100 };

    /// Of so many workers of an instance, those of one queue.
    fn workers(&self, workers: usize) -> usize {
        workers.div_ceil(self.queues).max(QUEUE_WORKERS_MIN.min(workers))
    }
}

/// So many messages into the queues, and the same into the floor's: one is made here and copied on the server.
pub(super) async fn fill(arena: &Arena, shape: &Shape, messages: usize) -> Result<()> {
    let lanes = arena.queues(shape.queues).await?;
    arena.foreign_publisher(1).await?.send(Outgoing::new(&Ball::sized(0, shape.bytes))?).await?;
    let columns = "message_id, kind, version, codec, body, headers, source";
    let (own, floor, queues) = (array(&lanes.own), array(&lanes.floor), shape.queues);
    arena
        .run(&format!(
            "INSERT INTO {{schema}}.pgflow_ready (lane_id, {columns}) SELECT ({own})[1 + n % {queues}], {columns} \
             FROM {{schema}}.pgflow_ready, generate_series(1, {messages} - 1) n; \
             INSERT INTO {{floor}}.pgflow_ready (lane_id, {columns}) SELECT ({floor})[array_position({own}, lane_id)], {columns} \
             FROM {{schema}}.pgflow_ready ORDER BY seq"
        ))
        .await?;
    for table in ["{schema}.pgflow_ready", "{floor}.pgflow_ready"] {
        arena.run(&format!("VACUUM ANALYZE {table}")).await?;
    }
    arena.settle_down().await
}

fn array(lanes: &[i32]) -> String {
    let lanes: Vec<String> = lanes.iter().map(i32::to_string).collect();
    format!("ARRAY[{}]", lanes.join(", "))
}

/// Seconds from the instances' start until history holds all of these messages.
pub(super) async fn all(arena: &Arena, shape: &Shape, workers: usize, messages: usize) -> Result<f64> {
    let handled = Arc::new(AtomicUsize::new(0));
    let start = try_join_all((0..shape.instances).map(|number| {
        let handled = handled.clone();
        let build = move || Count { handled: handled.clone() };
        arena::serve(arena.instance(number), shape.queues, shape.workers(workers), build)
    }));
    until_done(arena, messages, &handled, start).await
}

/// Seconds from the start of these instances until history holds all of these messages; `handled` counts the handlers' calls.
pub(super) async fn until_done(
    arena: &Arena,
    messages: usize,
    handled: &AtomicUsize,
    start: impl Future<Output = Result<Vec<Runtime>>>,
) -> Result<f64> {
    let begun = Instant::now();
    let instances = start.await?;
    // Counting rows takes the server's time: not before all have been handled.
    let done = "SELECT count(*) FROM {schema}.pgflow_history WHERE status = 'done'";
    while handled.load(Ordering::Relaxed) < messages || usize::try_from(arena.count(done).await?).ok() != Some(messages)
    {
        look_again(begun).await?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    try_join_all(instances.into_iter().map(|instance| instance.stop(STOP))).await?;
    Ok(seconds)
}

/// Seconds for so many of the messages that wait in one queue, after the first.
pub(super) async fn first(arena: &Arena, workers: usize, messages: usize) -> Result<f64> {
    let handled = Arc::new(AtomicUsize::new(0));
    let instance = {
        let handled = handled.clone();
        arena.serve(workers, move || Count { handled: handled.clone() }).await?
    };
    let asked = Instant::now();
    while handled.load(Ordering::Relaxed) == 0 {
        look_again(asked).await?;
    }
    let (begun, before) = (Instant::now(), handled.load(Ordering::Relaxed));
    while handled.load(Ordering::Relaxed) < before + messages {
        look_again(asked).await?;
    }
    let (seconds, more) = (begun.elapsed().as_secs_f64(), handled.load(Ordering::Relaxed) - before);
    instance.stop(STOP).await?;
    Ok(seconds * messages as f64 / more as f64)
}

/// Seconds until the floor has claimed and settled so many of its messages, 256 at a time, out of all queues at once.
pub(super) async fn floor(arena: &Arena, shape: &Shape, messages: usize) -> Result<f64> {
    let (floor, taken, lanes) = (&arena.floor, AtomicUsize::new(0), arena.queues(shape.queues).await?);
    let mut connections = try_join_all((0..FLOOR_CONNECTIONS).map(|_| floor.connect(false))).await?;
    connections.iter_mut().for_each(|c| c.lanes = [&lanes.floor[..], &lanes.floor_low].concat());
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

/// Ours and the floor's of a round. Turns change places: what one leaves behind (autovacuum, cache) must not always meet the other.
pub(super) async fn by_turns(
    round: usize,
    own: impl AsyncFnOnce() -> Result<f64>,
    floor: impl AsyncFnOnce() -> Result<f64>,
) -> Result<(f64, f64)> {
    if round.is_multiple_of(2) {
        let own = own().await?;
        Ok((own, floor().await?))
    } else {
        let floor = floor().await?;
        Ok((own().await?, floor))
    }
}

async fn look_again(begun: Instant) -> Result<()> {
    if begun.elapsed() > TURN_LIMIT {
        return Err(Error::timeout("bench", 1_000 * TURN_LIMIT.as_secs()));
    }
    tokio::time::sleep(LOOK_EVERY).await;
    Ok(())
}

/// Does nothing but count.
pub(super) struct Count {
    pub(super) handled: Arc<AtomicUsize>,
}

impl AnyHandler for Count {
    async fn handle(&mut self, _: &mut Context<'_>) -> Result<(), Failure> {
        self.handled.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fear: a queue without workers, whose messages never end; or a bench of one worker that has four.
    #[test]
    fn queues_share_the_workers() {
        let each = |queues, workers| Shape { queues, ..Shape::PLAIN }.workers(workers);
        assert_eq!((each(1, 32), each(3, 32), each(100, 32), each(100, 2)), (32, 11, 4, 2));
    }
}
