//! How long an idle instance takes from a publish to the first line of the handler.

use std::time::{Duration, Instant};

use tokio::{sync::mpsc, time::sleep};
use tokio_postgres::{AsyncMessage, Client};

use super::{
    arena::{Arena, Ball, STOP, failed},
    floor::{Floor, Prepared},
    report::{Amount, Figure, Report, Round},
};
use crate::{AnyHandler, Context, Error, Failure, Outgoing, Publisher, Result, connect::Target};

/// Unmeasured samples before each block.
const WARM_UP: usize = 5;
/// Workers of the measured instance, and rows that the floor's claim asks for.
const WORKERS: u8 = 4;
/// A sample that takes longer fails the measurement.
const SAMPLE_LIMIT: Duration = Duration::from_secs(20);
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
    let runtime = arena.serve(WORKERS.into(), move || Stamp { started: started.clone() }).await?;
    let nudged = runtime.publisher().clone();
    let foreign = arena.foreign_publisher(1).await?;
    let mut raw = Raw::open(arena).await?;
    let mut figures = Vec::new();
    for &gap in &options.gaps {
        let samples = if gap > LONG_GAP { options.samples.div_ceil(4) } else { options.samples };
        let mut rounds: [Vec<Round>; 4] = Default::default();
        for _ in 0..options.rounds {
            let floor = raw.block(samples, gap).await?;
            for (i, publisher) in [&nudged, &foreign].into_iter().enumerate() {
                let own = block(publisher, &mut starts, samples, gap).await?;
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

/// One turn's times.
struct Block {
    from_call: Amount,
    from_return: Amount,
}

/// Collects samples: call, return, and what was waited for.
struct Samples {
    from_call: Vec<i64>,
    from_return: Vec<i64>,
    skip: usize,
}

impl Samples {
    fn new(samples: usize) -> Self {
        Self { from_call: Vec::with_capacity(samples), from_return: Vec::with_capacity(samples), skip: WARM_UP }
    }

    fn add(&mut self, called: Instant, returned: Instant, started: Instant) {
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        self.from_call.push(micros(started, called));
        self.from_return.push(micros(started, returned));
    }

    fn end(self) -> Block {
        Block { from_call: Amount::time(self.from_call), from_return: Amount::time(self.from_return) }
    }
}

/// From one instant to a later, or perhaps an earlier, one.
fn micros(to: Instant, from: Instant) -> i64 {
    let us = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
    us(to.saturating_duration_since(from)) - us(from.saturating_duration_since(to))
}

async fn block(
    publisher: &Publisher,
    starts: &mut mpsc::UnboundedReceiver<Instant>,
    count: usize,
    gap: Duration,
) -> Result<Block> {
    let mut samples = Samples::new(count);
    for n in 0..count + WARM_UP {
        sleep(gap).await;
        let ball = Ball::new(n as u64);
        let called = Instant::now();
        let publish = async { publisher.publish(&ball).await.map(|_| Instant::now()) };
        let (returned, started) = tokio::try_join!(publish, limited("a handler's start", starts.recv()))?;
        samples.add(called, returned, started);
    }
    Ok(samples.end())
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

/// The floor's three connections.
struct Raw<'a> {
    floor: &'a Floor,
    producer: Prepared,
    claimer: Prepared,
    notified: mpsc::UnboundedReceiver<()>,
    _listener: Client,
}

impl<'a> Raw<'a> {
    async fn open(arena: &'a Arena) -> Result<Self> {
        let floor = &arena.floor;
        let (notify, notified) = mpsc::unbounded_channel();
        let on_message = move |message| {
            if matches!(message, AsyncMessage::Notification(_)) {
                let _ = notify.send(());
            }
        };
        let target = Target::parse(&arena.config.url)?;
        let handle = tokio::runtime::Handle::current();
        let listener = target.connect(&handle, "pgflow bench floor", on_message, |_| ()).await?;
        listener.batch_execute(&format!("LISTEN {}", floor.channel())).await.map_err(failed)?;
        let (producer, claimer) = (floor.connect(true).await?, floor.connect(false).await?);
        Ok(Self { floor, producer, claimer, notified, _listener: listener })
    }

    async fn block(&mut self, count: usize, gap: Duration) -> Result<Block> {
        let Self { floor, producer, claimer, notified, .. } = self;
        let mut samples = Samples::new(count);
        for n in 0..count + WARM_UP {
            sleep(gap).await;
            let ball = Ball::new(n as u64);
            let called = Instant::now();
            let publish = async {
                floor.insert(producer, &Outgoing::new(&ball)?).await?;
                Ok(Instant::now())
            };
            let claim = async {
                limited("a notification", notified.recv()).await?;
                let claimed = floor.claim(claimer, WORKERS.into()).await?;
                Ok::<_, Error>((Instant::now(), claimed))
            };
            let (returned, (done, claimed)) = tokio::try_join!(publish, claim)?;
            if claimed.0.len() != 1 {
                return Err(Error::state("bench latency", "the floor's claim did not find its row"));
            }
            samples.add(called, returned, done);
        }
        Ok(samples.end())
    }
}

async fn limited<T>(what: &str, wait: impl Future<Output = Option<T>>) -> Result<T> {
    match tokio::time::timeout(SAMPLE_LIMIT, wait).await {
        Ok(Some(value)) => Ok(value),
        _ => Err(Error::state("bench latency", format!("{what} did not come within {SAMPLE_LIMIT:?}"))),
    }
}
