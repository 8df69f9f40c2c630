//! Where a measurement takes place: a schema with pgflow's tables for us, and a copy of them for the floor.

use std::time::Duration;

use rand::{RngExt as _, distr::Alphanumeric};
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::{
    floor::Floor,
    report::{Figure, Machine, Report},
};
use crate::{
    AnyHandler, Config, Error, Message, Publisher, Queue, Result, Runtime, connect,
    migrate::{self, render},
    store::Store,
};

/// The queue that is measured.
pub(super) const QUEUE: &str = "bench";
/// How long the end of a measured instance may take.
pub(super) const STOP: Duration = Duration::from_secs(10);

/// What a message's JSON has besides its text, about.
const FRAME_BYTES: usize = 20;

pub(super) const SCHEMA: &str = "pgflow_bench";
const FLOOR_SCHEMA: &str = "pgflow_bench_floor";
/// Set as the schemas' comment: what lacks it is not ours to drop.
const MARK: &str = "made by pgflow bench, may be dropped";

/// The message that is measured: about 100 bytes of JSON, unless a measurement wants more.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Ball {
    /// Its number, which its handler finds it by.
    pub(super) n: u64,
    text: String,
}

impl Message for Ball {
    const KIND: &'static str = "ball";
    const QUEUE: &'static str = QUEUE;
}

impl Ball {
    pub(super) fn new(n: u64) -> Self {
        Self { n, text: "x".repeat(100 - FRAME_BYTES) }
    }

    /// With about so many bytes, which the server cannot make fewer by compression.
    pub(super) fn sized(n: u64, bytes: usize) -> Self {
        let text = rand::rng().sample_iter(Alphanumeric).take(bytes.saturating_sub(FRAME_BYTES));
        Self { n, text: text.map(char::from).collect() }
    }
}

/// Both schemas, for as long as the measurement runs. Its connection holds the lock that keeps other benches out.
pub(super) struct Arena {
    pub(super) config: Config,
    pub(super) floor: Floor,
    client: Client,
}

impl Arena {
    /// Runs a measurement between making the schemas and dropping them.
    pub(super) async fn with(url: &str, measure: impl AsyncFnOnce(&Self) -> Result<Vec<Figure>>) -> Result<Report> {
        let arena = Self::open(url).await?;
        let figures = measure(&arena).await;
        let machine = Machine::ask(&arena.client).await;
        let dropped = drop_schemas(&arena.client).await;
        let report = Report { figures: figures?, machine: machine? };
        dropped.map(|()| report)
    }

    async fn open(url: &str) -> Result<Self> {
        let mut client = lock(url).await?;
        drop_schemas(&client).await?;
        for schema in [SCHEMA, FLOOR_SCHEMA] {
            let sql = format!("CREATE SCHEMA {schema}; COMMENT ON SCHEMA {schema} IS '{MARK}'");
            client.batch_execute(&sql).await.map_err(failed)?;
            migrate::migrate(&mut client, schema).await?;
            let sql = render("SELECT {schema}.pgflow_create_queue($1)", schema);
            client.execute(&sql, &[&QUEUE]).await.map_err(failed)?;
        }
        let floor = Floor::new(url, FLOOR_SCHEMA, &client).await?;
        Ok(Self { config: Config::new(url).schema(SCHEMA), floor, client })
    }

    /// Runs statements, [`filled`] in.
    pub(super) async fn run(&self, text: &str) -> Result<()> {
        self.client.batch_execute(&filled(text)).await.map_err(failed)
    }

    /// One number.
    pub(super) async fn count(&self, text: &str) -> Result<i64> {
        Ok(self.client.query_one(&filled(text), &[]).await.map_err(failed)?.get(0))
    }

    /// Empties what a round has filled, in both schemas. Nobody may be running.
    pub(super) async fn empty(&self) -> Result<()> {
        for table in ["ready", "active", "history"] {
            self.run(&format!("TRUNCATE {{schema}}.pgflow_{table}, {{floor}}.pgflow_{table}")).await?;
        }
        self.settle_down().await
    }

