//! The wake-up protocol against a real server. The heartbeat is 30 s: a lost wake is a time-out, not a delay.

mod support;

use std::{sync::Arc, time::Duration};

use pgflow::{Priority, Queue, Runtime, devpg::DevPg};
use support::{TestDb, connect, eventually, probe::*, query_text};

const SOON: Duration = Duration::from_secs(20);

async fn done(client: &tokio_postgres::Client, n: i64) -> bool {
    let row = client.query_one("SELECT count(*) FROM pgflow_history WHERE status = 'done'", &[]).await.unwrap();
    row.get::<_, i64>(0) == n
}

/// Nothing found by a heartbeat; something by a takeover only if a death is admitted.
fn no_wake_lost(runtimes: &[&Runtime], deaths: bool) {
    for r in runtimes {
        assert_eq!(r.found_by_heartbeat(), 0, "{}: a wake was lost", r.instance());
        assert!(deaths || r.found_by_takeover() == 0, "{}: a takeover without a death", r.instance());
    }
}

/// The instance is sentinel of three lanes, high, normal and low: of those addressed to somebody, or of the common ones.
async fn sentinel(client: &tokio_postgres::Client, instance: &str, of: Option<&str>) -> bool {
    let sql = format!(
        "SELECT count(*) FROM pg_locks k JOIN pgflow_instances i ON i.listener_pid = k.pid AND i.name = '{instance}' \
         JOIN pgflow_meta m ON k.classid::bigint = m.space JOIN pgflow_lanes l ON k.objid::bigint = l.lane_id % 1024 \
         JOIN pg_database d ON d.oid = k.database AND d.datname = current_database() \
         WHERE k.locktype = 'advisory' AND k.mode = 'ExclusiveLock' AND k.granted AND coalesce(l.target, '') = '{}'",
        of.unwrap_or_default()
    );
    query_text(client, &sql).await == ["3"]
}

/// Nobody is sentinel of anything.
async fn no_sentinel(client: &tokio_postgres::Client) -> bool {
    let locks = "SELECT count(*) FROM pg_locks k JOIN pgflow_meta m ON k.classid::bigint = m.space AND k.objid::bigint < 1024 \
                 JOIN pg_database d ON d.oid = k.database AND d.datname = current_database() WHERE k.locktype = 'advisory'";
    query_text(client, locks).await == ["0"]
}

/// Publishes `count` messages in bursts of transactions that stay open up to 20 ms after their insert, some of them
/// under REPEATABLE READ with a snapshot from before, some rolled back. Answers how many committed.
async fn bursts(url: String, publisher: i64, count: i64, targets: &'static [Option<&'static str>]) -> i64 {
    let mut client = connect(&url).await;
    let own = pgflow::Publisher::connect(&config(&url, &format!("publisher-{publisher}"))).await.unwrap();
    let mut committed = 0;
    for i in 0..count {
        let (hold_ms, rr, rolls_back, pause) =
            (rand::random_range(0..=20u64), rand::random_bool(0.5), rand::random_bool(0.05), rand::random_bool(0.1));
        let level = if rr {
            tokio_postgres::IsolationLevel::RepeatableRead
        } else {
            tokio_postgres::IsolationLevel::ReadCommitted
        };
        let tx = client.build_transaction().isolation_level(level).start().await.unwrap();
        // The snapshot of a REPEATABLE READ transaction is taken here, before the trigger's look at the lock.
        tx.execute("SELECT 1", &[]).await.unwrap();
        let mut out = Probe::new(publisher * 1_000_000 + i).out();
        if rand::random_bool(0.1) {
            out = out.priority(Priority::High);
        }
        if let Some(target) = targets[usize::try_from(i).unwrap() % targets.len()] {
            out = out.target(target);
        }
        own.send_in(&tx, out).await.unwrap();
        if rand::random_bool(0.5) {
            tokio::time::sleep(Duration::from_millis(hold_ms)).await;
        }
        if rolls_back {
            tx.rollback().await.unwrap();
        } else {
            tx.commit().await.unwrap();
            committed += 1;
        }
        if pause {
            // Long enough for the runtimes to fall asleep: the race is at the edge of sleep.
            tokio::time::sleep(Duration::from_millis(rand::random_range(20..80))).await;
        }
    }
    committed
}

