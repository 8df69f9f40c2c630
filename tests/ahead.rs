//! Claims ahead of quick workers: who turns slow, pauses, stops or dies keeps no message from the others.

mod support;

use std::time::Duration;

use pgflow::{Admin, Priority, Queue, Runtime};
use support::{TestDb, eventually, probe::*, query_text, victim::*};
use tokio_postgres::Client;

const SOON: Duration = Duration::from_secs(60);
const WORKERS: usize = 4;
/// Whether workers are quick enough to be claimed ahead of is the machine's affair: so many tries.
const ROUNDS_MAX: usize = 200;

/// Not a test by itself: without its environment it ends at once.
#[tokio::test(flavor = "multi_thread")]
async fn victim() {
    support::victim::run().await;
}

async fn count(client: &Client, what: &str) -> usize {
    query_text(client, &format!("SELECT count(*) FROM {what}")).await[0].parse().unwrap()
}

async fn handed_back(client: &Client) -> usize {
    count(client, "pgflow_attempts WHERE event = 'handed_back'").await
}

async fn serving(db: &TestDb, name: &str, seen: &std::sync::Arc<Seen>) -> Runtime {
    probing_queue(config(&db.url(), name), Queue::new("probe").workers(WORKERS).high_reserve(false), seen).await
}

async fn publish(runtime: &Runtime, n: i64, act: Act) {
    let many: Vec<Probe> = (0..n).map(|n| Probe::act(n, act.clone())).collect();
    runtime.publisher().publish_many(&many).await.unwrap();
}

/// Quick ones for longer than a pace is remembered, and slow ones behind them, all at once: so the slow ones find some claimed ahead.
async fn publish_quick_then_slow(runtime: &Runtime) {
    let quick = (0..5_000).map(Probe::new);
    let many: Vec<Probe> = quick.chain((0..100).map(|n| Probe::act(n, Act::Wait))).collect();
    runtime.publisher().publish_many(&many).await.unwrap();
}

/// Nothing was lost, doubled, or charged a try.
async fn whole(client: &Client, seen: &[&Seen]) {
    eventually(SOON, || async { count(client, "pgflow_messages WHERE status <> 'done'").await == 0 }).await;
    let mut starts: Vec<Start> = seen.iter().flat_map(|s| s.starts()).collect();
    assert!(starts.iter().all(|s| s.attempt == 1), "a hand-back is no try");
    assert_eq!(starts.len(), count(client, "pgflow_messages").await);
    starts.sort_by_key(|s| s.id);
    starts.dedup_by_key(|s| s.id);
    assert_eq!(starts.len(), count(client, "pgflow_messages").await, "started once each");
}

/// Fear: messages wait claimed behind slow ones while another instance has idle workers.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_behind_slow_ones_goes_to_another_instance() {
    let db = TestDb::new().await;
    let client = db.client().await;
    let (slow, quick) = (Seen::new(), Seen::new());
    quick.open();
    let a = serving(&db, "a", &slow).await;
    let mut lost = 0;
    for round in 0.. {
        assert!(round < ROUNDS_MAX, "nothing was ever claimed ahead");
        slow.close();
        // Alone, so that it finds its pace before it comes to the slow ones.
        publish_quick_then_slow(&a).await;
        eventually(SOON, || async { slow.running() == WORKERS }).await;
        let b = serving(&db, "b", &quick).await;
        // Whatever "a" had claimed besides what its workers are at, "b" gets: nothing else ends while those wait.
        eventually(SOON, || async {
            let left = count(&client, "pgflow_messages WHERE status <> 'done'").await;
            left <= WORKERS && left == slow.running()
        })
        .await;
        slow.open();
        eventually(SOON, || async { count(&client, "pgflow_messages WHERE status <> 'done'").await == 0 }).await;
        lost += b.found_by_heartbeat();
        b.stop(SOON).await.unwrap();
        if handed_back(&client).await > 0 {
            break;
        }
    }
    // 20 ms and a flush, with room for a machine that does other things.
    let late = count(&client, "pgflow_attempts WHERE at > claimed_at + interval '5 seconds'").await;
    assert_eq!(late, 0, "some waited longer");
    whole(&client, &[&slow, &quick]).await;
    assert_eq!(lost + a.found_by_heartbeat(), 0);
    a.stop(SOON).await.unwrap();
}

