//! What else must wake a runtime: due rows, a resume, plain SQL, a reconnect, a claim that failed.

use super::*;

/// Fear: a row that falls due before the next heartbeat waits for it, or one that falls due later is forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn delays_below_and_above_two_heartbeats_are_kept() {
    for (heartbeat_ms, delay_ms) in [(30_000, 150), (100, 700)] {
        let db = TestDb::new().await;
        let seen = Seen::new();
        let mut c = config(&db.url(), "a");
        c.heartbeat_ms = heartbeat_ms;
        let a = probing(c, 2, &seen).await;
        let b = probing(config(&db.url(), "b"), 2, &seen).await;
        eventually(SOON, || async { a.is_leader() || b.is_leader() }).await;
        for n in 0..5 {
            a.publisher().send(Probe::new(n).out().delay(Duration::from_millis(delay_ms))).await.unwrap();
        }
        let client = db.client().await;
        eventually(SOON, || done(&client, 5)).await;
        let sql =
            format!("SELECT id::text FROM pgflow_history WHERE claimed_at < created_at + interval '{delay_ms} ms'");
        assert!(query_text(&client, &sql).await.is_empty(), "started before its time");
        no_wake_lost(&[&a, &b], false);
        a.stop(SOON).await.unwrap();
        b.stop(SOON).await.unwrap();
    }
}

/// Fear: a leader that was refused for a silent publisher's sake sleeps on what it scheduled until the next heartbeat.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_scheduled_before_there_was_a_leader_is_not_late() {
    let db = TestDb::new().await;
    let (client, open) = (db.client().await, db.client().await);
    let admin = pgflow::Admin::connect(&config(&db.url(), "operator")).await.unwrap();
    admin.create_queue(Queue::new("probe")).await.unwrap();
    let publish =
        r#"BEGIN; SELECT pgflow_publish('probe', '{"n":1,"act":"Done","key":null}', 'probe', delay => '10 ms')"#;
    open.batch_execute(publish).await.unwrap();
    let seen = Seen::new();
    let a = probing(config(&db.url(), "a"), 1, &seen).await;
    eventually(SOON, || async { a.is_leader() && sentinel(&client, "a", None).await }).await;
    open.batch_execute("COMMIT").await.unwrap();
    eventually(SOON, || async { seen.started(1).is_some() }).await;
    a.stop(SOON).await.unwrap();
}

/// Fear: a paused queue is served, or a resumed one sleeps on.
#[tokio::test(flavor = "multi_thread")]
async fn pause_holds_and_resume_wakes() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let a = probing(config(&db.url(), "a"), 2, &seen).await;
    let client = db.client().await;
    let pause = async |paused: bool| {
        let sql = format!(
            "UPDATE pgflow_queues SET paused = {paused}; SELECT pg_notify('pgflow_' || space || '_ctl', '') FROM pgflow_meta"
        );
        client.batch_execute(&sql).await.unwrap();
    };
    for round in 0..5 {
        pause(true).await;
        for n in 0..20 {
            a.publisher().publish(&Probe::new(round * 100 + n)).await.unwrap();
        }
        assert_eq!(seen.count() as i64, round * 20, "a paused queue was served");
        pause(false).await;
        eventually(SOON, || async { seen.count() as i64 == (round + 1) * 20 }).await;
    }
    no_wake_lost(&[&a], false);
    a.stop(SOON).await.unwrap();
}

/// Fear: rows that were looked for in vain during a pause are slept upon after it, when its beginning was never noticed.
#[tokio::test(flavor = "multi_thread")]
async fn a_resume_looks_again_though_the_pause_went_unnoticed() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let a = probing(config(&db.url(), "a"), 2, &seen).await;
    let client = db.client().await;
    eventually(SOON, || sentinel(&client, "a", None)).await;
    client.batch_execute("UPDATE pgflow_queues SET paused = true").await.unwrap();
    let looked = "SELECT 'x' FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle' AND query LIKE '-- Claims %' \
                  AND query_start > (SELECT max(created_at) FROM pgflow_ready)";
    let looked = || eventually(SOON, || async { !query_text(&client, looked).await.is_empty() });
    let mut n = 0;
    // Another statement may have taken the claim's place in the view before we look: then once more.
    loop {
        n += 1;
        assert!(n < 20, "nobody looks");
        let publish = format!(r#"SELECT pgflow_publish('probe', '{{"n":{n},"act":"Done","key":null}}', 'probe')"#);
        client.batch_execute(&publish).await.unwrap();
        if tokio::time::timeout(Duration::from_secs(1), looked()).await.is_ok() {
            break;
        }
    }
    let admin = pgflow::Admin::connect(&config(&db.url(), "operator")).await.unwrap();
    admin.resume_queue("probe").await.unwrap();
    eventually(SOON, || async { seen.started(n).is_some() }).await;
    no_wake_lost(&[&a], false);
    a.stop(SOON).await.unwrap();
}

/// Fear: a plain SQL client's INSERT or function call wakes nobody.
#[tokio::test(flavor = "multi_thread")]
async fn plain_sql_wakes_an_idle_runtime() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let a = probing(config(&db.url(), "a"), 2, &seen).await;
    let client = db.client().await;
    for n in 0..30 {
        let body = format!(r#"{{"n":{n},"act":"Done","key":null,"type":"probe"}}"#);
        let sql = if n % 2 == 0 {
            format!("SELECT pgflow_publish('probe', '{body}')")
        } else {
            format!("INSERT INTO pgflow_messages (queue_name, kind, payload) VALUES ('probe', 'probe', '{body}')")
        };
        client.batch_execute(&sql).await.unwrap();
        eventually(SOON, || async { seen.started(n).is_some() }).await;
    }
    no_wake_lost(&[&a], false);
    a.stop(SOON).await.unwrap();
}

/// Fear: a listener whose backend was ended never hears again, or loses what was published meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_listener_comes_back_and_looks() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let a = probing(config(&db.url(), "a"), 2, &seen).await;
    let client = db.client().await;
    for n in 0..10 {
        client
            .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'pgflow listener%' AND datname = current_database()", &[])
            .await
            .unwrap();
        client
            .batch_execute(&format!(
                r#"SELECT pgflow_publish('probe', '{{"n":{n},"act":"Done","key":null}}', 'probe')"#
            ))
            .await
            .unwrap();
        eventually(SOON, || async { seen.started(n).is_some() }).await;
        eventually(SOON, || async { a.is_listening() }).await;
    }
    no_wake_lost(&[&a], false);
    a.stop(SOON).await.unwrap();
}

/// Fear: a claim that fails counts as a look that found nothing, and its rows are slept upon.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_failed_is_made_again() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let a = probing(config(&db.url(), "a"), 2, &seen).await;
    let (client, mut theirs) = (db.client().await, db.client().await);
    eventually(SOON, || sentinel(&client, "a", None)).await;
    let tx = theirs.transaction().await.unwrap();
    tx.batch_execute("LOCK TABLE pgflow_active IN EXCLUSIVE MODE").await.unwrap();
    let publisher = pgflow::Publisher::connect(&config(&db.url(), "p")).await.unwrap();
    publisher.publish(&Probe::new(1)).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
               AND wait_event_type = 'Lock' AND query LIKE '-- Claims %'";
    eventually(SOON, || async { !query_text(&client, end).await.is_empty() }).await;
    tx.rollback().await.unwrap();
    // Well before the second look, 11 s after the failure.
    eventually(Duration::from_secs(6), || async { seen.started(1).is_some() }).await;
    no_wake_lost(&[&a], false);
    a.stop(SOON).await.unwrap();
}