async fn eight_publishers(url: &str, each: i64, targets: &'static [Option<&'static str>]) -> i64 {
    let publishers: Vec<_> = (0..8).map(|p| tokio::spawn(bursts(url.to_owned(), p, each, targets))).collect();
    let mut committed = 0;
    for p in publishers {
        committed += p.await.unwrap();
    }
    committed
}

/// Fear: a publisher that looked before we armed and committed after we scanned is slept upon (RC and RR alike).
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bursts_of_open_transactions_lose_no_wake() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let a = probing(config(&db.url(), "a"), 4, &seen).await;
    let b = probing(config(&db.url(), "b"), 1, &seen).await;
    let committed = eight_publishers(&db.url(), 300, &[None]).await;
    let client = db.client().await;
    eventually(SOON, || done(&client, committed)).await;
    no_wake_lost(&[&a, &b], false);
    a.stop(SOON).await.unwrap();
    b.stop(SOON).await.unwrap();
}

/// Fear: among bursts, a later wake hides that an earlier one was lost. So here each burst is drained before the next begins,
/// and its messages fall into the moments in which the runtimes go to sleep.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_later_wake_hides_a_lost_one() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let a = probing(config(&db.url(), "a"), 4, &seen).await;
    let b = probing(config(&db.url(), "b"), 1, &seen).await;
    let mut committed = 0;
    for burst in 0..150 {
        let publishers: Vec<_> = (0..1 + burst % 8)
            .map(|p| {
                let url = db.url();
                tokio::spawn(async move {
                    // Round the end of the linger of the burst before, when the keys are armed.
                    tokio::time::sleep(Duration::from_micros(rand::random_range(0..40_000))).await;
                    bursts(url, burst * 8 + p, 1, &[None]).await
                })
            })
            .collect();
        for p in publishers {
            committed += p.await.unwrap();
        }
        eventually(SOON, || async { seen.count() as i64 == committed }).await;
    }
    no_wake_lost(&[&a, &b], false);
    a.stop(SOON).await.unwrap();
    b.stop(SOON).await.unwrap();
}

/// Fear: a sentinel for one addressee's lane keeps the other's publishers silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn addressed_and_common_messages_on_one_queue_lose_no_wake() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let a = probing(config(&db.url(), "a"), 2, &seen).await;
    let b = probing(config(&db.url(), "b"), 2, &seen).await;
    let client = db.client().await;
    // REPEATABLE READ cannot use a lane that somebody else made meanwhile: it fails with 40001, as such transactions may.
    let lanes = "SELECT pgflow_lane(queue_id, class::smallint, target) FROM pgflow_queues, unnest(ARRAY[10, 0]) class, unnest(ARRAY['a', 'b']) target";
    client.batch_execute(lanes).await.unwrap();
    let committed = eight_publishers(&db.url(), 120, &[Some("a"), Some("b"), None]).await;
    eventually(SOON, || done(&client, committed)).await;
    let astray = query_text(
        &client,
        "SELECT h.id::text FROM pgflow_history h JOIN pgflow_lanes l USING (lane_id) JOIN pgflow_instances i USING (session_id) \
         WHERE l.target <> i.name",
    );
    assert!(astray.await.is_empty(), "addressed messages went astray");
    no_wake_lost(&[&a, &b], false);
    a.stop(SOON).await.unwrap();
    b.stop(SOON).await.unwrap();
}

