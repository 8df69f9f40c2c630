//! Whoever uses pgflow: calls again what has failed, and after an unknown outcome looks before it publishes again.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

use pgflow::{Admin, Outgoing, Publisher};
use tokio_postgres::Client;

use crate::support::query_text;

/// Only a life that never comes to rest takes so long.
pub(crate) const SOON: Duration = Duration::from_secs(40);
/// What an error of publishing names.
pub(crate) const PUBLISHING: [&str; 6] = [
    "publish to \"life\"",
    "look up queue \"life\"",
    "find the lane of \"a\"",
    "publish a batch",
    "broadcast to \"life\"",
    "on \"life\"",
];
/// Between a failed call and the next.
const PAUSE: Duration = Duration::from_millis(50);

/// Calls until it works. Every error names what has failed.
pub(crate) async fn until_done<T, E: Display>(what: &[&str], mut call: impl AsyncFnMut() -> Result<T, E>) -> T {
    let limit = Instant::now() + SOON;
    loop {
        match call().await {
            Ok(done) => return done,
            Err(e) => complain(what, &e, limit).await,
        }
    }
}

/// Calls until it works, or has worked after all, as the database tells.
pub(crate) async fn until_so<T, E: Display>(
    what: &[&str],
    sql: &Client,
    so: &str,
    mut call: impl AsyncFnMut() -> Result<T, E>,
) {
    let limit = Instant::now() + SOON;
    while let Err(e) = call().await {
        complain(what, &e, limit).await;
        if query_text(sql, so).await == ["t"] {
            return;
        }
    }
}

async fn complain(what: &[&str], error: &impl Display, limit: Instant) {
    let text = error.to_string();
    println!("the user is told: {text}");
    let named = what.iter().chain(&["connect to"]).any(|name| text.contains(name));
    assert!(named, "an error that does not name what failed ({what:?}): {text}");
    assert!(Instant::now() < limit, "never done: {text}");
    tokio::time::sleep(PAUSE).await;
}

/// A producer without a dedup key.
pub(crate) struct Producer<'a> {
    pub(crate) admin: &'a Admin,
    /// Past the network that fails.
    pub(crate) sql: &'a Client,
}

impl Producer<'_> {
    /// Publishes one message, once.
    pub(crate) async fn publish(&self, publisher: &Publisher, out: Outgoing) {
        self.once(std::slice::from_ref(&out), async || publisher.send(out.clone()).await).await;
    }

    /// Publishes a batch, once.
    pub(crate) async fn publish_many(&self, publisher: &Publisher, batch: Vec<Outgoing>) {
        self.once(&batch, async || publisher.send_many(batch.clone()).await).await;
    }

    /// `call` until all of `batch` is published: an error that says so leaves it unknown, any other means that nothing was.
    pub(crate) async fn once<T, E: Display>(&self, batch: &[Outgoing], mut call: impl AsyncFnMut() -> Result<T, E>) {
        let limit = Instant::now() + SOON;
        while let Err(e) = call().await {
            complain(&PUBLISHING, &e, limit).await;
            let there = count(self.sql, batch).await;
            assert!(there == 0 || there == batch.len(), "a part of a batch: {there} of {}", batch.len());
            if e.to_string().contains("outcome unknown") {
                // As a user looks, who has no way to the tables.
                let found = until_so_told(self.admin, &batch[0]).await;
                assert_eq!(found, there > 0, "what the admin finds");
                if found {
                    return;
                }
            } else {
                assert_eq!(there, 0, "published, and the error does not say that this is unknown: {e}");
            }
        }
    }
}

/// How many of these messages are in the tables.
pub(crate) async fn count(sql: &Client, batch: &[Outgoing]) -> usize {
    let ids: Vec<String> = batch.iter().map(|out| format!("'{}'", out.message_id())).collect();
    let count = format!("SELECT count(*) FROM pgflow_messages WHERE message_id IN ({})", ids.join(", "));
    query_text(sql, &count).await[0].parse().expect("a number")
}

/// Whether the admin finds the message.
async fn until_so_told(admin: &Admin, out: &Outgoing) -> bool {
    until_done(&["trace", "find message"], async || match admin.trace_message_id(out.message_id()).await {
        Ok(_) => Ok(true),
        Err(e) if e.is_input() => Ok(false),
        Err(e) => Err(e),
    })
    .await
}
