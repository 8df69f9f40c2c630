//! How long an idle instance takes from a publish to the first line of the handler.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{
    arena::{Arena, STOP},
    pace::{Raw, paced},
    report::{Figure, Report, Round},
};
use crate::{AnyHandler, Context, Failure, Priority, Result};

/// Workers of the measured instance.
const WORKERS: usize = 4;
/// Gaps above this get a quarter of the samples.
const LONG_GAP: Duration = Duration::from_millis(50);

/// How [`latency`] measures.
#[derive(Clone, Debug)]
pub struct LatencyOptions {
    /// Rounds; in each, the floor and both publishers take their turn.
    pub rounds: usize,
    /// Messages of a turn; a quarter of it for gaps above 50 ms.
    pub samples: usize,
    /// Pauses between one message's handling and the next publish.
    pub gaps: Vec<Duration>,
}

impl Default for LatencyOptions {
    fn default() -> Self {
        Self { rounds: 4, samples: 200, gaps: [5, 20, 200].map(Duration::from_millis).to_vec() }
    }
}

/// Measures from a publish to the handler's start, one message at a time, at several gaps.
///
/// `nudged` is the runtime's own publisher, which tells its dispatcher of the commit; `foreign` is one of another
/// process, whose message is announced by the database alone. `publish_to_start` begins with the call, `return_to_start`
/// with its return. The floor: INSERT of the same row with an unconditional NOTIFY, a connection that listens, and a
/// third one that runs the claim; it ends when the claim has returned.
///
/// # Errors
/// When the database fails, or a message takes over 20 s.
pub async fn latency(url: &str, options: &LatencyOptions) -> Result<Report> {
    Arena::with(url, async |arena| measure(arena, options).await).await
}

async fn measure(arena: &Arena, options: &LatencyOptions) -> Result<Vec<Figure>> {
    let (started, mut starts) = mpsc::unbounded_channel();
    let runtime = arena.serve(WORKERS, move || Stamp { started: started.clone() }).await?;
    let nudged = runtime.publisher().clone();
    let foreign = arena.foreign_publisher(1).await?;
    let mut raw = Raw::open(arena).await?;
    let mut figures = Vec::new();
    for &gap in &options.gaps {
        let samples = if gap > LONG_GAP { options.samples.div_ceil(4) } else { options.samples };
        let mut rounds: [Vec<Round>; 4] = Default::default();
        for _ in 0..options.rounds {
            let floor = raw.paced(samples, gap).await?;
            for (i, publisher) in [&nudged, &foreign].into_iter().enumerate() {
                let own = paced(publisher, &mut starts, (samples, gap), Priority::Normal).await?;
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
    runtime.stop(STOP).await?;
    Ok(figures)
}

/// Says when it was started.
struct Stamp {
    started: mpsc::UnboundedSender<Instant>,
}

impl AnyHandler for Stamp {
    async fn handle(&mut self, _: &mut Context<'_>) -> Result<(), Failure> {
        let _ = self.started.send(Instant::now());
        Ok(())
    }
}