/// Fear: after a sentinel's death nobody is woken, or what is found then is counted as a lost wake.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn dead_sentinels_are_taken_over_within_a_heartbeat() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let quick = |name: &str| {
        let mut c = config(&db.url(), name);
        (c.heartbeat_ms, c.rescue_grace_ms) = (200, 0);
        c
    };
    let stays = probing(quick("stays"), 2, &seen).await;
    let publishing = tokio::spawn({
        let url = db.url();
        async move { eight_publishers(&url, 100, &[None]).await }
    });
    let mut i = 0;
    while !publishing.is_finished() {
        let dies = probing(quick(&format!("dies-{i}")), 2, &seen).await;
        i += 1;
        // It is sentinel of whatever it armed first; dropped, its connections close without a disarm.
        eventually(SOON, || async { dies.is_listening() }).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        drop(dies);
    }
    let committed = publishing.await.unwrap();
    let client = db.client().await;
    eventually(SOON, || done(&client, committed)).await;
    assert!(i >= 3, "too few deaths to mean anything: {i}");
    no_wake_lost(&[&stays], true);
    stays.stop(SOON).await.unwrap();
}

/// Two instances that sleep: `a` is sentinel of the common lanes, and `b` follows it.
async fn sentinel_and_follower(
    db: &TestDb,
    beat_ms: u64,
    seen: &Arc<Seen>,
) -> (Runtime, Runtime, tokio_postgres::Client) {
    let client = db.client().await;
    let quick = |name: &str| {
        let mut c = config(&db.url(), name);
        (c.heartbeat_ms, c.rescue_grace_ms) = (beat_ms, 0);
        c
    };
    let a = probing(quick("a"), 2, seen).await;
    eventually(SOON, || sentinel(&client, "a", None)).await;
    let b = probing(quick("b"), 2, seen).await;
    eventually(SOON, || sentinel(&client, "b", Some("b"))).await;
    (a, b, client)
}

/// Fear: nobody takes a dead sentinel's keys over while nothing is published, and the next message waits for a heartbeat.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_takes_over_without_a_message() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let (a, b, client) = sentinel_and_follower(&db, 200, &seen).await;
    drop(a);
    eventually(SOON, || sentinel(&client, "b", None)).await;
    let publisher = pgflow::Publisher::connect(&config(&db.url(), "p")).await.unwrap();
    publisher.publish(&Probe::new(1)).await.unwrap();
    eventually(SOON, || async { seen.started(1).is_some() }).await;
    no_wake_lost(&[&b], true);
    b.stop(SOON).await.unwrap();
}

/// Fear: a sentinel that stops as it should leaves its followers asleep, with nobody to notify for.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_sentinel_wakes_its_follower() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let (a, b, client) = sentinel_and_follower(&db, 30_000, &seen).await;
    a.stop(SOON).await.unwrap();
    eventually(SOON, || sentinel(&client, "b", None)).await;
    let publisher = pgflow::Publisher::connect(&config(&db.url(), "p")).await.unwrap();
    publisher.publish(&Probe::new(1)).await.unwrap();
    eventually(SOON, || async { seen.started(1).is_some() }).await;
    no_wake_lost(&[&b], false);
    b.stop(SOON).await.unwrap();
}

/// Fear: a message published after a sentinel's death, while another publisher's open transaction is in the way of the takeover,
/// is not found, or is counted as a lost wake.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_sentinel_left_is_found_under_an_open_publisher() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let (a, b, client) = sentinel_and_follower(&db, 2_000, &seen).await;
    let publisher = pgflow::Publisher::connect(&config(&db.url(), "p")).await.unwrap();
    let mut theirs = db.client().await;
    drop(a);
    eventually(SOON, || async { !sentinel(&client, "a", None).await }).await;
    let tx = theirs.transaction().await.unwrap();
    // Both keys of the group, so that no part of it is taken over.
    publisher.publish_in(&tx, &Probe::new(1)).await.unwrap();
    publisher.send_in(&tx, Probe::new(2).out().priority(Priority::Low)).await.unwrap();
    publisher.publish(&Probe::new(3)).await.unwrap();
    eventually(SOON, || async { seen.started(3).is_some() }).await;
    tx.commit().await.unwrap();
    eventually(SOON, || async { seen.count() == 3 }).await;
    no_wake_lost(&[&b], true);
    b.stop(SOON).await.unwrap();
}

