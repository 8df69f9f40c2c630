//! One message at a time: from its publish to its start, ours and the floor's.

use std::time::{Duration, Instant};

use tokio::{sync::mpsc, time::sleep};
use tokio_postgres::{AsyncMessage, Client};

use super::{
    arena::{Arena, Ball, failed},
    floor::{Floor, Prepared},
    report::Amount,
};
use crate::{Error, Outgoing, Priority, Publisher, Result, connect::Target};

/// Unmeasured samples before each turn.
const WARM_UP: usize = 5;
/// Rows that the floor's claim asks for.
const CLAIM: i32 = 4;
/// A sample that takes longer fails the measurement.
const SAMPLE_LIMIT: Duration = Duration::from_secs(20);

/// One turn's times.
pub(super) struct Turn {
    pub(super) from_call: Amount,
    pub(super) from_return: Amount,
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

    fn end(self) -> Turn {
        Turn { from_call: Amount::time(self.from_call), from_return: Amount::time(self.from_return) }
    }
}

/// From one instant to a later, or perhaps an earlier, one.
fn micros(to: Instant, from: Instant) -> i64 {
    let us = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
    us(to.saturating_duration_since(from)) - us(from.saturating_duration_since(to))
}

/// Publishes so many messages of this class, each so long after the one before was started; `starts` tells when.
pub(super) async fn paced(
    publisher: &Publisher,
    starts: &mut mpsc::UnboundedReceiver<Instant>,
    (count, gap): (usize, Duration),
    priority: Priority,
) -> Result<Turn> {
    let mut samples = Samples::new(count);
    for n in 0..count + WARM_UP {
        sleep(gap).await;
        let ball = Outgoing::new(&Ball::new(n as u64))?.priority(priority);
        let called = Instant::now();
        let publish = async { publisher.send(ball).await.map(|_| Instant::now()) };
        let (returned, started) = tokio::try_join!(publish, limited("a handler's start", starts.recv()))?;
        samples.add(called, returned, started);
    }
    Ok(samples.end())
}

/// The floor's three connections.
pub(super) struct Raw<'a> {
    floor: &'a Floor,
    producer: Prepared,
    claimer: Prepared,
    notified: mpsc::UnboundedReceiver<()>,
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

async fn limited<T>(what: &str, wait: impl Future<Output = Option<T>>) -> Result<T> {
    match tokio::time::timeout(SAMPLE_LIMIT, wait).await {
        Ok(Some(value)) => Ok(value),
        _ => Err(Error::state("bench", format!("{what} did not come within {SAMPLE_LIMIT:?}"))),
    }
}
