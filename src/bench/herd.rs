//! What a message costs when many instances sleep on its queue: who is woken, and who looks.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use tokio::sync::mpsc;

use super::{
    arena::{self, Arena, STOP},
    pace::{self, Stamp, paced},
    report::{Amount, Figure, Report, Round},
};
use crate::{Error, Priority, Result, Runtime};

/// Workers of each instance.
const WORKERS: usize = 4;
/// Instances that have counted nothing for so long are at rest.
const REST: Duration = Duration::from_millis(500);
/// How long they may take to come to rest.
const REST_LIMIT: Duration = Duration::from_secs(30);

/// How [`herd`] measures.
#[derive(Clone, Debug)]
pub struct HerdOptions {
    /// Rounds; in each, one instance and all of them take their turn.
    pub rounds: usize,
    /// Instances that sleep on the queue; each takes up to four connections.
    pub instances: usize,
    /// Messages of a turn.
    pub messages: usize,
    /// Pause between one message's start and the next publish.
    pub gap: Duration,
}

impl Default for HerdOptions {
    fn default() -> Self {
        Self { rounds: 3, instances: 50, messages: 200, gap: Duration::from_millis(20) }
    }
}

/// Measures one message at a time, published by another process, with many idle instances on its queue. One instance stands in the
/// floor's place: a ratio of 1 means that the others cost nothing.
///
/// `herd_wakes_per_message`: gates that a notification woke, as `pgflow_wakes_total` counts them. `herd_scans_per_message`: claim
/// statements, those that found nothing included. `herd_publish_to_start`: from the publish to the handler's start.
///
/// # Errors
/// No instances; when the database fails, has too few connections, or a message takes over 20 s.
pub async fn herd(url: &str, options: &HerdOptions) -> Result<Report> {
    if options.instances == 0 {
        return Err(Error::input("bench herd", "instances must be at least 1"));
    }
    Arena::with(url, async |arena| measure(arena, options).await).await
}

async fn measure(arena: &Arena, options: &HerdOptions) -> Result<Vec<Figure>> {
    let (mut wakes, mut scans, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let one = turn(arena, 1, options).await?;
        let many = turn(arena, options.instances, options).await?;
        wakes.push(Round::new(Amount::cost(many.wakes), Amount::cost(one.wakes)));
        scans.push(Round::new(Amount::cost(many.scans), Amount::cost(one.scans)));
        times.push(Round::new(many.time, one.time));
        arena.empty().await?;
    }
    Ok(vec![
        Figure::new("herd_wakes_per_message", wakes),
        Figure::new("herd_scans_per_message", scans),
        Figure::new("herd_publish_to_start", times),
    ])
}

/// What the messages of a turn took, the first two each.
struct Turn {
    wakes: f64,
    scans: f64,
    time: Amount,
}

async fn turn(arena: &Arena, instances: usize, options: &HerdOptions) -> Result<Turn> {
    let (started, mut starts) = mpsc::unbounded_channel();
    let instances = try_join_all((0..instances).map(|number| {
        let started = started.clone();
        let mut config = arena.instance(number);
        config.control_connections = 2;
        arena::serve(config, 1, WORKERS, move || Stamp { started: started.clone() })
    }));
    let instances = instances.await?;
    let publisher = arena.foreign_publisher(1).await?;
    let before = at_rest(&instances).await?;
    let paced = paced(&publisher, &mut starts, (options.messages, options.gap), Priority::Normal).await?;
    let after = at_rest(&instances).await?;
    try_join_all(instances.into_iter().map(|instance| instance.stop(STOP))).await?;
    let each = |count: u64| count as f64 / (options.messages + pace::WARM_UP) as f64;
    Ok(Turn { wakes: each(after.0 - before.0), scans: each(after.1 - before.1), time: paced.from_call })
}

/// Wakes and scans of all instances so far, once nothing happens any more.
async fn at_rest(instances: &[Runtime]) -> Result<(u64, u64)> {
    let counted = || {
        instances.iter().map(Runtime::counters).fold((0, 0), |(wakes, scans), counters| {
            (wakes + counters.wakes.load(Ordering::Relaxed), scans + counters.claims.load(Ordering::Relaxed))
        })
    };
    let (begun, mut last, mut since) = (Instant::now(), counted(), Instant::now());
    while since.elapsed() < REST {
        if begun.elapsed() > REST_LIMIT {
            return Err(Error::state("bench herd", "the instances do not come to rest: is somebody else publishing?"));
        }
        tokio::time::sleep(REST / 10).await;
        let now = counted();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    Ok(last)
}
