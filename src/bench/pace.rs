//! One message at a time: from its publish to its start, ours and the floor's.

use std::time::{Duration, Instant};

use tokio::{sync::mpsc, time::sleep};
use tokio_postgres::{AsyncMessage, Client};

use super::{
    arena::{Arena, Ball, failed},
    floor::{Floor, Prepared},
    report::Amount,
    times::Times,
};
use crate::{AnyHandler, Context, Error, Failure, Outgoing, Priority, Publisher, Result, connect::Target};

/// Unmeasured samples before each turn.
pub(super) const WARM_UP: usize = 5;
/// Rows that the floor's claim asks for.
pub(super) const CLAIM: i32 = 4;
/// A sample that takes longer fails the measurement.
const SAMPLE_LIMIT: Duration = Duration::from_secs(20);

/// A handler's start.
pub(super) struct Start {
    /// Its message's number.
    pub(super) n: u64,
    pub(super) at: Instant,
}

impl Start {
    /// Now, of the message that this handler was given.
    pub(super) fn now(cx: &Context<'_>) -> std::result::Result<Self, Failure> {
        let at = Instant::now();
        let ball: Ball = serde_json::from_slice(&cx.incoming().body)?;
        Ok(Self { n: ball.n, at })
    }
}

/// Says of each message when it was started.
pub(super) struct Stamp {
    pub(super) started: mpsc::UnboundedSender<Start>,
}

impl AnyHandler for Stamp {
    async fn handle(&mut self, cx: &mut Context<'_>) -> std::result::Result<(), Failure> {
        // Nobody listens any more when the measurement is over.
        let _ = self.started.send(Start::now(cx)?);
        Ok(())
    }
}

/// One turn's times.
pub(super) struct Turn {
    pub(super) from_call: Amount,
    pub(super) from_return: Amount,
}

/// Collects samples: call, return, and what was waited for.
struct Samples {
    from_call: Times,
    from_return: Times,
    skip: usize,
}

impl Samples {
    fn new() -> Self {
        Self { from_call: Times::new(), from_return: Times::new(), skip: WARM_UP }
    }

    fn add(&mut self, called: Instant, returned: Instant, started: Instant) {
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        self.from_call.add(called, started);
        self.from_return.add(returned, started);
    }

    fn end(self) -> Turn {
        Turn { from_call: self.from_call.amount(), from_return: self.from_return.amount() }
    }
}

/// Publishes so many messages of this class, each so long after the one before was started; `starts` tells when.
pub(super) async fn paced(
    publisher: &Publisher,
    starts: &mut mpsc::UnboundedReceiver<Start>,
    (count, gap): (usize, Duration),
    priority: Priority,
) -> Result<Turn> {
    let mut samples = Samples::new();
    for n in 0..count + WARM_UP {
        sleep(gap).await;
        let ball = Outgoing::new(&Ball::new(n as u64))?.priority(priority);
        let called = Instant::now();
        let publish = async { publisher.send(ball).await.map(|_| Instant::now()) };
        let (returned, started) = tokio::try_join!(publish, limited("a handler's start", starts.recv()))?;
        samples.add(called, returned, started.at);
    }
    Ok(samples.end())
}

/// The floor's three connections.
pub(super) struct Raw<'a> {
    pub(super) floor: &'a Floor,
    producer: Prepared,
    pub(super) claimer: Prepared,
    pub(super) notified: mpsc::UnboundedReceiver<()>,
    _listener: Client,
}

impl<'a> Raw<'a> {
    pub(super) async fn open(arena: &'a Arena) -> Result<Self> {
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

    pub(super) async fn paced(&mut self, count: usize, gap: Duration) -> Result<Turn> {
        let Self { floor, producer, claimer, notified, .. } = self;
        let mut samples = Samples::new();
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
                let claimed = floor.claim(claimer, CLAIM).await?;
                Ok::<_, Error>((Instant::now(), claimed))
            };
            let (returned, (done, claimed)) = tokio::try_join!(publish, claim)?;
            if claimed.0.len() != 1 {
                return Err(Error::state("bench", "the floor's claim did not find its row"));
            }
            samples.add(called, returned, done);
        }
        Ok(samples.end())
    }
}

/// What should come soon, or an error.
pub(super) async fn limited<T>(what: &str, wait: impl Future<Output = Option<T>>) -> Result<T> {
    match tokio::time::timeout(SAMPLE_LIMIT, wait).await {
        Ok(Some(value)) => Ok(value),
        _ => Err(Error::state("bench", format!("{what} did not come within {SAMPLE_LIMIT:?}"))),
    }
}
