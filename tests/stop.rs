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

/// Fear: when the runtime that handlers run on has been shut down, all that waits is claimed over and over, and loses its tries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_runtime_to_run_on_the_tree_ends_and_no_try_is_lost() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let theirs = tokio::runtime::Runtime::new().unwrap();
    let starts = {
        let (url, seen) = (db.url(), seen.clone());
        theirs.spawn(async move { probing(config(&url, "a"), 2, &seen).await })
    };
    let runtime = starts.await.unwrap();
    theirs.shutdown_background();
    let publisher = Publisher::connect(&Config::new(db.url())).await.unwrap();
    for n in 0..20 {
        publisher.publish(&Probe::new(n)).await.unwrap();
    }
    tokio::time::timeout(Duration::from_secs(30), runtime.ended()).await.expect("it comes to its end");
    drop(runtime);
    let sql = db.client().await;
    let second = probing(config(&db.url(), "b"), 2, &seen).await;
    let done = "SELECT count(*) || ' ' || max(retry_count) FROM pgflow_messages WHERE status = 'done'";
    eventually(Duration::from_secs(20), || async { query_text(&sql, done).await == ["20 0"] }).await;
    second.stop(Duration::from_secs(5)).await.unwrap();
}
