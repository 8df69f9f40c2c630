//! Defects once found by review, each of which one message or one blink could trigger. They stay found.

mod support;

use std::time::Duration;

use pgflow::{Context, Failure, Handler, Message, Queue, Runtime};
use serde::{Deserialize, Serialize};
use support::{TestDb, eventually, probe::*, query_text};

const SOON: Duration = Duration::from_secs(20);

fn quick(url: &str, name: &str) -> pgflow::Config {
    let mut c = config(url, name);
    c.heartbeat_ms = 200;
    c
}

fn queue(workers: usize) -> Queue {
    Queue::new("probe").workers(workers).high_reserve(false)
}

const PLAIN: &str = r#"'{"n":2,"act":"Done","key":null}'"#;

/// Five more messages get through to done.
async fn the_queue_goes_on(runtime: &Runtime, client: &tokio_postgres::Client, seen: &Seen) {
    for n in 100..105 {
        runtime.publisher().publish(&Probe::new(n)).await.unwrap();
    }
    eventually(SOON, || async { (100..105).all(|n| seen.started(n).is_some()) }).await;
    let done = "SELECT count(*)::text FROM pgflow_messages WHERE status = 'done' AND (payload ->> 'n')::int >= 100";
    eventually(SOON, || async { query_text(client, done).await == ["5"] }).await;
}

/// Fear: headers that Postgres holds and our JSON reader refuses panic the claim, and stop the queue on every instance.
#[tokio::test(flavor = "multi_thread")]
async fn unreadable_headers_make_one_dead_letter() {
    let db = TestDb::new().await;
    let client = db.client().await;
    let seen = Seen::new();
    let runtime = probing_queue(quick(&db.url(), "a"), queue(4), &seen).await;
    // Past the function's own checks, as another program's row may come.
    let rows = [r#"{"x":1e400}"#.to_owned(), format!(r#"{{"a":{}{}}}"#, "[".repeat(200), "]".repeat(200))];
    for headers in &rows {
        let sql = format!(
            "INSERT INTO pgflow_ready (lane_id, kind, body, headers) SELECT lane_id, 'probe', {PLAIN}, '{headers}' FROM pgflow_lanes WHERE class = 0 AND target IS NULL"
        );
        client.batch_execute(&sql).await.unwrap();
    }
    the_queue_goes_on(&runtime, &client, &seen).await;
    let dead = || async { query_text(&client, "SELECT error_kind FROM pgflow_dlq").await };
    eventually(SOON, || async { dead().await.len() + seen.starts().iter().filter(|s| s.n == 2).count() == 2 }).await;
    runtime.stop(SOON).await.unwrap();
}

/// Fear: one outcome that SQL refuses comes first in every batch again, and nothing of the process is settled any more.
#[tokio::test(flavor = "multi_thread")]
async fn an_endless_snooze_holds_up_nobody() {
    let db = TestDb::new().await;
    let client = db.client().await;
    let seen = Seen::new();
    let runtime = probing_queue(quick(&db.url(), "a"), queue(4), &seen).await;
    runtime.publisher().publish(&Probe::act(1, Act::Snooze(u64::MAX))).await.unwrap();
    the_queue_goes_on(&runtime, &client, &seen).await;
    eventually(SOON, || async { query_text(&client, "SELECT count(*)::text FROM pgflow_scheduled").await == ["1"] })
        .await;
    runtime.stop(SOON).await.unwrap();
}

/// Fear: a row that never reaches a worker keeps the offer it was claimed for: two of them stop two workers.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_an_unknown_codec_use_up_no_worker() {
    let db = TestDb::new().await;
    let client = db.client().await;
    let seen = Seen::new();
    let runtime = probing_queue(quick(&db.url(), "a"), queue(2), &seen).await;
    for i in 1..=4 {
        let sql = "INSERT INTO pgflow_ready (lane_id, kind, body, codec) SELECT lane_id, 'probe', '{}', 9 FROM pgflow_lanes WHERE class = 0 AND target IS NULL";
        client.batch_execute(sql).await.unwrap();
        let parked = "SELECT count(*)::text FROM pgflow_parked WHERE reason = 'undecodable'";
        eventually(SOON, || async { query_text(&client, parked).await == [i.to_string()] }).await;
    }
    the_queue_goes_on(&runtime, &client, &seen).await;
    runtime.stop(SOON).await.unwrap();
}

