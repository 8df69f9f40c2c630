//! A system in this process: producers and worker of one program, on connections of their own.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use async_trait::async_trait;
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    peer::{About, Ball, Fill, Handled, Load, Peer, Sent},
    seen::Seen,
};

/// Messages before the first sample: connections, statements, files.
const WARM_UP: usize = 20;
/// A message that takes longer is taken for lost.
const LOST: Duration = Duration::from_secs(10);
/// Bytes of a message, unless a measurement wants more.
pub(crate) const BYTES: usize = 100;

/// What a system in Rust must be able to do.
pub(crate) trait System: 'static {
    /// A producer, with one connection of its own or a share of as many as there are producers.
    type Sender: Send + 'static;
    /// A running worker.
    type Worker;

    fn about() -> About;
    fn setup(url: &str) -> impl Future<Output = Result<()>>;
    fn senders(url: &str, number: usize) -> impl Future<Output = Result<Vec<Self::Sender>>>;
    /// One message, one transaction.
    fn send(sender: &mut Self::Sender, ball: Ball) -> impl Future<Output = Result<()>> + Send;
    fn send_many(sender: &mut Self::Sender, balls: Vec<Ball>) -> impl Future<Output = Result<()>>;
    fn close(senders: Vec<Self::Sender>) -> impl Future<Output = Result<()>>;
    /// Starts a worker whose handlers call [`Seen::start`] first and do nothing else.
    fn work(url: &str, load: Load, seen: Arc<Seen>) -> impl Future<Output = Result<Self::Worker>>;
    /// How many messages are not finished, where no SQL says it.
    fn unfinished(_url: &str) -> impl Future<Output = Result<i64>> {
        async { bail!("neither SQL nor the system says what is unfinished") }
    }
    /// Ends it, its last outcomes written, and closes its connections.
    fn stop(worker: Self::Worker) -> impl Future<Output = Result<()>>;
}

/// A system as a peer.
pub(crate) struct Local<S: System> {
    about: About,
    running: Option<(S::Worker, Arc<Seen>)>,
}

impl<S: System> Local<S> {
    pub(crate) fn boxed() -> Box<dyn Peer> {
        Box::new(Self { about: S::about(), running: None })
    }

    async fn one_sender(url: &str) -> Result<S::Sender> {
        S::senders(url, 1).await?.pop().ok_or_else(|| anyhow!("the system made no producer"))
    }
}

#[async_trait(?Send)]
impl<S: System> Peer for Local<S> {
    fn about(&self) -> &About {
        &self.about
    }

    async fn setup(&mut self, url: &str) -> Result<()> {
        S::setup(url).await.context("make its tables")
    }

    async fn latency(&mut self, url: &str, samples: usize, gap: Duration) -> Result<Vec<i64>> {
        let (seen, mut starts) = Seen::starts();
        let worker = S::work(url, Load::Idle, seen).await.context("start its worker")?;
        let mut sender = Self::one_sender(url).await.context("connect its producer")?;
        let measured = paced::<S>(&mut sender, &mut starts, samples, gap).await;
        S::close(vec![sender]).await?;
        S::stop(worker).await.context("stop its worker")?;
        measured
    }

    async fn fill(&mut self, url: &str, fill: Fill) -> Result<Sent> {
        let mut sender = Self::one_sender(url).await.context("connect its producer")?;
        let (mut sent, mut seconds) = (0, 0.0);
        while sent < fill.messages && seconds < fill.limit_s {
            let upto = fill.messages.min(sent + fill.batch.max(1));
            let balls: Vec<Ball> = (sent..upto).map(|n| Ball::new(n as u64, fill.bytes)).collect();
            // Making the messages is the program's work, not the system's.
            let begun = Instant::now();
            S::send_many(&mut sender, balls).await.context("enqueue in bulk")?;
            seconds += begun.elapsed().as_secs_f64();
            sent = upto;
        }
        S::close(vec![sender]).await?;
        Ok(Sent { messages: sent, seconds, handled: 0 })
    }

    async fn single(&mut self, url: &str, connections: usize, time: Duration) -> Result<Sent> {
        let seen = Seen::backlog(0);
        let worker = S::work(url, Load::Enqueue, seen.clone()).await.context("start its worker")?;
        let senders = S::senders(url, connections).await.context("connect its producers")?;
        let sent = at_once::<S>(senders, time).await;
        let handled = seen.handled().calls;
        S::stop(worker).await.context("stop its worker")?;
        sent.map(|sent| Sent { handled: handled.min(sent.messages), ..sent })
    }

    async fn start(&mut self, url: &str, messages: usize) -> Result<()> {
        let seen = Seen::backlog(messages);
        let worker = S::work(url, Load::Drain, seen.clone()).await.context("start its worker")?;
        self.running = Some((worker, seen));
        Ok(())
    }

    async fn handled(&mut self) -> Result<Handled> {
        Ok(self.running.as_ref().map(|(_, seen)| seen.handled()).unwrap_or_default())
    }

    async fn unfinished(&mut self, url: &str) -> Result<i64> {
        S::unfinished(url).await
    }

    async fn stop(&mut self) -> Result<()> {
        match self.running.take() {
            Some((worker, _)) => S::stop(worker).await.context("stop its worker"),
            None => Ok(()),
        }
    }
}

/// One message at a time, a pause after each one's start.
async fn paced<S: System>(
    sender: &mut S::Sender,
    starts: &mut mpsc::UnboundedReceiver<(u64, Instant)>,
    samples: usize,
    gap: Duration,
) -> Result<Vec<i64>> {
    let mut measured = Vec::with_capacity(samples);
    for n in 0..(WARM_UP + samples) as u64 {
        tokio::time::sleep(gap).await;
        let ball = Ball::new(n, BYTES);
        let begun = Instant::now();
        S::send(sender, ball).await.context("enqueue")?;
        let started = tokio::time::timeout(LOST, async {
            loop {
                match starts.recv().await {
                    Some((seen, at)) if seen == n => return Ok(at),
                    // One that came twice.
                    Some(_) => {}
                    None => bail!("the worker ended"),
                }
            }
        });
        let at = started.await.with_context(|| format!("message {n} was not handled within {LOST:?}"))??;
        if n >= WARM_UP as u64 {
            measured.push(i64::try_from(at.saturating_duration_since(begun).as_micros()).unwrap_or(i64::MAX));
        }
    }
    Ok(measured)
}

/// Every producer sends one message after the other until the time is over.
async fn at_once<S: System>(senders: Vec<S::Sender>, time: Duration) -> Result<Sent> {
    let next = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut producers = JoinSet::new();
    for mut sender in senders {
        let next = next.clone();
        producers.spawn(async move {
            let mut sent = 0;
            while begun.elapsed() < time {
                S::send(&mut sender, Ball::new(next.fetch_add(1, Ordering::Relaxed), BYTES)).await?;
                sent += 1;
            }
            Ok::<_, anyhow::Error>((sender, sent))
        });
    }
    let (mut senders, mut messages) = (Vec::new(), 0);
    while let Some(producer) = producers.join_next().await {
        let (sender, sent) = producer.context("a producer panicked")?.context("enqueue")?;
        senders.push(sender);
        messages += sent;
    }
    let seconds = begun.elapsed().as_secs_f64();
    S::close(senders).await?;
    Ok(Sent { messages, seconds, handled: 0 })
}
