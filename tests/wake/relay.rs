//! One hears publishers and tells one other, who takes over or tells the next (W12): nobody is forgotten on the way.

use super::*;

/// Runtimes of the queue `probe` that have slept in: one is sentinel, and the others are enlisted.
async fn asleep(db: &TestDb, names: &[&str], workers: usize, seen: &Arc<Seen>) -> Vec<Runtime> {
    let client = db.client().await;
    let mut all = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let queue = Queue::new("probe").workers(workers).high_reserve(false);
        all.push(probing_queue(config(&db.url(), name), queue, seen).await);
        if i == 0 {
            eventually(SOON, || sentinel(&client, name, None)).await;
        } else {
            eventually(SOON, || enlisted(&client, name)).await;
        }
    }
    all
}

/// The instance may be told of the common lanes.
async fn enlisted(client: &tokio_postgres::Client, instance: &str) -> bool {
    let sql = format!(
        "SELECT count(*) FROM pg_locks k JOIN pgflow_meta m ON k.classid::bigint = m.space \
         JOIN pgflow_lanes l ON k.objid::bigint = 4294967296 - l.lane_id AND l.target IS NULL \
         JOIN pgflow_instances i ON i.listener_pid = k.pid AND i.name = '{instance}' \
         JOIN pg_database d ON d.oid = k.database AND d.datname = current_database() WHERE k.mode = 'ShareLock'"
    );
    query_text(client, &sql).await == ["3"]
}

async fn publisher(db: &TestDb) -> pgflow::Publisher {
    // Of no runtime's process: one is told of what its own process publishes, whatever became of the wake.
    pgflow::Publisher::connect(&config(&db.url(), "p")).await.unwrap()
}

/// Lets those go that wait, and has later ones wait again.
async fn all_end(seen: &Seen) {
    seen.open();
    eventually(SOON, || async { seen.running() == 0 }).await;
    seen.close();
}

async fn stop_well(all: Vec<Runtime>) {
    no_wake_lost(&all.iter().collect::<Vec<_>>(), false);
    for r in all {
        r.stop(SOON).await.unwrap();
    }
}

/// Fear: a sentinel whose last worker is taken lets its key go, and those who slept because of it sleep on.
#[tokio::test(flavor = "multi_thread")]
async fn a_saturated_sentinel_hands_over_to_the_next() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let all = asleep(&db, &["a", "b", "c", "d"], 1, &seen).await;
    let publisher = publisher(&db).await;
    for round in 0..5 {
        for n in 10 * round..10 * round + 4 {
            publisher.publish(&Probe::act(n, Act::Wait)).await.unwrap();
            eventually(SOON, || async { seen.started(n).is_some() }).await;
        }
        all_end(&seen).await;
    }
    stop_well(all).await;
}

/// Fear: one is told of a burst, takes what it can, and leaves the rest to nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_told_on_until_all_have_their_share() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let all = asleep(&db, &["a", "b", "c", "d"], 3, &seen).await;
    let publisher = publisher(&db).await;
    for round in 0..5 {
        publisher
            .publish_many(&(0..12).map(|n| Probe::act(100 * round + n, Act::Wait)).collect::<Vec<_>>())
            .await
            .unwrap();
        eventually(SOON, || async { seen.running() == 12 }).await;
        all_end(&seen).await;
    }
    stop_well(all).await;
}

/// Fear: the sentinel of a key has no use for one of its lanes, and keeps to itself what is announced for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_passes_on_what_is_addressed_to_another() {
    let db = TestDb::new().await;
    let (client, seen) = (db.client().await, Seen::new());
    pgflow::Admin::connect(&config(&db.url(), "admin")).await.unwrap().create_queue(Queue::new("probe")).await.unwrap();
    // The lane addressed to b is on the key of the common one.
    let common = "SELECT (lane_id + 1024)::text FROM pgflow_lanes WHERE class = 0";
    let lane = query_text(&client, common).await.pop().unwrap();
    client.batch_execute(&format!("ALTER TABLE pgflow_lanes ALTER lane_id RESTART WITH {lane}")).await.unwrap();
    query_text(&client, "SELECT pgflow_lane(queue_id, 0::smallint, 'b')::text FROM pgflow_queues").await;
    let all = asleep(&db, &["a", "b"], 2, &seen).await;
    let publisher = publisher(&db).await;
    for n in 0..30 {
        publisher.send(Probe::new(n).out().target("b")).await.unwrap();
        eventually(SOON, || async { seen.started(n).is_some() }).await;
    }
    assert!(sentinel(&client, "a", None).await, "it was to be passed on");
    stop_well(all).await;
}

