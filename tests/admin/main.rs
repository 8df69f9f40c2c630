//! What an operator sees and does: queues, dead letters, cancelling, traces.

#[path = "../support/mod.rs"]
mod support;

mod alerts;
mod explained;
mod letters;
mod messages;
mod queues;
mod traces;
mod undone;

use std::time::Duration;

use pgflow::{Admin, Config, Publisher, Queue};
use support::{TestDb, eventually, probe::config, query_text};
use tokio_postgres::Client;

const SOON: Duration = Duration::from_secs(20);

/// A database with the queue `probe`, an admin, a publisher and a client that looks.
struct Scene {
    db: TestDb,
    admin: Admin,
    publisher: Publisher,
    sql: Client,
}

impl Scene {
    async fn new() -> Self {
        let db = TestDb::new().await;
        let config = Config::new(db.url()).instance("operator");
        let admin = Admin::connect(&config).await.expect("an admin");
        let publisher = Publisher::connect(&config).await.expect("a publisher");
        let sql = db.client().await;
        admin.create_queue(Queue::new("probe")).await.expect("a queue");
        Self { db, admin, publisher, sql }
    }

    fn config(&self, instance: &str) -> Config {
        config(&self.db.url(), instance)
    }

    /// All messages as `n:status`, by n; and on the way: each is in exactly one table.
    async fn statuses(&self) -> Vec<String> {
        let twice = query_text(&self.sql, "SELECT count(*) - count(DISTINCT id) FROM pgflow_messages").await;
        assert_eq!(twice, ["0"], "a message is in two tables");
        let sql = "SELECT (payload->>'n') || ':' || status FROM pgflow_messages ORDER BY (payload->>'n')::int";
        query_text(&self.sql, sql).await
    }

    /// Waits until the messages are in these states.
    async fn until(&self, statuses: &[&str]) {
        let sql = "SELECT coalesce(string_agg((payload->>'n') || ':' || status, ' ' ORDER BY (payload->>'n')::int), '') \
                   FROM pgflow_messages";
        let wanted = statuses.join(" ");
        eventually(SOON, || async { query_text(&self.sql, sql).await == [wanted.clone()] }).await;
        assert_eq!(self.statuses().await, statuses);
    }

    async fn text(&self, sql: &str) -> Vec<String> {
        query_text(&self.sql, sql).await
    }
}
