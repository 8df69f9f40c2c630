//! Where a measurement takes place: a schema of its own with pgflow's tables and a plain one beside them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::Report;
use crate::{
    AnyHandler, Config, Error, Message, Queue, Result, Runtime, connect,
    migrate::{self, render},
};

/// The queue that is measured.
pub(super) const QUEUE: &str = "bench";

const PHASE: &str = "bench";

/// The message that is measured: about 100 bytes of JSON.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Ball {
    pub(super) n: u64,
    pub(super) text: String,
}

impl Message for Ball {
    const KIND: &'static str = "ball";
    const QUEUE: &'static str = QUEUE;
}

impl Ball {
    pub(super) fn new(n: u64) -> Self {
        Self { n, text: "x".repeat(80) }
    }

    pub(super) fn body(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The schema, for as long as the measurement runs.
pub(super) struct Arena {
    pub(super) config: Config,
    client: Client,
}

impl Arena {
    /// Makes it: pgflow's tables with one queue, and `raw`, a bare table of the same row.
    pub(super) async fn open(url: &str) -> Result<Self> {
        let config = Config::new(url).schema(format!("pgflow_bench_{}", std::process::id()));
        let mut client = connect(url, "pgflow bench").await?;
        migrate::migrate(&mut client, &config.schema).await?;
        let arena = Self { config, client };
        arena
            .run(
                "SELECT {schema}.pgflow_create_queue('bench'); \
                 CREATE TABLE {schema}.raw (seq bigint PRIMARY KEY DEFAULT nextval('{schema}.pgflow_seq'), kind text NOT NULL, \
                   body bytea NOT NULL, message_id uuid NOT NULL DEFAULT gen_random_uuid(), created_at timestamptz NOT NULL DEFAULT clock_timestamp()); \
                 CREATE TABLE {schema}.raw_done (LIKE {schema}.raw)",
            )
            .await?;
        Ok(arena)
    }

    /// Drops it.
    pub(super) async fn close(self) -> Result<()> {
        self.run("DROP SCHEMA {schema} CASCADE").await
    }

    /// SQL with the schema filled in.
    pub(super) fn sql(&self, text: &str) -> String {
        render(text, &self.config.schema)
    }

    /// Runs statements on the arena's own connection.
    pub(super) async fn run(&self, text: &str) -> Result<()> {
        self.client.batch_execute(&self.sql(text)).await.map_err(failed)
    }

    /// One number.
    pub(super) async fn count(&self, text: &str) -> Result<i64> {
        Ok(self.client.query_one(&self.sql(text), &[]).await.map_err(failed)?.get(0))
    }

    /// A plain connection, as a program without pgflow has one.
    pub(super) async fn plain(&self) -> Result<Client> {
        connect(&self.config.url, "pgflow bench floor").await
    }

    /// An instance that serves the queue with this handler.
    pub(super) async fn serve<H: AnyHandler>(
        &self,
        workers: usize,
        build: impl Fn() -> H + Send + Sync + 'static,
    ) -> Result<Runtime> {
        let queue = Queue::new(QUEUE).workers(workers);
        Runtime::builder(self.config.clone()).queue(queue).any_handler(QUEUE, build).start().await
    }

    /// The report's head.
    pub(super) async fn report(&self, bench: &'static str, setting: String, floor: &'static str) -> Result<Report> {
        let sql = "SELECT current_setting('server_version'), \
                   current_setting('synchronous_commit') <> 'off' AND current_setting('fsync') = 'on'";
        let row = self.client.query_one(sql, &[]).await.map_err(failed)?;
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        Ok(Report { bench, server: row.get(0), durable: row.get(1), build, setting, floor, figures: Vec::new() })
    }
}

pub(super) fn failed(e: tokio_postgres::Error) -> Error {
    Error::database(PHASE, e)
}

/// How long the end of a measured instance may take.
pub(super) const STOP: Duration = Duration::from_secs(10);
