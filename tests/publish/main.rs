//! Publishing: what is durable when, what is refused, and what a refusal leaves behind (nothing).

#[path = "../support/mod.rs"]
mod support;

mod batches;
mod broadcasts;
mod documented;
mod keyed;
mod refusals;
mod replicated;
mod rights;
mod transactions;

use pgflow::{Config, Message, Outgoing, Publisher};
use serde::{Deserialize, Serialize};
use support::{TestDb, query_text};
use tokio_postgres::Client;

/// The message of these tests.
#[derive(Serialize, Deserialize, Debug)]
struct Note {
    n: i64,
}

impl Message for Note {
    const KIND: &'static str = "note";
    const QUEUE: &'static str = "notes";
}

/// A database with the queue `notes`, a publisher and a client that looks.
struct Scene {
    db: TestDb,
    publisher: Publisher,
    sql: Client,
}

impl Scene {
    async fn new() -> Self {
        let db = TestDb::new().await;
        let publisher = Publisher::connect(&Config::new(db.url()).instance("tester")).await.expect("a publisher");
        let sql = db.client().await;
        sql.batch_execute("SELECT pgflow_create_queue('notes')").await.expect("a queue");
        Self { db, publisher, sql }
    }

    /// The statuses of all messages, oldest first, as `id:status`; and on the way: each message is in exactly one table.
    async fn statuses(&self) -> Vec<String> {
        let twice = query_text(&self.sql, "SELECT count(*) - count(DISTINCT id) FROM pgflow_messages").await;
        assert_eq!(twice, ["0"], "a message is in two tables");
        query_text(&self.sql, "SELECT id || ':' || status FROM pgflow_messages ORDER BY id").await
    }

    /// Only the statuses.
    async fn kinds_of_status(&self) -> Vec<String> {
        self.statuses().await.into_iter().map(|s| s.split(':').next_back().unwrap_or_default().to_owned()).collect()
    }

    /// Nothing in any table that a publish writes.
    async fn assert_nothing_left(&self) {
        assert_eq!(self.statuses().await, Vec::<String>::new());
        for table in ["pgflow_keys", "pgflow_dedup"] {
            assert_eq!(query_text(&self.sql, &format!("SELECT count(*) FROM {table}")).await, ["0"], "{table}");
        }
    }
}

/// A note with its addressing still open.
fn note(n: i64) -> Outgoing {
    Outgoing::new(&Note { n }).expect("it encodes")
}
