//! How many messages a second are published: one a transaction by many connections, and in bulk by one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;

use super::{
    arena::{Arena, Ball, STOP},
    end_to_end,
    floor::Prepared,
    report::{Amount, Figure, Report, Round},
};
use crate::{AnyHandler, Context, Error, Failure, Outgoing, Publisher, Result};

/// Workers of the instance that listens.
const WORKERS: usize = 4;
/// Messages of one bulk publish, and bulk publishes of one turn.
const BULK: usize = 10_000;
const BULKS: usize = 4;
/// How long the listening instance may take to be where a turn wants it.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// How [`publish`] measures.
#[derive(Clone, Debug)]
pub struct PublishOptions {
    /// Rounds; in each, the floor and ours take their turn.
    pub rounds: usize,
    /// Connections that publish at once.
    pub connections: usize,
    /// How long a turn of single publishes lasts.
    pub turn: Duration,
}

impl Default for PublishOptions {
    fn default() -> Self {
        Self { rounds: 4, connections: 32, turn: Duration::from_secs(2) }
    }
}

/// Measures publishing, one message a transaction on many connections, and in bulk by one.
///
/// `publish_saturated`: an instance listens whose workers are all busy, as under load. `publish_draining`: it handles what
/// comes, and takes its share of the machine for it. The floor of both: a prepared INSERT of the same row into a copy of
/// the table without triggers, by as many connections, nobody else at work. `publish_many`: batches of 10,000; the floor
/// is a binary COPY into that copy.
///
/// `end_to_end_to_alone`: two instances handle what comes; our own publishing with no instance at all, in the same round, stands in
/// the floor's place. `end_to_end_left_messages`: how many of its messages were not settled a second after the last publish, beside
/// how many were published: 0 when the instances keep up.
///
/// # Errors
/// When the database fails.
pub async fn publish(url: &str, options: &PublishOptions) -> Result<Report> {
    Arena::with(url, async |arena| measure(arena, options).await).await
}

async fn measure(arena: &Arena, options: &PublishOptions) -> Result<Vec<Figure>> {
    let publisher = arena.foreign_publisher(options.connections).await?;
    let plain = try_join_all((0..options.connections).map(|_| arena.floor.connect(false))).await?;
    let (mut saturated, mut draining, mut bulk) = (Vec::new(), Vec::new(), Vec::new());
    let (mut handled, mut left) = (Vec::new(), Vec::new());
    // The first round warms up and is not counted: connections, statements, files.
    for n in 0..=options.rounds {
        let turn = if n == 0 { options.turn / 4 } else { options.turn };
        let own = async || run(turn, (0..options.connections).map(|_| &publisher), one).await;
        let busy = serving(arena, true, own).await?.rate();
        let floor = run(turn, plain.iter(), async |c, ball| insert(arena, c, ball).await).await?.rate();
        let drained = serving(arena, false, own).await?.rate();
        let (many, copy) = (many(&publisher).await?, copy(arena, &plain[0]).await?);
        arena.empty().await?;
        let alone = own().await?.rate();
        let (sent, unsettled) = end_to_end::turn(arena, own).await?;
        if n > 0 {
            saturated.push(Round::new(busy, floor));
            draining.push(Round::new(drained, floor));
            bulk.push(Round::new(many, copy));
            handled.push(Round::new(sent.rate(), alone));
            left.push(Round::new(Amount::cost(unsettled as f64), Amount::cost(sent.messages as f64)));
        }
        arena.empty().await?;
    }
    Ok(vec![
        Figure::new("publish_saturated", saturated),
        Figure::new("publish_draining", draining),
        Figure::new("publish_many", bulk),
        Figure::new("end_to_end_to_alone", handled),
        Figure::new("end_to_end_left_messages", left),
    ])
}

async fn one(publisher: &Publisher, ball: Ball) -> Result<()> {
    publisher.publish(&ball).await.map(|_| ())
}

async fn insert(arena: &Arena, c: &Prepared, ball: Ball) -> Result<()> {
    arena.floor.insert(c, &Outgoing::new(&ball)?).await
}

/// What was sent, and how long that took.
struct Sent {
    messages: usize,
    seconds: f64,
}

impl Sent {
    fn rate(&self) -> Amount {
        Amount::rate(self.messages, self.seconds)
    }
}

/// Every sender sends one after the other until the time is over; the messages of all together.
async fn run<'a, S: 'a>(
    time: Duration,
    senders: impl Iterator<Item = &'a S>,
    send: impl AsyncFn(&'a S, Ball) -> Result<()>,
) -> Result<Sent> {
    let (sent, begun) = (AtomicU64::new(0), Instant::now());
    try_join_all(senders.map(async |sender| {
        while begun.elapsed() < time {
            send(sender, Ball::new(sent.fetch_add(1, Ordering::Relaxed))).await?;
        }
        Ok::<_, Error>(())
    }))
    .await?;
    Ok(Sent { messages: sent.into_inner() as usize, seconds: begun.elapsed().as_secs_f64() })
}

/// Measures while an instance serves the queue; busy: each of its workers is held by one message.
async fn serving(arena: &Arena, busy: bool, measure: impl AsyncFnOnce() -> Result<Sent>) -> Result<Sent> {
    let held = Arc::new(AtomicUsize::new(0));
    let runtime = {
        let held = held.clone();
        arena.serve(WORKERS, move || Holding { busy, held: held.clone() }).await?
    };
    if busy {
        let balls: Vec<Ball> = (0..WORKERS as u64).map(Ball::new).collect();
        runtime.publisher().publish_many(&balls).await?;
        let begun = Instant::now();
        while held.load(Ordering::Relaxed) < WORKERS {
            if begun.elapsed() > READY_LIMIT {
                return Err(Error::state("bench publish", "the workers did not start"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let measured = measure().await;
    // Those that are held are handed back when the grace is over.
    runtime.stop(if busy { Duration::ZERO } else { STOP }).await?;
    measured
}

/// Ends at once, or only when it is cut.
struct Holding {
    busy: bool,
    held: Arc<AtomicUsize>,
}

impl AnyHandler for Holding {
    async fn handle(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        self.held.fetch_add(1, Ordering::Relaxed);
        if self.busy {
            cx.cancelled().await;
        }
        Ok(())
    }
}

async fn many(publisher: &Publisher) -> Result<Amount> {
    let balls: Vec<Ball> = (0..BULK as u64).map(Ball::new).collect();
    let begun = Instant::now();
    for _ in 0..BULKS {
        publisher.publish_many(&balls).await?;
    }
    Ok(Amount::rate(BULK * BULKS, begun.elapsed().as_secs_f64()))
}

async fn copy(arena: &Arena, c: &Prepared) -> Result<Amount> {
    let balls: Vec<Ball> = (0..BULK as u64).map(Ball::new).collect();
    let begun = Instant::now();
    for _ in 0..BULKS {
        let out = balls.iter().map(Outgoing::new).collect::<Result<Vec<_>>>()?;
        arena.floor.copy(c, &out).await?;
    }
    Ok(Amount::rate(BULK * BULKS, begun.elapsed().as_secs_f64()))
}
