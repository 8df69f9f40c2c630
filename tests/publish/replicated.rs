//! `Ok` means: on the synchronous standby, too, where the server has one. Here it has one that never comes.
//!
//! A wait for it can be cancelled: the COMMIT then succeeds, with a warning. Who heard only the success would lose the message in the
//! next failover.

use std::time::Duration;

use pgflow::{
    Config, Durable, Publisher,
    devpg::{DevPg, StopMode},
};
use tokio_postgres::Client;

use crate::{
    Note, note,
    support::{connect, eventually, own_cluster, query_text},
};

const SOON: Duration = Duration::from_secs(20);
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";

/// A server whose commits wait for ever, a publisher that was connected before, and a client that looks.
struct Waiting {
    server: DevPg,
    publisher: Publisher,
    sql: Client,
}

impl Waiting {
    async fn new() -> Self {
        let server = own_cluster(true).await;
        let sql = connect(&server.url()).await;
        sql.batch_execute("SELECT pgflow_create_queue('notes')").await.unwrap();
        let publisher = Publisher::connect(&Config::new(server.url())).await.unwrap();
        sql.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await.unwrap();
        sql.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        let this = Self { server, publisher, sql };
        // In force for all once a commit waits.
        let other = connect(&this.server.url()).await;
        let probe = tokio::spawn(async move {
            loop {
                other.batch_execute("CREATE TABLE waits (); DROP TABLE waits").await.unwrap();
            }
        });
        this.waiting(1).await;
        probe.abort();
        this.end("pg_terminate_backend").await;
        this
    }

    async fn waiting(&self, n: usize) {
        eventually(SOON, || async { query_text(&self.sql, WAITING).await == [n.to_string()] }).await;
    }

    /// Ends the one wait that there is.
    async fn end(&self, how: &str) {
        query_text(&self.sql, &format!("SELECT {how}(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")).await;
        self.waiting(0).await;
    }

    /// The numbers of the notes that are there.
    async fn notes(&self) -> Vec<String> {
        query_text(&self.sql, "SELECT payload ->> 'n' FROM pgflow_messages ORDER BY id").await
    }

    async fn stop(self) {
        drop((self.sql, self.publisher));
        tokio::task::spawn_blocking(|| self.server.stop(StopMode::Immediate)).await.unwrap().unwrap();
    }
}

fn is_unknown(error: &pgflow::Error) -> bool {
    error.is_closed() && error.to_string().contains("outcome unknown")
}

/// Fear: an operator (or a driver's time-out) cancels the wait, the server says COMMIT, and a publish answers `Ok` for what only the
/// primary has; or ending the backend does so.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_was_ended_leaves_the_outcome_unknown() {
    let w = Waiting::new().await;
    for (n, how) in [(1, "pg_cancel_backend"), (2, "pg_terminate_backend")] {
        let publisher = w.publisher.clone();
        let sent = tokio::spawn(async move { publisher.publish(&Note { n }).await });
        w.waiting(1).await;
        w.end(how).await;
        let error = sent.await.unwrap().unwrap_err();
        assert!(is_unknown(&error), "{how}: {error}");
    }
    let publisher = w.publisher.clone();
    let sent = tokio::spawn(async move { publisher.publish_many(&[Note { n: 3 }, Note { n: 4 }]).await });
    w.waiting(1).await;
    w.end("pg_cancel_backend").await;
    let error = sent.await.unwrap().unwrap_err();
    assert!(is_unknown(&error), "a batch: {error}");
    assert_eq!(w.notes().await, ["1", "2", "3", "4"], "they are on the primary, where nobody may count on them");
    w.stop().await;
}

/// Fear: whoever publishes within his own transaction hears of nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_callers_commit_whose_wait_was_cancelled_fails() {
    let w = Waiting::new().await;
    let mut mine = pgflow::connect(&w.server.url(), "caller").await.unwrap();
    let publisher = w.publisher.clone();
    let done = tokio::spawn(async move {
        let tx = mine.transaction().await.unwrap();
        publisher.publish_in(&tx, &Note { n: 1 }).await.unwrap();
        tx.commit().await
    });
    w.waiting(1).await;
    w.end("pg_cancel_backend").await;
    assert!(done.await.unwrap().unwrap_err().is_closed());
    assert_eq!(w.notes().await, ["1"]);
    w.stop().await;
}

/// Fear: the repeat of an unknown publish finds its dedup key, writes nothing, waits for nobody, and answers `Ok` for a message that
/// only the primary has.
#[tokio::test(flavor = "multi_thread")]
async fn the_repeat_of_an_unknown_publish_waits_for_the_standby() {
    let w = Waiting::new().await;
    let send = || {
        let publisher = w.publisher.clone();
        tokio::spawn(async move { publisher.send(note(1).dedup_key("once")).await })
    };
    let first = send();
    w.waiting(1).await;
    w.end("pg_cancel_backend").await;
    assert!(is_unknown(&first.await.unwrap().unwrap_err()));
    let again = send();
    w.waiting(1).await;
    // The standby is no longer asked for.
    w.sql.batch_execute("ALTER SYSTEM RESET synchronous_standby_names").await.unwrap();
    w.sql.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let receipt = again.await.unwrap().unwrap();
    let ids = query_text(&w.sql, "SELECT id FROM pgflow_messages").await;
    assert_eq!(ids, [receipt.id().unwrap().to_string()], "one message, and the repeat answers its id");
    w.stop().await;
}

/// Fear: with a spool, the unknown message is forwarded a second time; or it counts as forwarded while only the primary has it.
#[tokio::test(flavor = "multi_thread")]
async fn the_spool_keeps_an_unknown_publish_until_the_standby_has_it() {
    let w = Waiting::new().await;
    let folder = w.server.root().with_extension("spool");
    let publisher = Publisher::connect(&Config::new(w.server.url()).spool_dir(&folder)).await.unwrap();
    let sent = tokio::spawn({
        let publisher = publisher.clone();
        async move { publisher.publish(&Note { n: 1 }).await }
    });
    w.waiting(1).await;
    w.end("pg_cancel_backend").await;
    let receipt = sent.await.unwrap().unwrap();
    assert!(matches!(receipt.durable, Durable::Spooled), "{receipt:?}");
    // The forwarder has found it, and may not say so yet.
    w.waiting(1).await;
    assert_eq!(publisher.spooled().unwrap().messages, 1);
    w.sql.batch_execute("ALTER SYSTEM RESET synchronous_standby_names").await.unwrap();
    w.sql.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    eventually(SOON, || async { publisher.spooled().unwrap().messages == 0 }).await;
    assert_eq!(w.notes().await, ["1"]);
    drop(publisher);
    w.stop().await;
    std::fs::remove_dir_all(folder).unwrap();
}
