//! Where the time of an idle message goes, from its publish to its handler's start, beside a bare program's: `cargo bench --bench
//! idle_path` on a durable Postgres of its own, or on the one that DATABASE_URL names (it must have no pgflow tables in `public`).
//!
//! The runtime's own trace events are the marks. Each span is a median, so that the spans do not add up to the whole by a little.

use std::{
    error::Error,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use pgflow::{AnyHandler, Config, Context, Failure, Message, Publisher, Queue, Runtime, devpg::DevPg};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, NoTls, types::ToSql};
use tracing_subscriber::{Layer, layer::SubscriberExt as _, registry::LookupSpan, util::SubscriberInitExt as _};

/// Turns, ours and the bare program's one after the other.
const ROUNDS: usize = 5;
/// Messages of a turn, of which the first few are not measured.
const MESSAGES: usize = 200;
const WARM_UP: usize = 10;
/// Between one message's start and the next publish.
const GAP: Duration = Duration::from_millis(20);

type Outcome<T> = Result<T, Box<dyn Error>>;

/// About 100 bytes.
#[derive(Serialize, Deserialize)]
struct Ball {
    text: String,
}

impl Message for Ball {
    const KIND: &'static str = "ball";
    const QUEUE: &'static str = "balls";
}

/// When each mark was passed, since it was last emptied.
#[derive(Clone, Default)]
struct Marks(Arc<Mutex<Vec<(&'static str, Instant)>>>);

impl Marks {
    fn pass(&self, mark: &'static str) {
        self.0.lock().expect("no panic").push((mark, Instant::now()));
    }

    /// The first time that a mark was passed.
    fn at(&self, mark: &str) -> Option<Instant> {
        self.0.lock().expect("no panic").iter().find(|(passed, _)| *passed == mark).map(|(_, at)| *at)
    }
}

/// Events of the runtime that are marks.
const EVENTS: [(&str, &str); 4] = [
    ("pgflow::publish", "published"),
    ("pgflow::wake", "announced"),
    ("pgflow::claim", "claim begins"),
    ("pgflow::claim", "claim answered"),
];

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Marks {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        /// Finds an event's text.
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let target = event.metadata().target();
        if EVENTS.iter().any(|(of, _)| *of == target) {
            let mut text = Text(String::new());
            event.record(&mut text);
            if let Some((_, mark)) = EVENTS.iter().find(|(of, mark)| *of == target && *mark == text.0) {
                self.pass(mark);
            }
        }
    }
}

/// Says that it was started.
struct Stamp {
    marks: Marks,
    started: mpsc::UnboundedSender<()>,
}

impl AnyHandler for Stamp {
    async fn handle(&mut self, _: &mut Context<'_>) -> Result<(), Failure> {
        self.marks.pass("started");
        let _ = self.started.send(());
        Ok(())
    }
}

/// Durations of each span, from the mark before to this one.
struct Spans {
    marks: &'static [&'static str],
    /// The last column is the whole.
    samples: Vec<Vec<Duration>>,
}

