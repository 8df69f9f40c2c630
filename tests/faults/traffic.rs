//! What is sent and how it is handled: a mix drawn from the seed, the same for every fault.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use pgflow::{Config, Context, Failure, Handler, Message, Outgoing, Priority, Publisher, Queue};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};

use super::history::{Event, Journal};

/// The queue of most messages.
pub const LOAD: &str = "load";
/// One worker of one instance serves it: messages must start in the order of their publishing.
pub const FIFO: &str = "fifo";

/// What a handler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Nothing but time.
    Plain,
    /// Writes an effect through its transaction.
    Effect,
    /// Fails at its first try, then writes an effect.
    FailOnce,
    /// Is refused: a dead letter at once.
    Reject,
    /// Panics at every try.
    Panic,
    /// Never ends, at an await.
    Hang,
    /// Blocks its thread past its deadline.
    Spin,
    /// Ends its process.
    Abort,
}

/// A message of the traffic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Load {
    pub uid: i64,
    pub act: Act,
    /// How long its handler takes.
    pub hold_ms: u64,
    pub padding: String,
}

impl Load {
    pub fn new(uid: i64, act: Act, hold_ms: u64) -> Self {
        Self { uid, act, hold_ms, padding: String::new() }
    }
}

impl Message for Load {
    const KIND: &'static str = "load";
    const QUEUE: &'static str = LOAD;
}

/// The same, as the queue `fifo` takes it.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct InOrder(Load);

impl Message for InOrder {
    const KIND: &'static str = "load";
    const QUEUE: &'static str = FIFO;
}

/// Few and quick retries: a cell is over in seconds.
pub const RETRY_MS: u64 = 200;
pub const RETRY_MS_MAX: u64 = 400;
pub const RETRIES: u16 = 3;
/// A handler that hangs is cut then.
const DEADLINE: Duration = Duration::from_secs(2);

/// How an instance serves a queue of the traffic.
pub fn queue(name: &str, workers: usize) -> Queue {
    Queue::new(name)
        .workers(workers)
        .high_reserve(name != FIFO)
        .deadline(DEADLINE)
        .max_retries(RETRIES)
        .retry_delay(Duration::from_millis(RETRY_MS), Duration::from_millis(RETRY_MS_MAX))
}

/// Handles messages of `load`, and writes down that it did.
pub struct Worker(pub Journal);

impl Handler for Worker {
    type Message = Load;

    async fn handle(&mut self, m: Load, cx: &mut Context<'_>) -> Result<(), Failure> {
        self.obey(m, cx).await
    }
}

/// Handles messages of `fifo`.
pub struct FifoWorker(pub Worker);

impl Handler for FifoWorker {
    type Message = InOrder;

    async fn handle(&mut self, m: InOrder, cx: &mut Context<'_>) -> Result<(), Failure> {
        self.0.obey(m.0, cx).await
    }
}

impl Worker {
    async fn obey(&self, m: Load, cx: &Context<'_>) -> Result<(), Failure> {
        let run = rand::random::<i64>();
        let (uid, id, attempt) = (m.uid, cx.id(), cx.attempt());
        self.0.durable(Event::Start { uid, id, attempt, run }).await;
        match m.act {
            Act::FailOnce if attempt == 1 => return Err(Failure::retry("asked to fail")),
            Act::Reject => return Err(Failure::dead("asked to die")),
            Act::Panic => panic!("asked to panic"),
            Act::Hang => std::future::pending().await,
            Act::Spin => std::thread::sleep(DEADLINE + Duration::from_millis(500)),
            Act::Abort => std::process::abort(),
            Act::Plain => {}
            Act::Effect | Act::FailOnce => {
                let attempt = i32::try_from(attempt).expect("few tries");
                let sql = "INSERT INTO fx (uid, id, attempt, run, instance) VALUES ($1, $2, $3, $4, $5)";
                cx.transaction().await?.execute(sql, &[&uid, &id, &attempt, &run, &cx.instance()]).await?;
            }
        }
        // The effect is written and not committed: a fault in this time must take it back.
        tokio::time::sleep(Duration::from_millis(m.hold_ms)).await;
        self.0.note(Event::Finish { uid, run });
        Ok(())
    }
}

/// Publishers of one process.
pub struct Publishers {
    pub url: String,
    pub seed: u64,
    /// The first one's number, of which its uids are made.
    pub first: u32,
    pub tasks: u32,
    pub seconds: f64,
    pub think_ms: u64,
    pub spool: Option<PathBuf>,
}

/// How a message is published.
enum Way {
    Alone,
    /// With a dedup key, again and again until it is known to be there.
    Until,
    /// In a transaction that commits, or does not.
    Within {
        commit: bool,
    },
}

impl Publishers {
    /// Publishes until the time is over; every publish that was begun is in the history.
    pub async fn run(self, journal: &Journal) {
        let mut config = Config::new(&self.url).instance("publishers");
        config.handler_connections = usize::try_from(self.tasks).expect("few");
        config.spool_dir.clone_from(&self.spool);
        let publisher = Publisher::connect(&config).await.unwrap_or_else(|e| panic!("{e}"));
        let this = Arc::new(self);
        let tasks: Vec<_> = (this.first..this.first + this.tasks)
            .map(|task| tokio::spawn(this.clone().one(task, publisher.clone(), journal.clone())))
            .collect();
        for task in tasks {
            task.await.expect("a publisher does not panic");
        }
        while publisher.spooled().is_some_and(|spooled| spooled.messages > 0) {
            // One try; the forwarder says by itself why it fails.
            let _ = publisher.drain().await;
        }
    }

