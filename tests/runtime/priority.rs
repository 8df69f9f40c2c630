//! High first, low within its share.

use super::*;

/// Fear: a rollback waits behind a backlog whose handlers block every thread of the user's runtime.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn high_starts_though_every_worker_blocks_its_thread_and_thousands_wait() {
    let db = TestDb::new().await;
    let url = db.url();
    let client = db.client().await;
    client.batch_execute("CREATE TABLE fx (n bigint)").await.unwrap();
    let seen = Seen::new();
    // A two-thread runtime of its own, whose threads the handlers will block; the test keeps its own.
    let blocked = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let runtime = {
        let seen = seen.clone();
        let mut c = config(&url, "a");
        c.heartbeat_ms = 500;
        blocked.spawn(async move { probing(c, 4, &seen).await }).await.unwrap()
    };
    let backlog: Vec<Probe> = (0..20_000).map(|n| Probe::act(n, Act::Block)).collect();
    runtime.publisher().publish_many(&backlog).await.unwrap();
    eventually(SOON, || async { seen.running() >= 2 }).await;
    let before = seen.ended();
    // Its own transaction does not wait for them, either.
    let sent = runtime.publisher().send(Probe::act(-1, Act::Effect).out().priority(Priority::High));
    tokio::time::timeout(SOON, sent).await.expect("not on the blocked threads").unwrap();
    eventually(SOON, || async { seen.started(-1).is_some() }).await;
    assert_eq!(
        seen.ended.lock().unwrap().iter().filter(|(n, _)| *n >= 0).count(),
        before,
        "no blocked handler ended first"
    );
    // Neither did the control plane stop: the high one is settled while all others block.
    let done = || async {
        support::query_text(&client, "SELECT status FROM pgflow_messages WHERE priority = 10").await == ["done"]
    };
    eventually(SOON, done).await;
    let now = support::query_text(&client, "SELECT clock_timestamp()").await.remove(0);
    let beat = format!("SELECT 'x' FROM pgflow_instances WHERE heartbeat_at > '{now}'");
    eventually(SOON, || async { !support::query_text(&client, &beat).await.is_empty() }).await;
    assert_eq!(runtime.found_by_heartbeat(), 0, "the high one was woken for");
    seen.open();
    drop(runtime);
    blocked.shutdown_background();
}

/// Fear: a rollback waits for a connection, because settles that cannot go on hold all of them.
#[tokio::test(flavor = "multi_thread")]
async fn high_is_claimed_though_every_common_connection_is_busy() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let mut c = config(&db.url(), "a");
    c.control_connections = 2;
    let runtime = probing(c, 2, &seen).await;
    let (client, mut theirs) = (db.client().await, db.client().await);
    let tx = theirs.transaction().await.unwrap();
    tx.batch_execute("LOCK TABLE pgflow_history IN EXCLUSIVE MODE").await.unwrap();
    runtime.publisher().publish(&Probe::new(1)).await.unwrap();
    let busy = "SELECT 'x' FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pgflow control' \
                AND wait_event_type = 'Lock'";
    eventually(SOON, || async { support::query_text(&client, busy).await.len() == 1 }).await;
    runtime.publisher().send(Probe::new(2).out().priority(Priority::High)).await.unwrap();
    eventually(Duration::from_secs(8), || async { seen.started(2).is_some() }).await;
    tx.rollback().await.unwrap();
    eventually(SOON, || all(&client, "done", 2)).await;
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a rollback waits for a connection, because transactions of other handlers hold all of them.
#[tokio::test(flavor = "multi_thread")]
async fn high_has_its_transaction_though_other_handlers_hold_every_connection() {
    let db = TestDb::new().await;
    let client = db.client().await;
    client.batch_execute("CREATE TABLE fx (n bigint)").await.unwrap();
    let seen = Seen::new();
    let mut c = config(&db.url(), "a");
    c.handler_connections = 1;
    let runtime = probing(c, 2, &seen).await;
    runtime.publisher().publish(&Probe::act(1, Act::EffectThenWait)).await.unwrap();
    let held = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                AND application_name = 'pgflow handlers' AND state = 'idle in transaction' AND query LIKE 'INSERT%'";
    eventually(SOON, || async { support::query_text(&client, held).await == ["1"] }).await;
    runtime.publisher().send(Probe::act(2, Act::Effect).out().priority(Priority::High)).await.unwrap();
    // One try was enough: it would have failed after 5 s.
    let done = "SELECT status || ' ' || retry_count FROM pgflow_messages WHERE priority = 10";
    eventually(SOON, || async { support::query_text(&client, done).await == ["done 0"] }).await;
    seen.open();
    eventually(SOON, || all(&client, "done", 2)).await;
    runtime.stop(SOON).await.unwrap();
}

/// Fear: a high message takes a worker away from the rest though the one kept for it is idle.
#[tokio::test(flavor = "multi_thread")]
async fn high_leaves_the_other_workers_to_the_rest() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let runtime = probing(config(&db.url(), "a"), 1, &seen).await;
    runtime.publisher().send(Probe::act(1, Act::Wait).out().priority(Priority::High)).await.unwrap();
    eventually(SOON, || async { seen.running() == 1 }).await;
    runtime.publisher().publish(&Probe::new(2)).await.unwrap();
    eventually(SOON, || async { seen.started(2).is_some() }).await;
    seen.open();
    let client = db.client().await;
    eventually(SOON, || all(&client, "done", 2)).await;
    let events = support::query_text(&client, "SELECT event FROM pgflow_attempts").await;
    assert!(events.is_empty(), "nothing was claimed for a worker that was not there: {events:?}");
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a flood of normal messages starves low ones for ever.
#[tokio::test(flavor = "multi_thread")]
async fn low_gets_its_share_under_a_flood_of_normal() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let publisher = pgflow::Publisher::connect(&config(&db.url(), "p")).await.unwrap();
    db.client().await.batch_execute("SELECT pgflow_create_queue('probe')").await.unwrap();
    let normal: Vec<_> = (0..2_000).map(|n| Probe::new(n).out()).collect();
    let low: Vec<_> = (10_000..10_010).map(|n| Probe::new(n).out().priority(Priority::Low)).collect();
    publisher.send_many(low).await.unwrap();
    publisher.send_many(normal).await.unwrap();
    let runtime = probing_queue(config(&db.url(), "a"), Queue::new("probe").workers(2), &seen).await;
    let client = db.client().await;
    eventually(Duration::from_secs(60), || all(&client, "done", 2_010)).await;
    let ns = seen.ns();
    let last_low = ns.iter().rposition(|n| *n >= 10_000).unwrap();
    assert!(last_low < 1_500, "the last low message started as number {last_low} of 2,010");
    assert!(ns[0] < 10_000, "normal comes first");
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}
