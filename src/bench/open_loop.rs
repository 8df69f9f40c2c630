//! Messages at a fixed rate: each is sent when it is due, whatever became of those before it, and its time counts from then on.
//!
//! A program that waits for one message before it sends the next measures nothing while all is stuck (coordinated omission). Here
//! what comes late because its publisher was held up is late in the figure.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::sync::mpsc;

use super::{
    arena::Ball,
    floor::Prepared,
    pace::{CLAIM, Raw, Start, limited},
    report::Amount,
    times::Times,
};
use crate::{Error, Outgoing, Publisher, Result};

/// So much of a turn is not measured, and at least so many messages.
const WARM_UP: Duration = Duration::from_millis(500);
const WARM_UP_MESSAGES_MIN: usize = 5;

/// A turn: when each of its messages is due.
#[derive(Clone, Copy)]
pub(super) struct Schedule {
    begins: Instant,
    per_s: u32,
    warm_up: usize,
    messages: usize,
}

impl Schedule {
    /// Begins now; so many samples, the unmeasured messages not counted.
    pub(super) fn new(per_s: u32, samples: usize) -> Self {
        let warm_up = (WARM_UP.as_secs_f64() * f64::from(per_s)) as usize;
        let warm_up = warm_up.max(WARM_UP_MESSAGES_MIN);
        Self { begins: Instant::now(), per_s, warm_up, messages: warm_up + samples }
    }

    fn due(&self, n: u64) -> Instant {
        self.begins + Duration::from_secs_f64(n as f64 / f64::from(self.per_s))
    }

    /// Adds a message that was started, unless it belongs to the warm-up.
    fn add(&self, times: &mut Times, n: u64, started: Instant) {
        if n >= self.warm_up as u64 {
            times.add(self.due(n), started);
        }
    }

    /// Lets these senders send by turns, each message when it is due or, if its sender is still busy then, as soon as it can.
    async fn run<'a, S: 'a>(
        self,
        senders: impl Iterator<Item = &'a S>,
        send: impl AsyncFn(&'a S, Ball) -> Result<()>,
    ) -> Result<()> {
        let (due, senders): (Vec<_>, Vec<_>) = senders
            .map(|sender| {
                let (due, next) = mpsc::unbounded_channel();
                (due, (sender, next))
            })
            .unzip();
        // A thread of its own: tokio's timers come up to a millisecond late, which is half of what is measured.
        let clock = tokio::task::spawn_blocking(move || self.tell(&due));
        try_join_all(senders.into_iter().map(async |(sender, mut next)| {
            while let Some(n) = next.recv().await {
                send(sender, Ball::new(n)).await?;
            }
            Ok::<_, Error>(())
        }))
        .await?;
        clock.await.map_err(|e| Error::state("bench: the clock of a turn", e.to_string()))
    }

    /// Tells the senders by turns of each message, when it is due.
    fn tell(&self, senders: &[mpsc::UnboundedSender<u64>]) {
        for (n, sender) in (0..self.messages as u64).zip(senders.iter().cycle()) {
            std::thread::sleep(self.due(n).saturating_duration_since(Instant::now()));
            if sender.send(n).is_err() {
                // The measurement was given up.
                return;
            }
        }
    }
}

/// From when each message is due to its handler's start; so many publishes at once.
pub(super) async fn own(
    schedule: Schedule,
    publisher: &Publisher,
    publishers: usize,
    starts: &mut mpsc::UnboundedReceiver<Start>,
) -> Result<Amount> {
    let mut times = Times::new();
    let publish = schedule
        .run((0..publishers).map(|_| publisher), async |publisher, ball| publisher.publish(&ball).await.map(|_| ()));
    let starts = async {
        for _ in 0..schedule.messages {
            let start = limited("a handler's start", starts.recv()).await?;
            schedule.add(&mut times, start.n, start.at);
        }
        Ok(())
    };
    tokio::try_join!(publish, starts)?;
    Ok(times.amount())
}

/// From when each message is due to the return of the claim that found it; `producers` notify, `settler` settles.
pub(super) async fn floor(
    schedule: Schedule,
    raw: &mut Raw<'_>,
    producers: &[Prepared],
    settler: &Prepared,
) -> Result<Amount> {
    let (floor, claimer, notified) = (raw.floor, &raw.claimer, &mut raw.notified);
    let mut times = Times::new();
    let (claimed, mut to_settle) = mpsc::unbounded_channel();
    let publish =
        schedule.run(producers.iter(), async |producer, ball| floor.insert(producer, &Outgoing::new(&ball)?).await);
    let claims = async {
        // Moved in: when the claims are over, so are the settles.
        let claimed = claimed;
        let (mut told, mut found) = (0, 0);
        // Each message has a notification of its own: with the last of them, all are there.
        while told < schedule.messages {
            limited("a notification", notified.recv()).await?;
            told += 1;
            while notified.try_recv().is_ok() {
                told += 1;
            }
            loop {
                let (numbers, keys) = floor.claim_balls(claimer, CLAIM).await?;
                let at = Instant::now();
                numbers.iter().for_each(|n| schedule.add(&mut times, *n, at));
                found += numbers.len();
                let full = numbers.len() == CLAIM as usize;
                let _ = claimed.send(keys);
                if !full {
                    break;
                }
            }
        }
        if found < schedule.messages {
            return Err(Error::state("bench", "the floor's claims did not find all of its rows"));
        }
        Ok(())
    };
    let settles = async {
        while let Some(keys) = to_settle.recv().await {
            floor.settle(settler, &keys).await?;
        }
        Ok(())
    };
    tokio::try_join!(publish, claims, settles)?;
    Ok(times.amount())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fear: a publisher that is held up delays what comes after it, and the figure counts from then: coordinated omission.
    #[tokio::test]
    async fn what_is_sent_late_counts_from_when_it_was_due() {
        let schedule = Schedule { begins: Instant::now(), per_s: 1_000, warm_up: 1, messages: 4 };
        let (sent, mut sends) = mpsc::unbounded_channel();
        let hold_up = Duration::from_millis(50);
        // The only sender is stuck at the first message.
        let stuck = [sent];
        let run = schedule.run(stuck.iter(), async |sent, ball| {
            if ball.n == 0 {
                tokio::time::sleep(hold_up).await;
            }
            let _ = sent.send(Start { n: ball.n, at: Instant::now() });
            Ok(())
        });
        run.await.unwrap();
        let mut times = Times::new();
        let mut numbers = Vec::new();
        while let Ok(start) = sends.try_recv() {
            numbers.push(start.n);
            schedule.add(&mut times, start.n, start.at);
        }
        assert_eq!(numbers, [0, 1, 2, 3]);
        // The last of them was due 3 ms after the beginning; the first is warm-up and not counted.
        let Amount::Time { p50_us, p99_us } = times.amount() else { panic!("a time") };
        assert!(p50_us >= 46_000 && p99_us >= p50_us, "{p50_us} {p99_us}");
    }
}
