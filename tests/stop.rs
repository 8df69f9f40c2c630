//! A stop leaves no message that nobody answers for.

mod support;

use std::time::Duration;

use pgflow::{Config, Publisher};
use support::{
    TestDb, eventually,
    probe::{Probe, Seen, config, probing},
    query_text,
};

/// Fear: a claim that is in flight during the stop takes a message after it, which then stays with a session that has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_in_flight_is_answered_before_the_stop_returns() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let runtime = probing(config(&db.url(), "a"), 1, &seen).await;
    let publisher = Publisher::connect(&Config::new(db.url())).await.unwrap();
    let (sql, mut theirs) = (db.client().await, db.client().await);
    let tx = theirs.transaction().await.unwrap();
    tx.batch_execute("LOCK TABLE pgflow_ready IN EXCLUSIVE MODE").await.unwrap();
    // Whoever hears of a changed queue looks at it: a claim, which waits for the table.
    query_text(&sql, "SELECT pg_notify('pgflow_' || space || '_ctl', '') FROM pgflow_meta").await;
    let waits = "SELECT DISTINCT 1 FROM pg_locks WHERE NOT granted AND relation = 'pgflow_ready'::regclass";
    eventually(Duration::from_secs(10), || async { query_text(&sql, waits).await == ["1"] }).await;
    publisher.publish_in(&tx, &Probe::new(1)).await.unwrap();

    let mut stop = tokio::spawn(runtime.stop(Duration::from_secs(5)));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut stop).await;
    assert!(early.is_err(), "the stop returned while a claim was in flight");
    tx.commit().await.unwrap();
    stop.await.unwrap().unwrap();
    let status = query_text(&sql, "SELECT status FROM pgflow_messages").await;
    assert!(status == ["done"] || status == ["pending"], "handled, or handed back: {status:?}");
}
