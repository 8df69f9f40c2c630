//! How long an idle instance takes from the start of a publish to the start of the handler.

use std::time::{Duration, Instant};

use tokio::{sync::mpsc, time::sleep};
use tokio_postgres::{AsyncMessage, Client};

use super::{
    Figure, Report,
    arena::{Arena, Ball, STOP, failed},
    percentile,
};
use crate::{AnyHandler, Context, Error, Failure, Publisher, Result, connect::Target};

/// Between two rounds, so that everybody sleeps when the next one begins.
const PAUSE: Duration = Duration::from_millis(30);
/// A round that takes longer is a lost wake-up.
const ROUND_LIMIT: Duration = Duration::from_secs(20);
/// Rounds that warm caches and statements up and are not counted.
const WARM_UP: usize = 10;
const FLOOR: &str = "INSERT with a NOTIFY trigger, LISTEN on another connection, DELETE … RETURNING of the row: no actor, no retry, no fence";

/// Measures so many rounds, each in turn with the floor's.
///
/// # Errors
/// When the database fails, or a round takes over 20 s.
pub async fn latency(url: &str, rounds: usize) -> Result<Report> {
    let arena = Arena::open(url).await?;
    let measured = measure(&arena, rounds).await;
    arena.close().await?;
    measured
}

async fn measure(arena: &Arena, rounds: usize) -> Result<Report> {
    let (started, mut starts) = mpsc::unbounded_channel();
    let runtime = arena.serve(4, move || Stamp { started: started.clone() }).await?;
    // A publisher of its own: the wake-up comes through the database, not from within the process.
    let publisher = Publisher::connect(&arena.config).await?;
    let mut floor = Floor::open(arena).await?;
    let (mut ours, mut floors) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
    for round in 0..rounds + WARM_UP {
        sleep(PAUSE).await;
        let begun = Instant::now();
        publisher.publish(&Ball::new(round as u64)).await?;
        let start = limited("a handler's start", starts.recv()).await?;
        let our = start.duration_since(begun);
        sleep(PAUSE).await;
        let begun = Instant::now();
        floor.round(&Ball::new(round as u64)).await?;
        let raw = begun.elapsed();
        if round >= WARM_UP {
            ours.push(our.as_secs_f64() * 1_000.0);
            floors.push(raw.as_secs_f64() * 1_000.0);
        }
    }
    runtime.stop(STOP).await?;
    ours.sort_by(f64::total_cmp);
    floors.sort_by(f64::total_cmp);
    let mut report =
        arena.report("latency", format!("{rounds} messages to an idle instance, one at a time"), FLOOR).await?;
    for (name, share) in [("start_p50", 0.5), ("start_p95", 0.95), ("start_p99", 0.99), ("start_max", 1.0)] {
        report.figures.push(Figure::new(name, "ms", percentile(&ours, share), percentile(&floors, share)));
    }
    Ok(report)
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

/// The same way in plain SQL.
struct Floor {
    producer: Client,
    consumer: Client,
    insert: tokio_postgres::Statement,
    take: tokio_postgres::Statement,
    notified: mpsc::UnboundedReceiver<()>,
}

impl Floor {
    async fn open(arena: &Arena) -> Result<Self> {
        arena
            .run(
                "CREATE FUNCTION {schema}.raw_notify() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_notify('raw_{space}', ''); RETURN NULL; END $$; \
                 CREATE TRIGGER raw_notify AFTER INSERT ON {schema}.raw FOR EACH ROW EXECUTE FUNCTION {schema}.raw_notify()",
            )
            .await?;
        let (notify, notified) = mpsc::unbounded_channel();
        let on_message = move |message| {
            if matches!(message, AsyncMessage::Notification(_)) {
                let _ = notify.send(());
            }
        };
        let target = Target::parse(&arena.config.url)?;
        let handle = tokio::runtime::Handle::current();
        let consumer = target.connect(&handle, "pgflow bench floor", on_message, |_| ()).await?;
        consumer.batch_execute(&arena.sql("LISTEN raw_{space}")).await.map_err(failed)?;
        let producer = arena.plain().await?;
        let insert = arena.sql("INSERT INTO {schema}.raw (kind, body) VALUES ('ball', $1)");
        let take = arena.sql(
            "DELETE FROM {schema}.raw WHERE seq = (SELECT seq FROM {schema}.raw ORDER BY seq LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING seq, body",
        );
        Ok(Self {
            insert: producer.prepare(&insert).await.map_err(failed)?,
            take: consumer.prepare(&take).await.map_err(failed)?,
            producer,
            consumer,
            notified,
        })
    }

    async fn round(&mut self, ball: &Ball) -> Result<()> {
        let Self { producer, consumer, insert, take, notified } = self;
        let publish = async { producer.execute(insert, &[&ball.body()]).await.map_err(failed) };
        let claim = async {
            limited("a notification", notified.recv()).await?;
            consumer.query_one(take, &[]).await.map_err(failed)
        };
        tokio::try_join!(publish, claim).map(|_| ())
    }
}

async fn limited<T>(what: &str, wait: impl Future<Output = Option<T>>) -> Result<T> {
    match tokio::time::timeout(ROUND_LIMIT, wait).await {
        Ok(Some(value)) => Ok(value),
        _ => Err(Error::state("bench latency", format!("{what} did not come within {ROUND_LIMIT:?}"))),
    }
}
