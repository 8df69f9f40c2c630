//! What a transaction that stays open costs: it keeps vacuum from removing what was handled since.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::{
    arena::{Arena, Ball, QUEUE, STOP, failed},
    drain::{self, Shape},
    pace::{Stamp, Start, limited, paced},
    report::{Amount, Figure, Report, Round},
    times::Times,
};
use crate::{Admin, Error, Outgoing, Priority, Result, Runtime, connect};

/// Messages that are published at once for the churn.
const CHURN_BATCH: usize = 50_000;
/// The floor handles at most so many: under the open transaction each of its claims walks over all that is gone.
const FLOOR_MESSAGES_MAX: usize = 10_000;
/// Messages published one by one, and the pause before each.
const PACED: (usize, Duration) = (100, Duration::from_millis(20));

/// How [`pinned`] measures.
#[derive(Clone, Debug)]
pub struct PinnedOptions {
    /// Rounds; in each, one turn without the open transaction and one with it.
    pub rounds: usize,
    /// Messages that are handled while the transaction is open, before the turn.
    pub churn: usize,
    /// Messages that are handled in a turn, at least 2.
    pub messages: usize,
    /// How many the instance handles at once.
    pub workers: usize,
}

impl Default for PinnedOptions {
    fn default() -> Self {
        Self { rounds: 3, churn: 200_000, messages: 50_000, workers: 32 }
    }
}

/// Measures an instance before and after it has handled many messages under a transaction that holds an old snapshot.
///
/// `drain_clean`, `drain_pinned`: the floor is that of [`super::throughput`], in the same state, with 10,000 messages at most; it claims
/// from each lane's start, as plain SQL does, so under the open transaction ours is faster. In the others what was measured without the
/// open transaction stands in the floor's place: `drain_pinned_to_clean`, `publish_to_start_pinned_to_clean` (one message at a time),
/// `first_start_pinned_to_clean` (from the start of another instance to the start of a message that waited for it).
///
/// # Errors
/// Fewer than 2 messages; when the database fails, or a message takes over 20 s.
pub async fn pinned(url: &str, options: &PinnedOptions) -> Result<Report> {
    if options.messages < 2 {
        return Err(Error::input("bench pinned", "the messages must be at least 2"));
    }
    Arena::with(url, async |arena| measure(url, arena, options).await).await
}

async fn measure(url: &str, arena: &Arena, options: &PinnedOptions) -> Result<Vec<Figure>> {
    let mut rounds: [Vec<Round>; 5] = Default::default();
    for _ in 0..options.rounds {
        let instance = Instance::start(arena, options.workers).await?;
        let (clean, mut instance) = turn(arena, instance, options).await?;
        let pin = connect(url, "pgflow bench pin").await?;
        // The first statement takes the snapshot.
        pin.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_xact_id()")
            .await
            .map_err(failed)?;
        churn(arena, &mut instance, options.churn).await?;
        let (pinned, instance) = turn(arena, instance, options).await?;
        drop(pin);
        instance.runtime.stop(STOP).await?;
        arena.empty().await?;
        let both = [
            clean.drain,
            pinned.drain,
            Round::new(pinned.drain.pgflow, clean.drain.pgflow),
            Round::new(pinned.paced, clean.paced),
            Round::new(pinned.first, clean.first),
        ];
        rounds.iter_mut().zip(both).for_each(|(rounds, round)| rounds.push(round));
    }
    let names = [
        "drain_clean",
        "drain_pinned",
        "drain_pinned_to_clean",
        "publish_to_start_pinned_to_clean",
        "first_start_pinned_to_clean",
    ];
    Ok(names.into_iter().zip(rounds).map(|(name, rounds)| Figure::new(name, rounds)).collect())
}

/// An instance, and what it has started.
struct Instance {
    runtime: Runtime,
    starts: UnboundedReceiver<Start>,
}

impl Instance {
    async fn start(arena: &Arena, workers: usize) -> Result<Self> {
        let (started, starts): (UnboundedSender<Start>, _) = mpsc::unbounded_channel();
        let runtime = arena.serve(workers, move || Stamp { started: started.clone() }).await?;
        Ok(Self { runtime, starts })
    }

    /// Waits for a handler to start.
    async fn started(&mut self) -> Result<Instant> {
        Ok(limited("a handler's start", self.starts.recv()).await?.at)
    }

    /// Waits for so many; seconds from the first of them to the last.
    async fn all(&mut self, messages: usize) -> Result<f64> {
        let first = self.started().await?;
        let mut last = first;
        for _ in 1..messages {
            last = last.max(self.started().await?);
        }
        Ok((last - first).as_secs_f64())
    }
}

struct Turn {
    drain: Round,
    paced: Amount,
    first: Amount,
}

/// Answers the instance that was started last.
async fn turn(arena: &Arena, mut instance: Instance, options: &PinnedOptions) -> Result<(Turn, Instance)> {
    let publisher = arena.foreign_publisher(1).await?;
    let paced = paced(&publisher, &mut instance.starts, PACED, Priority::Normal).await?.from_call;
    fill(arena, options.messages).await?;
    let own = Amount::rate(options.messages - 1, instance.all(options.messages).await?);
    let floor = options.messages.min(FLOOR_MESSAGES_MAX);
    let floor = Amount::rate(floor, drain::floor(arena, &Shape::PLAIN, floor).await?);
    arena.run("DELETE FROM {floor}.pgflow_ready").await?;

    instance.runtime.stop(STOP).await?;
    publisher.send(Outgoing::new(&Ball::new(0))?).await?;
    let (asked, mut times) = (Instant::now(), Times::new());
    let mut next = Instance::start(arena, options.workers).await?;
    times.add(asked, next.started().await?);
    Ok((Turn { drain: Round::new(own, floor), paced, first: times.amount() }, next))
}

/// Messages that are handled, and the floor's, which go unhandled.
async fn churn(arena: &Arena, instance: &mut Instance, messages: usize) -> Result<()> {
    for begun in (0..messages).step_by(CHURN_BATCH) {
        let batch = CHURN_BATCH.min(messages - begun);
        fill(arena, batch).await?;
        instance.all(batch).await?;
        arena.run("DELETE FROM {floor}.pgflow_ready").await?;
    }
    Ok(())
}

/// So many messages at once: the instance begins when all of them are there.
async fn fill(arena: &Arena, messages: usize) -> Result<()> {
    let admin = Admin::connect(&arena.config).await?;
    admin.pause_queue(QUEUE).await?;
    drain::fill(arena, &Shape::PLAIN, messages).await?;
    admin.resume_queue(QUEUE).await
}
