//! Lanes of an addressee: made when it is first addressed, and learnt by it without a lost wake. The heartbeat is 30 s.

mod support;

use std::time::Duration;

use pgflow::{Priority, Publisher, Queue};
use support::{TestDb, eventually, probe::*, query_text};

const SOON: Duration = Duration::from_secs(20);
const LANES: &str = "SELECT count(*) FROM pgflow_lanes WHERE target IS NOT NULL";

/// Both gates of one runtime sleep: it is sentinel of its three common lanes, and of `more`.
async fn asleep(client: &tokio_postgres::Client, more: usize) {
    let armed = "SELECT count(*) FROM pg_locks l, pgflow_meta WHERE locktype = 'advisory' AND classid = space::oid AND objid < 1024 \
                 AND l.mode = 'ExclusiveLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    eventually(SOON, || async { query_text(client, armed).await == [(3 + more).to_string()] }).await;
}

/// Fear: every start under a new name leaves lanes behind for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_makes_no_lane_of_its_own() {
    let db = TestDb::new().await;
    let client = db.client().await;
    for name in ["host-1", "host-2", "host-3"] {
        let seen = Seen::new();
        let runtime = probing(config(&db.url(), name), 1, &seen).await;
        runtime.publisher().publish(&Probe::new(1)).await.unwrap();
        eventually(SOON, || async { seen.count() == 1 }).await;
        runtime.stop(SOON).await.unwrap();
    }
    assert_eq!(query_text(&client, LANES).await, ["0"]);
    assert_eq!(query_text(&client, "SELECT count(*) FROM pgflow_lanes").await, ["3"]);
}

/// Fear: an instance asleep does not hear of the lane that somebody makes for it, or hears of its first message only.
#[tokio::test(flavor = "multi_thread")]
async fn a_sleeping_addressee_learns_of_its_lanes() {
    let db = TestDb::new().await;
    let client = db.client().await;
    let seen = Seen::new();
    let a = probing(config(&db.url(), "a"), 2, &seen).await;
    let other = Publisher::connect(&config(&db.url(), "p")).await.unwrap();
    let mut n = 0;
    for (made, priority) in [Priority::Low, Priority::High, Priority::Normal].into_iter().enumerate() {
        for round in 0..4 {
            asleep(&client, if round == 0 { made } else { made + 1 }).await;
            other.send(Probe::new(n).out().priority(priority).target("a")).await.unwrap();
            eventually(SOON, || async { seen.started(n).is_some() }).await;
            n += 1;
        }
    }
    assert_eq!(query_text(&client, LANES).await, ["3"]);
    assert_eq!(a.found_by_heartbeat() + a.found_by_takeover(), 0, "a wake was lost");
    a.stop(SOON).await.unwrap();
}

/// Fear: a lane learnt after the connect is forgotten at the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_learnt_lane_outlives_its_listener() {
    let db = TestDb::new().await;
    let client = db.client().await;
    let seen = Seen::new();
    let a = probing(config(&db.url(), "a"), 2, &seen).await;
    let other = Publisher::connect(&config(&db.url(), "p")).await.unwrap();
    for n in 0..6 {
        asleep(&client, usize::from(n > 0)).await;
        other.send(Probe::new(n).out().target("a")).await.unwrap();
        eventually(SOON, || async { seen.started(n).is_some() }).await;
        let end = "SELECT pg_terminate_backend(listener_pid) FROM pgflow_instances";
        client.batch_execute(end).await.unwrap();
        let lost = "SELECT 1 FROM pgflow_instances JOIN pg_stat_activity a ON a.pid = listener_pid";
        eventually(SOON, || async { a.is_listening() && query_text(&client, lost).await == ["1"] }).await;
    }
    a.stop(SOON).await.unwrap();
}

/// Fear: many that address an instance for the first time at once make two lanes of one, or a broadcast wakes only some.
#[tokio::test(flavor = "multi_thread")]
async fn first_broadcasts_reach_every_sleeper() {
    let db = TestDb::new().await;
    let client = db.client().await;
    let (seen, names) = (Seen::new(), ["a", "b", "c"]);
    let mut runtimes = Vec::new();
    for name in names {
        runtimes.push(probing_queue(config(&db.url(), name), Queue::new("probe").workers(2), &seen).await);
    }
    asleep(&client, 0).await;
    let other = Publisher::connect(&config(&db.url(), "p")).await.unwrap();
    let sent: Vec<_> = (0..4)
        .map(|n| {
            let other = other.clone();
            tokio::spawn(async move { other.broadcast(&Probe::new(n)).await.unwrap().len() })
        })
        .collect();
    for one in sent {
        assert_eq!(one.await.unwrap(), names.len());
    }
    eventually(SOON, || async { seen.count() == 4 * names.len() }).await;
    assert_eq!(query_text(&client, LANES).await, [names.len().to_string()]);
    for runtime in runtimes {
        assert_eq!(runtime.found_by_heartbeat() + runtime.found_by_takeover(), 0, "a wake was lost");
        runtime.stop(SOON).await.unwrap();
    }
}

/// Fear: the leader makes the lanes of several addressees in another order than a broadcast, and they deadlock.
#[tokio::test(flavor = "multi_thread")]
async fn readdressing_and_a_broadcast_make_lanes_in_one_order() {
    let db = TestDb::new().await;
    let client = db.client().await;
    // The first message to be readdressed can go to b alone, the second to a alone.
    let parked = "SELECT pgflow_create_queue('probe'); \
        INSERT INTO pgflow_instances (name, decodes) VALUES ('b', '{\"probe\": {\"one\": 1}}'), ('a', '{\"probe\": {\"two\": 1}}'); \
        INSERT INTO pgflow_parked (reason, queue_id, lane_id, version, codec, message_id, created_at, kind, body) \
        SELECT 'undecodable', queue_id, lane_id, 1, 1, gen_random_uuid(), now(), kind, '{}' \
        FROM pgflow_lanes, (VALUES (1, 'one'), (2, 'two')) k(n, kind) WHERE class = 0 ORDER BY n";
    client.batch_execute(parked).await.unwrap();
    let mut theirs = db.client().await;
    let tx = theirs.transaction().await.unwrap();
    let lane = async |name: &str| {
        let made = format!("SELECT pgflow_lane(queue_id, 0::smallint, '{name}') FROM pgflow_queues");
        tx.batch_execute(&made).await
    };
    lane("a").await.unwrap();
    let leader = db.client().await;
    let readdressing = tokio::spawn(async move {
        let sql = include_str!("../sql/queries/readdress.sql").replace("{schema}", "public");
        leader.execute(&sql, &[&10_i32]).await
    });
    let blocked =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually(SOON, || async { query_text(&client, blocked).await == ["1"] }).await;
    lane("b").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(readdressing.await.unwrap().unwrap(), 2);
}