/// Fear: a runtime without a free worker stays sentinel, and an idle one beside it sleeps on.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_runtime_is_woken_beside_a_saturated_one() {
    let db = TestDb::new().await;
    let (full, idle) = (Seen::new(), Seen::new());
    let queue = || Queue::new("probe").workers(1).high_reserve(false);
    let a = probing_queue(config(&db.url(), "a"), queue(), &full).await;
    let b = probing_queue(config(&db.url(), "b"), queue(), &idle).await;
    // Of neither process: a runtime is told of what its own process publishes, whatever became of the wake.
    let publisher = pgflow::Publisher::connect(&config(&db.url(), "p")).await.unwrap();
    for round in 0..20 {
        publisher.send(Probe::act(round, Act::Wait).out().target("a")).await.unwrap();
        eventually(SOON, || async { full.started(round).is_some() }).await;
        publisher.publish(&Probe::new(100 + round)).await.unwrap();
        eventually(SOON, || async { idle.started(100 + round).is_some() }).await;
        full.open();
        eventually(SOON, || async { full.running() == 0 }).await;
        full.close();
    }
    no_wake_lost(&[&a, &b], false);
    full.open();
    a.stop(SOON).await.unwrap();
    b.stop(SOON).await.unwrap();
}

/// Fear: while every normal worker is busy, a high message is not noticed (W4).
#[tokio::test(flavor = "multi_thread")]
async fn high_is_woken_while_normal_is_saturated() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let a = probing(config(&db.url(), "a"), 2, &seen).await;
    let publisher = pgflow::Publisher::connect(&config(&db.url(), "p")).await.unwrap();
    publisher.publish_many(&(0..10).map(|n| Probe::act(n, Act::Wait)).collect::<Vec<_>>()).await.unwrap();
    eventually(SOON, || async { seen.running() == 2 }).await;
    for n in 100..130 {
        publisher.send(Probe::new(n).out().priority(Priority::High)).await.unwrap();
        eventually(SOON, || async { seen.started(n).is_some() }).await;
    }
    no_wake_lost(&[&a], false);
    seen.open();
    a.stop(SOON).await.unwrap();
}

/// Fear: a key's next message becomes ready on an instance that sleeps, and nobody tells it.
#[tokio::test(flavor = "multi_thread")]
async fn a_keys_successor_wakes_another_instance() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let a = probing(config(&db.url(), "a"), 1, &seen).await;
    let b = probing(config(&db.url(), "b"), 1, &seen).await;
    let publisher = pgflow::Publisher::connect(&config(&db.url(), "p")).await.unwrap();
    let client = db.client().await;
    for n in 0..20 {
        let (head, successor) = if n % 2 == 0 { ("a", "b") } else { ("b", "a") };
        let keyed = |n, act| Probe { n, act, key: Some("k".into()) }.out();
        publisher.send(keyed(2 * n, Act::Wait).target(head)).await.unwrap();
        publisher.send(keyed(2 * n + 1, Act::Done).target(successor)).await.unwrap();
        eventually(SOON, || async { seen.running() == 1 }).await;
        eventually(SOON, || sentinel(&client, successor, Some(successor))).await;
        seen.open();
        eventually(SOON, || async { seen.ended() as i64 == 2 * n + 2 }).await;
        seen.close();
    }
    assert_eq!(seen.ns(), (0..40).collect::<Vec<_>>());
    no_wake_lost(&[&a, &b], false);
    a.stop(SOON).await.unwrap();
    b.stop(SOON).await.unwrap();
}