/// Fear: what waits claimed is started after a pause or a stop, or stays with the instance, or is charged a try.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_and_a_stop_hand_back_what_waits() {
    let db = TestDb::new().await;
    let client = db.client().await;
    let admin = Admin::connect(&config(&db.url(), "admin")).await.unwrap();
    let seen = Seen::new();
    seen.open();
    let mut a = serving(&db, "a", &seen).await;
    for stop in [false, true] {
        for round in 0.. {
            assert!(round < ROUNDS_MAX, "nothing was ever claimed ahead");
            let (before, events) = (seen.count(), handed_back(&client).await);
            publish(&a, 2_000, Act::Done).await;
            eventually(SOON, || async { seen.count() > before + 500 }).await;
            if stop {
                a.stop(SOON).await.unwrap();
                assert_eq!(count(&client, "pgflow_active").await, 0);
                a = serving(&db, "a", &seen).await;
            } else {
                admin.pause_queue("probe").await.unwrap();
                eventually(SOON, || async { count(&client, "pgflow_active").await == 0 }).await;
                admin.resume_queue("probe").await.unwrap();
            }
            whole(&client, &[&seen]).await;
            if handed_back(&client).await > events {
                break;
            }
        }
    }
    a.stop(SOON).await.unwrap();
}

/// Fear: an urgent message waits until all that was claimed ahead has been started.
#[tokio::test(flavor = "multi_thread")]
async fn high_starts_at_once_beside_what_waits() {
    let db = TestDb::new().await;
    let client = db.client().await;
    let seen = Seen::new();
    let a = probing(config(&db.url(), "a"), WORKERS, &seen).await;
    for round in 1.. {
        assert!(round <= ROUNDS_MAX as i64, "nothing was ever claimed ahead");
        seen.close();
        let events = handed_back(&client).await;
        publish_quick_then_slow(&a).await;
        eventually(SOON, || async { seen.running() == WORKERS }).await;
        a.publisher().send(Probe::new(-round).out().priority(Priority::High)).await.unwrap();
        // None of those ends before the gate is opened.
        eventually(SOON, || async { seen.started(-round).is_some() }).await;
        seen.open();
        whole(&client, &[&seen]).await;
        if handed_back(&client).await > events {
            break;
        }
    }
    a.stop(SOON).await.unwrap();
}

/// Fear: what waits claimed in a process that is killed is lost, or charged again and again until it is dead.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_costs_what_waits_one_try() {
    let db = TestDb::new().await;
    let client = db.client().await;
    client.batch_execute("SELECT pgflow_create_queue('probe')").await.unwrap();
    let publisher = pgflow::Publisher::connect(&config(&db.url(), "p")).await.unwrap();
    let many: Vec<Probe> = (0..2_000).map(Probe::new).collect();
    let victim = Victim::start(&db.url(), "victim");
    const AT_WORK: &str = "SELECT 'x' FROM pg_stat_activity \
         WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND datname = current_database() AND state = 'active'";
    // More than it has workers for.
    let ahead = format!("SELECT 'x' FROM pgflow_active HAVING count(*) > {}", 2 * WORKERS);
    eventually(SOON, || async {
        if count(&client, "pgflow_ready").await < 1_000 {
            publisher.publish_many(&many).await.unwrap();
        }
        if query_text(&client, &ahead).await.is_empty() {
            return false;
        }
        // Held still, or it may have settled all of them before the kill.
        victim.signal("-STOP");
        eventually(SOON, || async { query_text(&client, AT_WORK).await.is_empty() }).await;
        let caught = !query_text(&client, &ahead).await.is_empty();
        if !caught {
            victim.signal("-CONT");
        }
        caught
    })
    .await;
    victim.kill();
    let seen = Seen::new();
    let rescuer = probing_queue(quick(&db.url(), "rescuer"), victims_queue(), &seen).await;
    eventually(SOON, || async { count(&client, "pgflow_messages WHERE status <> 'done'").await == 0 }).await;
    assert_eq!(count(&client, "pgflow_messages").await % many.len(), 0, "lost or doubled");
    let tries = query_text(
        &client,
        "SELECT DISTINCT event || ' ' || attempt FROM pgflow_attempts WHERE event <> 'handed_back'",
    )
    .await;
    assert_eq!(tries, ["process_died 1"]);
    rescuer.stop(SOON).await.unwrap();
}