/// Fear: the only one who hears publishers loses its connection, and what they say meanwhile waits for a heartbeat.
#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_whose_backend_is_ended_looks_for_what_it_missed() {
    let db = TestDb::new().await;
    let (client, seen) = (db.client().await, Seen::new());
    let all = asleep(&db, &["a", "b", "c"], 2, &seen).await;
    let publisher = publisher(&db).await;
    let end = "SELECT pg_terminate_backend(k.pid)::text FROM pg_locks k JOIN pgflow_meta m ON k.classid::bigint = m.space \
               JOIN pgflow_lanes l ON k.objid::bigint = l.lane_id AND l.class = 0 \
               JOIN pg_database d ON d.oid = k.database AND d.datname = current_database() WHERE k.mode = 'ExclusiveLock'";
    for n in 0..10 {
        eventually(SOON, || async { query_text(&client, end).await == ["true"] }).await;
        publisher.publish(&Probe::new(n)).await.unwrap();
        eventually(SOON, || async { seen.started(n).is_some() }).await;
    }
    stop_well(all).await;
}

/// Fear: a sentinel that is frozen or cut off hears for nobody, and every message waits for a heartbeat until it is found dead.
#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_that_sleeps_on_is_not_trusted_twice() {
    let db = TestDb::new().await;
    let (client, frozen, seen) = (db.client().await, db.client().await, Seen::new());
    pgflow::Admin::connect(&config(&db.url(), "admin")).await.unwrap().create_queue(Queue::new("probe")).await.unwrap();
    query_text(&frozen, "SELECT pg_advisory_lock(space, lane_id % 1024)::text FROM pgflow_meta, pgflow_lanes").await;
    let mut quick = config(&db.url(), "a");
    quick.heartbeat_ms = 500;
    let a = probing(quick, 2, &seen).await;
    eventually(SOON, || enlisted(&client, "a")).await;
    let publisher = publisher(&db).await;
    // Published while it still scans, a message is found by that.
    let mut n = 0;
    while a.found_by_heartbeat() == 0 {
        n += 1;
        publisher.publish(&Probe::new(n)).await.unwrap();
        eventually(SOON, || async { seen.started(n).is_some() }).await;
    }
    let found = a.found_by_heartbeat();
    for n in n + 1..n + 30 {
        publisher.publish(&Probe::new(n)).await.unwrap();
        eventually(SOON, || async { seen.started(n).is_some() }).await;
    }
    assert_eq!(a.found_by_heartbeat(), found, "it waited for heartbeats again");
    a.stop(SOON).await.unwrap();
}

/// Fear: what a publisher announced when its sentinel was dead already is heard by nobody, and by no heartbeat either.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_announced_to_a_dead_sentinel_is_found_by_takeover() {
    let db = TestDb::new().await;
    let (client, seen) = (db.client().await, Seen::new());
    let mut all = asleep(&db, &["a"], 2, &seen).await;
    let mut quick = config(&db.url(), "b");
    (quick.heartbeat_ms, quick.rescue_grace_ms) = (2_000, 0);
    let b = probing(quick, 2, &seen).await;
    eventually(SOON, || enlisted(&client, "b")).await;
    let mut theirs = db.client().await;
    let tx = theirs.transaction().await.unwrap();
    // The trigger is refused by a's lock: it will announce.
    publisher(&db).await.publish_in(&tx, &Probe::new(1)).await.unwrap();
    drop(all.pop());
    eventually(SOON, || async { !sentinel(&client, "a", None).await }).await;
    tx.commit().await.unwrap();
    eventually(SOON, || async { seen.started(1).is_some() }).await;
    no_wake_lost(&[&b], true);
    b.stop(SOON).await.unwrap();
}