/// Fear: an instance that has no worker left keeps its keys, and every publish pays for a NOTIFY that is of use to nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_saturated_runtime_lets_its_keys_go() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let a = probing_queue(config(&db.url(), "a"), Queue::new("probe").workers(1).high_reserve(false), &seen).await;
    let client = db.client().await;
    eventually(SOON, || sentinel(&client, "a", None)).await;
    a.publisher().publish(&Probe::act(1, Act::Wait)).await.unwrap();
    eventually(SOON, || async { seen.running() == 1 && no_sentinel(&client).await }).await;
    seen.open();
    eventually(SOON, || sentinel(&client, "a", None)).await;
    a.stop(SOON).await.unwrap();
}

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
    client
        .batch_execute(r#"SELECT pgflow_publish('probe', '{"n":1,"act":"Done","key":null}', 'probe')"#)
        .await
        .unwrap();
    let looked = "SELECT 'x' FROM pg_stat_activity, pgflow_ready WHERE datname = current_database() AND state = 'idle' \
                  AND query LIKE '-- Claims %' AND query_start > created_at";
    eventually(SOON, || async { !query_text(&client, looked).await.is_empty() }).await;
    let admin = pgflow::Admin::connect(&config(&db.url(), "operator")).await.unwrap();
    admin.resume_queue("probe").await.unwrap();
    eventually(SOON, || async { seen.started(1).is_some() }).await;
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

/// Fear: an idle instance costs statements: a hidden poll, a hot loop on rows that it must not take.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_minute_costs_two_statements_a_second_and_instance() {
    const SECONDS: u64 = 60;
    let started = tokio::task::spawn_blocking(|| {
        DevPg::builder().durable(false).setting("autovacuum", "off").setting("max_connections", "100").start()
    });
    let server = started.await.unwrap().unwrap();
    support::migrated(&server.url()).await;
    let client = connect(&server.url()).await;
    let mut runtimes = Vec::new();
    for name in ["a", "b"] {
        let mut c = config(&server.url(), name);
        c.heartbeat_ms = 500;
        let mut builder = Runtime::builder(c);
        for q in 0..50 {
            let seen = Seen::new();
            builder = builder
                .queue(Queue::new(format!("q{q}")).workers(4))
                .any_handler(&format!("q{q}"), move || AnyProber(seen.clone()));
        }
        runtimes.push(builder.start().await.unwrap());
    }
    // Blocked by a key (its head is delayed), addressed to nobody here, delayed, paused.
    client
        .batch_execute(
            r#"SELECT pgflow_publish('q1', '{}', ordering_key => 'k', delay => '1 hour'), pgflow_publish('q1', '{}', ordering_key => 'k'),
                      pgflow_publish('q2', '{}', target => 'elsewhere'), pgflow_publish('q3', '{}', delay => '1 hour');
               UPDATE pgflow_queues SET paused = true WHERE name = 'q4'; SELECT pgflow_publish('q4', '{}');"#,
        )
        .await
        .unwrap();
    let statements = || async {
        let row = client
            .query_one(
                "SELECT (xact_commit + xact_rollback)::bigint FROM pg_stat_database WHERE datname = current_database()",
                &[],
            )
            .await
            .unwrap();
        row.get::<_, i64>(0)
    };
    // A backend that goes idle reports what it has counted within 10 s (PGSTAT_IDLE_INTERVAL): the start's cost is not ours.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let before = statements().await;
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let spent = statements().await - before;
    let allowed = 2 * 2 * i64::try_from(SECONDS).unwrap();
    // A few of the counted ones are this test's own question and the leader's minute duties.
    assert!(spent <= allowed + 8, "{spent} statements in {SECONDS} s, {allowed} allowed");
    assert!(spent >= allowed / 2, "{spent}: the heartbeat does not beat");
    no_wake_lost(&runtimes.iter().collect::<Vec<_>>(), false);
    for r in runtimes {
        r.stop(SOON).await.unwrap();
    }
}

struct AnyProber(Arc<Seen>);
impl pgflow::AnyHandler for AnyProber {
    async fn handle(&mut self, _: &mut pgflow::Context<'_>) -> Result<(), pgflow::Failure> {
        self.0.open();
        Ok(())
    }
}
