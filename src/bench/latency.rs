//! How long an instance takes from a publish to the first line of the handler: idle, and at a rate of messages.

use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::sync::mpsc;

use super::{
    arena::{Arena, STOP},
    open_loop::{self, Schedule},
    pace::{Raw, Stamp, Start, paced},
    report::{Figure, Report, Round},
};
use crate::{Error, Priority, Publisher, Result};

/// Workers of the measured instance.
const WORKERS: usize = 4;
/// Gaps above this get a quarter of the samples.
const LONG_GAP: Duration = Duration::from_millis(50);
/// At the rate, a turn has so many times the samples: a tail of 1 in 100 needs them.
const RATE_SAMPLES: usize = 5;
/// Messages a second at which each finds the instance asleep again.
const IDLE_PER_S: u32 = 40;

/// How [`latency`] measures.
#[derive(Clone, Debug)]
pub struct LatencyOptions {
    /// Rounds; in each, the floor and both publishers take their turn.
    pub rounds: usize,
    /// Messages of a turn; a quarter of it for gaps above 50 ms.
    pub samples: usize,
    /// Pauses between one message's handling and the next publish.
    pub gaps: Vec<Duration>,
    /// Messages a second of the open loop, all publishers together, at least 1; five times as many samples.
    pub rate_per_s: u32,
    /// Publishers that take turns at it, each on a connection of its own, at least 1.
    pub publishers: usize,
}

impl Default for LatencyOptions {
    fn default() -> Self {
        let gaps = [5, 20, 200].map(Duration::from_millis).to_vec();
        Self { rounds: 4, samples: 200, gaps, rate_per_s: 200, publishers: 8 }
    }
}

/// Measures from a publish to the handler's start, one message at a time, at several gaps.
///
/// `nudged` is the runtime's own publisher, which tells its dispatcher of the commit; `foreign` is one of another
/// process, whose message is announced by the database alone. `publish_to_start` begins with the call, `return_to_start`
/// with its return. The floor: INSERT of the same row with an unconditional NOTIFY, a connection that listens, and a
/// third one that runs the claim; it ends when the claim has returned.
///
/// `scheduled_to_start_at_RATE_per_s`: an open loop. Each message is sent when it is due whatever became of those before it, and its
/// time begins then, not when its publisher got round to it; the first half second is not counted. Publishers are foreign. The
/// floor does the same at the same rate, and settles on a connection of its own. `…_to_idle`: the instance at 40 messages a
/// second from one publisher, measured alike, stands in the floor's place.
///
/// # Errors
/// A rate or a number of publishers of 0; when the database fails, or a message takes over 20 s.
pub async fn latency(url: &str, options: &LatencyOptions) -> Result<Report> {
    if options.rate_per_s == 0 || options.publishers == 0 {
        return Err(Error::input("bench latency", "rate and publishers must each be at least 1"));
    }
    Arena::with(url, async |arena| measure(arena, options).await).await
}

async fn measure(arena: &Arena, options: &LatencyOptions) -> Result<Vec<Figure>> {
    let (started, mut starts) = mpsc::unbounded_channel();
    let runtime = arena.serve(WORKERS, move || Stamp { started: started.clone() }).await?;
    let mut raw = Raw::open(arena).await?;
    let mut figures = at_gaps(arena, options, runtime.publisher(), &mut starts, &mut raw).await?;
    figures.extend(at_rate(arena, options, &mut starts, &mut raw).await?);
    runtime.stop(STOP).await?;
    Ok(figures)
}

/// One message at a time.
async fn at_gaps(
    arena: &Arena,
    options: &LatencyOptions,
    nudged: &Publisher,
    starts: &mut mpsc::UnboundedReceiver<Start>,
    raw: &mut Raw<'_>,
) -> Result<Vec<Figure>> {
    let foreign = arena.foreign_publisher(1).await?;
    let mut figures = Vec::new();
    for &gap in &options.gaps {
        let samples = if gap > LONG_GAP { options.samples.div_ceil(4) } else { options.samples };
        let mut rounds: [Vec<Round>; 4] = Default::default();
        for _ in 0..options.rounds {
            let floor = raw.paced(samples, gap).await?;
            for (i, publisher) in [nudged, &foreign].into_iter().enumerate() {
                let own = paced(publisher, starts, (samples, gap), Priority::Normal).await?;
                rounds[i].push(Round::new(own.from_call, floor.from_call));
                rounds[2 + i].push(Round::new(own.from_return, floor.from_return));
            }
        }
        let names = [
            "publish_to_start_nudged",
            "publish_to_start_foreign",
            "return_to_start_nudged",
            "return_to_start_foreign",
        ];
        for (name, rounds) in names.into_iter().zip(rounds) {
            figures.push(Figure::new(format!("{name}_gap_{}ms", gap.as_millis()), rounds));
        }
    }
    Ok(figures)
}

/// Messages when they are due.
async fn at_rate(
    arena: &Arena,
    options: &LatencyOptions,
    starts: &mut mpsc::UnboundedReceiver<Start>,
    raw: &mut Raw<'_>,
) -> Result<Vec<Figure>> {
    let publisher = arena.foreign_publisher(options.publishers).await?;
    let producers = try_join_all((0..options.publishers).map(|_| arena.floor.connect(true))).await?;
    let settler = arena.floor.connect(false).await?;
    let (mut beside_floor, mut beside_idle) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let idle = open_loop::own(Schedule::new(IDLE_PER_S, options.samples), &publisher, 1, starts).await?;
        let schedule = || Schedule::new(options.rate_per_s, RATE_SAMPLES * options.samples);
        let floor = open_loop::floor(schedule(), raw, &producers, &settler).await?;
        let own = open_loop::own(schedule(), &publisher, options.publishers, starts).await?;
        beside_floor.push(Round::new(own, floor));
        beside_idle.push(Round::new(own, idle));
    }
    let name = format!("scheduled_to_start_at_{}_per_s", options.rate_per_s);
    Ok(vec![Figure::new(&name, beside_floor), Figure::new(format!("{name}_to_idle"), beside_idle)])
}