#[derive(Serialize, Deserialize)]
struct Second {
    n: i64,
}
impl Message for Second {
    const KIND: &'static str = "probe";
    const QUEUE: &'static str = "probe";
    const VERSION: u16 = 2;
}
struct SecondHandler;
impl Handler for SecondHandler {
    type Message = Second;
    async fn handle(&mut self, _: Second, _: &mut Context<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

/// Fear: an old version that its own instance cannot upgrade is readdressed to it for ever, its grace renewed each time.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_version_without_an_upgrade_ends_in_the_dlq() {
    let db = TestDb::new().await;
    let client = db.client().await;
    let mut config = quick(&db.url(), "a");
    config.unknown_grace_ms = 500;
    let runtime = Runtime::builder(config).queue(queue(2)).handler(|| SecondHandler).start().await.unwrap();
    client.batch_execute("SELECT pgflow_publish('probe', '{\"n\":2}', 'probe')").await.unwrap();
    let kinds = || async { query_text(&client, "SELECT error_kind FROM pgflow_dlq").await == ["unsupported_version"] };
    eventually(SOON, kinds).await;
    runtime.stop(SOON).await.unwrap();
}

/// Fear: a handler's constructor that panics is nobody's failure: handed back, never counted, the tree restarting.
#[tokio::test(flavor = "multi_thread")]
async fn a_panicking_constructor_counts_against_the_message() {
    let db = TestDb::new().await;
    let client = db.client().await;
    let runtime = Runtime::builder(quick(&db.url(), "a"))
        .queue(queue(2).max_retries(1).retry_delay(Duration::from_millis(10), Duration::from_millis(10)))
        .handler(|| -> Prober { panic!("no SMTP_URL") })
        .start()
        .await
        .unwrap();
    runtime.publisher().publish(&Probe::new(1)).await.unwrap();
    let dead = "SELECT error_kind || ' ' || attempt || ' ' || error FROM pgflow_dlq";
    let expected = ["retries_exhausted 2 panic: while the handler was built: no SMTP_URL"];
    eventually(SOON, || async { query_text(&client, dead).await == expected }).await;
    runtime.stop(SOON).await.unwrap();
}

/// Fear: a transaction that published to a key and stays open holds up every settle of every instance.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_keyed_publish_holds_up_only_its_key() {
    let db = TestDb::new().await;
    let mut other = db.client().await;
    let client = db.client().await;
    let seen = Seen::new();
    let runtime = probing_queue(quick(&db.url(), "a"), queue(8), &seen).await;
    let keyed = |n: i64, key: &str| Probe { n, act: Act::Wait, key: Some(key.into()) };
    for (n, key) in [(1, "k1"), (2, "k2"), (3, "k3")] {
        runtime.publisher().publish(&keyed(n, key)).await.unwrap();
    }
    eventually(SOON, || async { seen.running() == 3 }).await;
    let tx = other.transaction().await.unwrap();
    for (n, key) in [(4, "k1"), (5, "k2"), (6, "k3")] {
        runtime.publisher().publish_in(&tx, &keyed(n, key)).await.unwrap();
    }
    seen.open();
    eventually(SOON, || async { seen.running() == 0 }).await;
    the_queue_goes_on(&runtime, &client, &seen).await;
    // Nor does another key wait until a statement's limit (10 s) is over.
    runtime.publisher().publish(&Probe { n: 7, act: Act::Done, key: Some("k4".into()) }).await.unwrap();
    let free = "SELECT id FROM pgflow_history WHERE ordering_key = 'k4'";
    eventually(Duration::from_secs(8), || async { query_text(&client, free).await.len() == 1 }).await;
    tx.commit().await.unwrap();
    eventually(SOON, || async { query_text(&client, "SELECT count(*)::text FROM pgflow_history").await == ["12"] })
        .await;
    assert!(query_text(&client, "SELECT ordering_key FROM pgflow_keys").await.is_empty());
    runtime.stop(SOON).await.unwrap();
}

/// Fear: a parked message that is cancelled while its predecessor settles takes its successors' place in the world along.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_during_a_release_forgets_no_successor() {
    let db = TestDb::new().await;
    let mut one = db.client().await;
    let two = db.client().await;
    one.batch_execute("SELECT pgflow_create_queue('q'); SELECT pgflow_publish('q', to_jsonb(n), ordering_key => 'k') FROM generate_series(1, 3) n")
        .await
        .unwrap();
    let tx = one.transaction().await.unwrap();
    // The second one is gone, but not yet for others.
    tx.execute("DELETE FROM pgflow_parked WHERE id = 2", &[]).await.unwrap();
    let releasing = tokio::spawn(async move {
        two.batch_execute("DELETE FROM pgflow_ready; SELECT pgflow_release_keys(ARRAY[(SELECT queue_id FROM pgflow_queues)], ARRAY['k'])").await.unwrap();
        two
    });
    let waits = "SELECT 'x' FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let watcher = db.client().await;
    eventually(SOON, || async { !query_text(&watcher, waits).await.is_empty() }).await;
    tx.commit().await.unwrap();
    let two = releasing.await.unwrap();
    assert_eq!(query_text(&two, "SELECT coalesce(id, seq)::text FROM pgflow_ready").await, ["3"]);
    assert_eq!(query_text(&two, "SELECT ordering_key FROM pgflow_keys").await, ["k"]);
}

