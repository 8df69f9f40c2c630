//! How long a message of high priority takes to its start while everything else is busy.

use std::time::Duration;

use tokio::{sync::mpsc, task::JoinSet};

use super::{
    arena::{Arena, Ball},
    drain::{self, Shape},
    pace::{Raw, Start, paced},
    report::{Figure, Report, Round},
};
use crate::{AnyHandler, Context, Error, Failure, Priority, Publisher, Result};

/// Workers of the measured instance, besides the one for high.
const WORKERS: usize = 8;
/// Between two urgent messages.
const GAP: Duration = Duration::from_millis(20);

/// How [`priority`] measures.
#[derive(Clone, Debug)]
pub struct PriorityOptions {
    /// Rounds; in each, the floor, the idle instance and the busy one take their turn.
    pub rounds: usize,
    /// Urgent messages of a turn.
    pub samples: usize,
    /// Normal messages that wait when the busy turn begins.
    pub pending: usize,
    /// Connections that publish normal messages meanwhile, as fast as they can.
    pub publishers: usize,
    /// How long each handling of a normal message takes.
    pub handling: Duration,
}

impl Default for PriorityOptions {
    fn default() -> Self {
        Self { rounds: 3, samples: 200, pending: 1_000_000, publishers: 32, handling: Duration::from_millis(50) }
    }
}

/// Measures from an urgent message's publish to its handler's start.
///
/// `high_at_rest`: nothing else is there. `high_under_load`: so many normal messages wait, all workers are busy, and publishers send
/// more. The floor of both is that of [`super::latency`]; under load the same publishers send meanwhile, which the processors and the
/// log are shared with. `high_under_load_to_rest`: the busy instance beside the idle one of the same round, which stands in the
/// floor's place.
///
/// # Errors
/// When the database fails, or a message takes over 20 s.
pub async fn priority(url: &str, options: &PriorityOptions) -> Result<Report> {
    Arena::with(url, async |arena| measure(arena, options).await).await
}

async fn measure(arena: &Arena, options: &PriorityOptions) -> Result<Vec<Figure>> {
    let urgent = arena.foreign_publisher(1).await?;
    let normal = arena.foreign_publisher(options.publishers).await?;
    let (mut rest, mut load, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let floor = Raw::open(arena).await?.paced(options.samples, GAP).await?;
        let idle =
            served(arena, options, async |starts| paced(&urgent, starts, (options.samples, GAP), Priority::High).await)
                .await?;
        let mut raw = Raw::open(arena).await?;
        let busy_floor = flooded(&normal, options, raw.paced(options.samples, GAP)).await?;
        arena.empty().await?;
        drain::fill(arena, &Shape::PLAIN, options.pending).await?;
        let busy = served(arena, options, async |starts| {
            flooded(&normal, options, paced(&urgent, starts, (options.samples, GAP), Priority::High)).await
        })
        .await?;
        rest.push(Round::new(idle.from_call, floor.from_call));
        load.push(Round::new(busy.from_call, busy_floor.from_call));
        beside.push(Round::new(busy.from_call, idle.from_call));
        arena.empty().await?;
    }
    Ok(vec![
        Figure::new("high_at_rest", rest),
        Figure::new("high_under_load", load),
        Figure::new("high_under_load_to_rest", beside),
    ])
}

/// Measures while an instance serves the queue; then hands back what it was busy with.
async fn served<T>(
    arena: &Arena,
    options: &PriorityOptions,
    measure: impl AsyncFnOnce(&mut mpsc::UnboundedReceiver<Start>) -> Result<T>,
) -> Result<T> {
    let (started, mut starts) = mpsc::unbounded_channel();
    let handling = options.handling;
    let runtime = arena.serve(WORKERS, move || Busy { handling, started: started.clone() }).await?;
    let measured = measure(&mut starts).await;
    runtime.stop(Duration::ZERO).await?;
    measured
}

/// Says when an urgent message was started; takes its time for any other.
struct Busy {
    handling: Duration,
    started: mpsc::UnboundedSender<Start>,
}

impl AnyHandler for Busy {
    async fn handle(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        if cx.incoming().priority == Priority::High {
            // Nobody listens any more when the measurement is over.
            let _ = self.started.send(Start::now(cx)?);
        } else {
            tokio::time::sleep(self.handling).await;
        }
        Ok(())
    }
}

/// Measures while publishers send normal messages.
async fn flooded<T>(
    normal: &Publisher,
    options: &PriorityOptions,
    measure: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        measured = measure => measured,
        broken = flood(normal, options.publishers) => Err(broken),
    }
}

/// Publishes on all connections without a pause, until one fails. Each has a task of its own, as who publishes elsewhere would: in one
/// with the urgent message it would be that one's turn that is measured.
async fn flood(publisher: &Publisher, connections: usize) -> Error {
    let send = |publisher: Publisher| async move {
        loop {
            if let Err(broken) = publisher.publish(&Ball::new(0)).await {
                return broken;
            }
        }
    };
    let mut senders: JoinSet<Error> = (0..connections).map(|_| send(publisher.clone())).collect();
    match senders.join_next().await {
        Some(Ok(broken)) => broken,
        Some(Err(panicked)) => Error::state("bench priority: publish", panicked.to_string()),
        None => std::future::pending().await,
    }
}