    /// So that no checkpoint falls into a measurement, where the account may ask for one.
    pub(super) async fn settle_down(&self) -> Result<()> {
        match self.run("CHECKPOINT").await {
            Err(e) if e.sqlstate() == Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE) => Ok(()),
            other => other,
        }
    }

    /// A publisher apart from any runtime: what it publishes is announced by the database alone.
    pub(super) async fn foreign_publisher(&self, connections: usize) -> Result<Publisher> {
        let mut config = self.config.clone();
        config.handler_connections = connections;
        Publisher::connect(&config).await
    }

    /// An instance that serves the measured queue with this handler.
    pub(super) async fn serve<H: AnyHandler>(
        &self,
        workers: usize,
        build: impl Fn() -> H + Clone + Send + Sync + 'static,
    ) -> Result<Runtime> {
        serve(self.config.clone(), 1, workers, build).await
    }

    /// Settings of one of several instances.
    pub(super) fn instance(&self, number: usize) -> Config {
        self.config.clone().instance(format!("bench {number}"))
    }

    /// Makes so many queues, in both schemas. Those that are there stay.
    pub(super) async fn queues(&self, count: usize) -> Result<Lanes> {
        let mut lanes = Lanes { own: Vec::new(), floor: Vec::new(), floor_low: Vec::new() };
        for n in 0..count {
            let name = queue_name(n);
            for (store, normal, low) in [
                (&Store::new(SCHEMA), &mut lanes.own, None),
                (&self.floor.store, &mut lanes.floor, Some(&mut lanes.floor_low)),
            ] {
                let sql = render("SELECT {schema}.pgflow_create_queue($1)", &store.schema);
                self.client.execute(&sql, &[&name]).await.map_err(failed)?;
                let row = self.client.query_one(&store.sql.find_queue, &[&name]).await.map_err(failed)?;
                normal.push(row.get(3));
                low.into_iter().for_each(|low: &mut Vec<i32>| low.push(row.get(4)));
            }
        }
        Ok(lanes)
    }
}

/// Where the messages of several queues lie, by the queue's number.
pub(super) struct Lanes {
    pub(super) own: Vec<i32>,
    pub(super) floor: Vec<i32>,
    /// The floor's for low ones.
    pub(super) floor_low: Vec<i32>,
}

/// The first is the one that is measured where there is only one.
fn queue_name(number: usize) -> String {
    if number == 0 { QUEUE.to_owned() } else { format!("{QUEUE}_{number}") }
}

/// An instance that serves so many queues with this handler, each by so many workers.
pub(super) async fn serve<H: AnyHandler>(
    config: Config,
    queues: usize,
    workers: usize,
    build: impl Fn() -> H + Clone + Send + Sync + 'static,
) -> Result<Runtime> {
    let builder = (0..queues).map(queue_name).fold(Runtime::builder(config), |builder, name| {
        builder.queue(Queue::new(&name).workers(workers)).any_handler(&name, build.clone())
    });
    builder.start().await
}

/// Removes what an interrupted measurement left behind.
///
/// # Errors
/// When a measurement is running, or the database fails.
pub async fn clear(url: &str) -> Result<()> {
    let client = lock(url).await?;
    drop_schemas(&client).await
}

/// A connection that keeps other benches out of this database until it is closed.
async fn lock(url: &str) -> Result<Client> {
    let client = connect(url, "pgflow bench").await?;
    // An interrupted bench's backends may take a moment to notice.
    let sql = format!("SET lock_timeout = '10s'; SELECT pg_advisory_lock({}, -1)", migrate::space(SCHEMA));
    client.batch_execute(&sql).await.map_err(|e| match e.code() {
        Some(code) if *code == tokio_postgres::error::SqlState::LOCK_NOT_AVAILABLE => {
            Error::state("bench", "another bench is running on this database")
        }
        _ => failed(e),
    })?;
    Ok(client)
}

async fn drop_schemas(client: &Client) -> Result<()> {
    for schema in [SCHEMA, FLOOR_SCHEMA] {
        let sql =
            "SELECT obj_description(oid, 'pg_namespace') IS NOT DISTINCT FROM $2 FROM pg_namespace WHERE nspname = $1";
        match client.query_opt(sql, &[&schema, &MARK]).await.map_err(failed)?.map(|row| row.get::<_, bool>(0)) {
            None => {}
            Some(true) => {
                client.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).await.map_err(failed)?;
            }
            Some(false) => {
                return Err(Error::state(
                    "bench",
                    format!("schema \"{schema}\" exists and is not of a bench's making"),
                ));
            }
        }
    }
    Ok(())
}

/// One of our statements, `{schema}` and `{floor}` filled in.
pub(super) fn filled(text: &str) -> String {
    render(&text.replace("{floor}", FLOOR_SCHEMA), SCHEMA)
}

pub(super) fn failed(e: tokio_postgres::Error) -> Error {
    Error::database("bench", e)
}