/// Fear: after a change to poll mode those that sleep are neither woken nor do they look.
#[tokio::test(flavor = "multi_thread")]
async fn poll_mode_reaches_those_that_sleep() {
    let db = TestDb::new().await;
    let client = db.client().await;
    let seen = Seen::new();
    // The heartbeat is 30 s here: only polling can find the message in time.
    let runtime = probing_queue(config(&db.url(), "a"), queue(2), &seen).await;
    runtime.publisher().publish(&Probe::new(1)).await.unwrap();
    eventually(SOON, || async { seen.started(1).is_some() }).await;
    client.batch_execute("SELECT pgflow_set_mode('poll')").await.unwrap();
    // The first one may be found by the look that the change itself causes, the others only by polling.
    let sql = format!("SELECT pgflow_publish('probe', {PLAIN}, 'probe')");
    for count in 2..5 {
        client.batch_execute(&sql).await.unwrap();
        eventually(SOON, || async { seen.count() == count }).await;
    }
    assert_eq!(runtime.found_by_heartbeat(), 0);
    runtime.stop(SOON).await.unwrap();
}

/// Fear: a listener that only blinks has its running messages taken away, the last try made a dead letter.
#[tokio::test(flavor = "multi_thread")]
async fn a_blink_of_a_listener_is_no_death() {
    let db = TestDb::new().await;
    let client = db.client().await;
    let (seen_a, seen_b) = (Seen::new(), Seen::new());
    let fast = |name: &str| {
        let mut c = config(&db.url(), name);
        (c.heartbeat_ms, c.rescue_grace_ms) = (50, 0);
        c
    };
    let a = probing_queue(fast("a"), queue(1).max_retries(0), &seen_a).await;
    let b = probing_queue(fast("b"), queue(1).max_retries(0), &seen_b).await;
    b.publisher().send(Probe::act(1, Act::Wait).out().target("b")).await.unwrap();
    eventually(SOON, || async { seen_b.running() == 1 }).await;
    let pid = "SELECT listener_pid::text FROM pgflow_instances WHERE name = 'b'";
    for _ in 0..3 {
        let before = query_text(&client, pid).await;
        client
            .execute("SELECT pg_terminate_backend(listener_pid) FROM pgflow_instances WHERE name = 'b'", &[])
            .await
            .unwrap();
        eventually(SOON, || async { query_text(&client, pid).await != before && b.is_listening() }).await;
    }
    seen_b.open();
    eventually(SOON, || async { query_text(&client, "SELECT status FROM pgflow_messages").await == ["done"] }).await;
    assert!(query_text(&client, "SELECT event FROM pgflow_attempts").await.is_empty());
    a.stop(SOON).await.unwrap();
    b.stop(SOON).await.unwrap();
}

/// Fear: a listener that blinks while every other connection is busy waits for one of them, and is taken for dead.
#[tokio::test(flavor = "multi_thread")]
async fn a_blink_while_the_control_connections_are_busy_is_no_death() {
    let db = TestDb::new().await;
    let (client, blocker) = (db.client().await, db.client().await);
    let (seen_a, seen_b) = (Seen::new(), Seen::new());
    let fast = |name: &str| {
        let mut c = config(&db.url(), name);
        (c.heartbeat_ms, c.rescue_grace_ms, c.control_connections) = (50, 0, 2);
        c
    };
    let a = probing_queue(fast("a"), queue(1).max_retries(0), &seen_a).await;
    let b = probing_queue(fast("b"), queue(2).max_retries(0), &seen_b).await;
    a.publisher().send(Probe::act(1, Act::Wait).out().target("b")).await.unwrap();
    eventually(SOON, || async { seen_b.running() == 1 }).await;
    // Whoever claims a message now waits.
    client
        .batch_execute(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END $$;
             CREATE TRIGGER wait BEFORE INSERT ON pgflow_active EXECUTE FUNCTION wait()",
        )
        .await
        .unwrap();
    blocker.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(1)").await.unwrap();
    a.publisher().send(Probe::new(2).out().target("b")).await.unwrap();
    let waits = "SELECT DISTINCT 1 FROM pg_locks WHERE NOT granted AND locktype = 'advisory'";
    eventually(SOON, || async { query_text(&client, waits).await == ["1"] }).await;
    let pid = "SELECT listener_pid::text FROM pgflow_instances WHERE name = 'b'";
    let before = query_text(&client, pid).await;
    let end = "SELECT pg_terminate_backend(listener_pid) FROM pgflow_instances WHERE name = 'b'";
    client.execute(end, &[]).await.unwrap();
    eventually(SOON, || async { query_text(&client, pid).await != before && b.is_listening() }).await;
    blocker.batch_execute("ROLLBACK").await.unwrap();
    seen_b.open();
    let done = "SELECT count(*) FROM pgflow_messages WHERE status = 'done'";
    eventually(SOON, || async { query_text(&client, done).await == ["2"] }).await;
    assert!(query_text(&client, "SELECT event FROM pgflow_attempts").await.is_empty(), "rescued from one that lives");
    a.stop(SOON).await.unwrap();
    b.stop(SOON).await.unwrap();
}