    async fn one(self: Arc<Self>, task: u32, publisher: Publisher, journal: Journal) {
        let mut rng = StdRng::seed_from_u64(self.seed.wrapping_add(u64::from(task)));
        let end = Instant::now() + Duration::from_secs_f64(self.seconds);
        let mut own = None;
        for n in 0_i64.. {
            if Instant::now() >= end {
                return;
            }
            let uid = (i64::from(task) + 1) * 1_000_000 + n;
            let (out, way, invoke) = draw(&mut rng, uid, task);
            // A transaction's message would overtake what is spooled.
            let way = if self.spool.is_some() && matches!(way, Way::Within { .. }) { Way::Alone } else { way };
            journal.durable(invoke).await;
            match way {
                Way::Alone => journal.note(outcome(uid, publisher.send(out).await)),
                Way::Until => until_known(&publisher, &journal, uid, &out).await,
                Way::Within { commit } => within(&self.url, &mut own, &publisher, &journal, uid, out, commit).await,
            }
            // Now and then long enough that workers fall asleep: then a wake has to reach them.
            let think =
                if rng.random_bool(0.03) { 250 } else { rng.random_range(self.think_ms / 2..=self.think_ms * 2) };
            tokio::time::sleep(Duration::from_millis(think)).await;
        }
    }
}

/// One message of the mix. Everything is drawn whatever is used, so that one seed is one traffic.
fn draw(rng: &mut StdRng, uid: i64, task: u32) -> (Outgoing, Way, Event) {
    let [what, how, urgent, key, delay] = std::array::from_fn(|_| rng.random_range(0..100_u32));
    let fifo = key >= 90;
    let act = match what {
        0..30 => Act::Plain,
        30..88 => Act::Effect,
        88..97 if !fifo => Act::FailOnce,
        97.. if !fifo => Act::Reject,
        _ => Act::Effect,
    };
    let priority = match urgent {
        0..10 => Priority::High,
        10..20 => Priority::Low,
        _ => Priority::Normal,
    };
    let mut message = Load::new(uid, act, rng.random_range(0..20));
    message.padding = "x".repeat(rng.random_range(0..300));
    let mut out = Outgoing::new(&message).expect("it encodes").priority(priority);
    let mut delay_ms = 0;
    let mut ordering = None;
    if fifo {
        out = out.queue(FIFO);
    } else if key < 25 {
        ordering = Some(format!("t{task}k{}", key % 3));
        out = out.ordering_key(ordering.clone().expect("just made"));
    } else if delay < 10 {
        delay_ms = u64::from(delay) * 80 + 40;
        out = out.delay(Duration::from_millis(delay_ms));
    }
    let way = match how {
        0..30 => Way::Until,
        30..40 => Way::Within { commit: true },
        40..45 => Way::Within { commit: false },
        _ => Way::Alone,
    };
    if matches!(way, Way::Until) {
        out = out.dedup_key(format!("u{uid}"));
    }
    let queue = if fifo { FIFO } else { LOAD }.to_owned();
    let invoke = Event::Invoke { uid, queue, priority: priority.class(), key: ordering, act, delay_ms };
    (out, way, invoke)
}

/// What an answer means. Input errors were refused before anything was written; of any other nobody knows.
pub fn outcome(uid: i64, answer: pgflow::Result<pgflow::Receipt>) -> Event {
    match answer {
        Ok(receipt) => receipt.id().map_or(Event::Spooled { uid }, |id| Event::Ok { uid, id }),
        Err(e) if e.is_input() || nowhere(&e.to_string()) => Event::Fail { uid, why: e.to_string() },
        Err(e) => Event::Info { uid, why: e.to_string() },
    }
}

/// What a spool without space says of a message that Postgres was never sent.
fn nowhere(error: &str) -> bool {
    error.contains("No space left") && !error.contains("outcome unknown")
}

/// The dedup key makes a repeat of an unknown publish safe: the outcome becomes known in the end.
async fn until_known(publisher: &Publisher, journal: &Journal, uid: i64, out: &Outgoing) {
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        let event = outcome(uid, publisher.send(out.clone()).await);
        let known = !matches!(event, Event::Info { .. });
        journal.note(event);
        if known || Instant::now() >= limit {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// As a user does it who publishes with his own rows.
async fn within(
    url: &str,
    own: &mut Option<tokio_postgres::Client>,
    publisher: &Publisher,
    journal: &Journal,
    uid: i64,
    out: Outgoing,
    commit: bool,
) {
    let mut client = match own.take().filter(|c| !c.is_closed()) {
        Some(client) => client,
        None => match pgflow::connect(url, "faults publisher").await {
            Ok(client) => client,
            Err(e) => return journal.note(Event::Fail { uid, why: e.to_string() }),
        },
    };
    let answer = async {
        let tx = client.transaction().await.map_err(|e| (false, e.to_string()))?;
        let receipt = publisher.send_in(&tx, out).await.map_err(|e| (false, e.to_string()))?;
        if !commit {
            return Err((false, "rolled back as asked".to_owned()));
        }
        // Only from here on may it be there.
        tx.commit().await.map_err(|e| (true, e.to_string()))?;
        Ok(receipt.id().expect("without a spool"))
    };
    journal.note(match answer.await {
        Ok(id) => Event::Ok { uid, id },
        Err((true, why)) => Event::Info { uid, why },
        Err((false, why)) => Event::Fail { uid, why },
    });
    *own = Some(client);
}