impl Spans {
    fn new(marks: &'static [&'static str]) -> Self {
        Self { marks, samples: vec![Vec::new(); marks.len()] }
    }

    /// One message's; none when a mark was not passed.
    fn add(&mut self, marks: &Marks) {
        let Some(at) = self.marks.iter().map(|mark| marks.at(mark)).collect::<Option<Vec<_>>>() else { return };
        for (n, pair) in at.windows(2).enumerate() {
            self.samples[n].push(pair[1].saturating_duration_since(pair[0]));
        }
        self.samples[at.len() - 1].push(at[at.len() - 1] - at[0]);
    }

    fn print(&mut self, whose: &str) {
        println!("{whose}, {} messages, medians in microseconds:", self.samples[0].len());
        for (n, samples) in self.samples.iter_mut().enumerate() {
            samples.sort();
            let median = samples.get(samples.len() / 2).copied().unwrap_or_default().as_micros();
            match (self.marks.get(n), self.marks.get(n + 1)) {
                (Some(from), Some(to)) => println!("  {from:>14} → {to:<16} {median:>6}"),
                _ => println!("  {:>14}   {:<16} {median:>6}", "", "all of it"),
            }
        }
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    // The harness of `cargo test --benches` only wants to know that it runs.
    let (rounds, messages) = if std::env::args().any(|arg| arg == "--bench") { (ROUNDS, MESSAGES) } else { (1, 20) };
    let server = match std::env::var("DATABASE_URL") {
        Ok(url) => Err(url),
        Err(_) => Ok(DevPg::builder().durable(true).start()?),
    };
    let url = server.as_ref().map_or_else(Clone::clone, DevPg::url);
    let marks = Marks::default();
    tracing_subscriber::registry().with(marks.clone()).init();
    pgflow::migrate::migrate(&mut pgflow::connect(&url, "idle_path").await?, "public").await?;

    let (started, mut starts) = mpsc::unbounded_channel();
    let stamp = {
        let marks = marks.clone();
        move || Stamp { marks: marks.clone(), started: started.clone() }
    };
    let queue = Queue::new("balls").workers(4);
    let runtime = Runtime::builder(Config::new(&url)).queue(queue).any_handler("balls", stamp).start().await?;
    // As of another process: the database alone tells.
    let publisher = Publisher::connect(&Config::new(&url)).await?;
    let mut bare = Bare::open(&url).await?;
    let mut own = Spans::new(&["called", "announced", "claim begins", "claim answered", "started"]);
    let mut commit = Spans::new(&["called", "published"]);
    let mut floor = Spans::new(&["called", "notified", "claimed"]);
    for _ in 0..rounds {
        for n in 0..messages {
            tokio::time::sleep(GAP).await;
            marks.0.lock().expect("no panic").clear();
            marks.pass("called");
            publisher.publish(&Ball { text: "x".repeat(90) }).await?;
            starts.recv().await;
            if n >= WARM_UP {
                own.add(&marks);
                commit.add(&marks);
            }
        }
        for n in 0..messages {
            tokio::time::sleep(GAP).await;
            marks.0.lock().expect("no panic").clear();
            bare.one(&marks).await?;
            if n >= WARM_UP {
                floor.add(&marks);
            }
        }
    }
    own.print("pgflow");
    commit.print("pgflow's publish");
    floor.print("bare tokio-postgres: INSERT with NOTIFY, LISTEN, claim");
    runtime.stop(Duration::from_secs(5)).await?;
    Ok(())
}

/// The unavoidable statements, on three connections, on a queue that nobody serves.
struct Bare {
    producer: Client,
    insert: tokio_postgres::Statement,
    claimer: Client,
    claim: tokio_postgres::Statement,
    queue: i32,
    lane: i32,
    notified: mpsc::UnboundedReceiver<()>,
    _listener: Client,
}

impl Bare {
    async fn open(url: &str) -> Outcome<Self> {
        let (notify, notified) = mpsc::unbounded_channel();
        let (listener, mut connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(async move {
            while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
                if matches!(message, AsyncMessage::Notification(_)) {
                    let _ = notify.send(());
                }
            }
        });
        listener.batch_execute("LISTEN bare").await?;
        let (producer, claimer) = (pgflow::connect(url, "bare").await?, pgflow::connect(url, "bare").await?);
        claimer.batch_execute("SET plan_cache_mode = force_generic_plan").await?;
        let queue: i32 = producer.query_one("SELECT pgflow_create_queue('bare')", &[]).await?.get(0);
        let lanes = "SELECT lane_id FROM pgflow_lanes WHERE queue_id = $1 AND class = 0";
        let lane: i32 = producer.query_one(lanes, &[&queue]).await?.get(0);
        producer.batch_execute("CREATE TABLE bare_ready (LIKE pgflow_ready INCLUDING ALL)").await?;
        let insert = "WITH i AS (INSERT INTO bare_ready (lane_id, kind, body) VALUES ($1, 'ball', $2) RETURNING seq) \
                      SELECT seq, pg_notify('bare', '') FROM i";
        let insert = producer.prepare(insert).await?;
        let claim = include_str!("../sql/queries/claim.sql").replace("{schema}.pgflow_ready", "bare_ready");
        let claim = claimer.prepare(&claim.replace("{schema}", "public")).await?;
        Ok(Self { producer, insert, claimer, claim, queue, lane, notified, _listener: listener })
    }

    async fn one(&mut self, marks: &Marks) -> Outcome<()> {
        let body = "x".repeat(100).into_bytes();
        marks.pass("called");
        let row: [&(dyn ToSql + Sync); 2] = [&self.lane, &body];
        let publish = self.producer.query_one(&self.insert, &row);
        let claim = async {
            self.notified.recv().await;
            marks.pass("notified");
            let (lanes, most, lows, nonce) =
                (vec![self.lane], vec![4_i32], vec![0_i64], rand::random_range(0..1_i64 << 62));
            let asked: [&(dyn ToSql + Sync); 8] = [&self.queue, &lanes, &most, &4_i32, &0_i32, &lows, &nonce, &false];
            let claimed = self.claimer.query(&self.claim, &asked).await;
            marks.pass("claimed");
            claimed
        };
        let (_, claimed) = tokio::try_join!(publish, claim)?;
        if claimed.len() == 1 { Ok(()) } else { Err("the bare claim did not find its row".into()) }
    }
}