/// Fear: a name in the user's URL hides the listener's, so that its hung backend is never ended and keeps the next start out.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_in_the_url_does_not_hide_an_old_listener() {
    let db = TestDb::new().await;
    let client = db.client().await;
    let url = format!("{}&application_name=shop", db.url());
    // What a connection leaves behind whose client the server does not know to be gone.
    let old = pgflow::connect(&url, "pgflow listener 1").await.unwrap();
    let left = "SELECT pg_advisory_lock(space, 65537) FROM pgflow_meta; \
                INSERT INTO pgflow_instances (session_id, name, listener_pid) VALUES (1, 'a', pg_backend_pid())";
    old.batch_execute(left).await.unwrap();
    let runtime = probing_queue(quick(&url, "a"), queue(1), &Seen::new()).await;
    let name =
        "SELECT application_name FROM pg_stat_activity JOIN pgflow_instances ON listener_pid = pg_stat_activity.pid";
    assert_eq!(query_text(&client, name).await, ["pgflow listener 1 (shop)"]);
    assert!(old.is_closed());
    runtime.stop(SOON).await.unwrap();
}

/// Fear: somebody's connection is ended because it has the pid that a listener once had.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_with_an_old_listeners_pid_lives() {
    let db = TestDb::new().await;
    let client = db.client().await;
    let end = include_str!("../sql/queries/end_old_listener.sql").replace("{schema}", "public");
    for (name, age) in [("shop", 0), ("pgflow listener 12", 0), ("pgflow listener 1", 60)] {
        let stranger = pgflow::connect(&db.url(), name).await.unwrap();
        let registered = format!(
            "DELETE FROM pgflow_instances; INSERT INTO pgflow_instances (session_id, name, listener_pid, heartbeat_at) \
             VALUES (1, 'a', pg_backend_pid(), clock_timestamp() - interval '{age} s')"
        );
        stranger.batch_execute(&registered).await.unwrap();
        assert!(client.query(&end, &[&1_i32]).await.unwrap().is_empty(), "{name}");
        stranger.batch_execute("").await.unwrap();
    }
}

/// Fear: rows that are due and cannot be promoted are tried ever more often, a timer more for each heartbeat that finds them.
#[tokio::test(flavor = "multi_thread")]
async fn promotions_that_fail_do_not_multiply() {
    let db = TestDb::new().await;
    let client = db.client().await;
    client
        .batch_execute(
            "CREATE SEQUENCE tries;
             CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('tries'); RAISE 'no room'; END $$;
             SELECT pgflow_create_queue('probe');
             SELECT pgflow_publish('probe', '{\"n\":1,\"act\":\"Done\",\"key\":null}', 'probe', delay => interval '1 ms');
             CREATE TRIGGER refuse BEFORE INSERT ON pgflow_ready FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await
        .unwrap();
    let seen = Seen::new();
    let mut c = config(&db.url(), "a");
    c.heartbeat_ms = 100;
    let runtime = probing_queue(c, queue(1), &seen).await;
    let tries = async || query_text(&client, "SELECT last_value::text FROM tries").await[0].parse::<i64>().unwrap();
    let begun = std::time::Instant::now();
    eventually(SOON, || async { tries().await >= 80 }).await;
    // Ten heartbeats a second find it due, and two tries again: that takes seven seconds. With a chain for each it took three.
    assert!(begun.elapsed() > Duration::from_secs(5), "tried 80 times in {:?}", begun.elapsed());
    client.batch_execute("DROP TRIGGER refuse ON pgflow_ready").await.unwrap();
    eventually(SOON, || async { seen.count() == 1 }).await;
    runtime.stop(SOON).await.unwrap();
}
