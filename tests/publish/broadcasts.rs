//! One message for every live instance that serves the queue.

use std::time::Duration;

use crate::{
    Note, Scene, note,
    support::{eventually, query_text},
};

const BLOCKED: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";

/// Instances as their runtimes would have registered them.
async fn register(s: &Scene, instances: &[(&str, &str, bool)]) {
    for (name, decodes, live) in instances {
        let ended = if *live { "NULL" } else { "now()" };
        let sql =
            format!("INSERT INTO pgflow_instances (name, decodes, ended_at) VALUES ('{name}', '{decodes}', {ended})");
        s.sql.batch_execute(&sql).await.unwrap();
    }
}

const FLEET: &[(&str, &str, bool)] = &[
    ("a", r#"{"notes": {"note": 1}}"#, true),
    ("b", r#"{"notes": {"*": 1}, "others": {}}"#, true),
    ("gone", r#"{"notes": {"note": 1}}"#, false),
    ("elsewhere", r#"{"others": {"note": 1}}"#, true),
];

/// Fear: an instance is left out or gets two copies, or one that is gone or serves something else gets one.
#[tokio::test]
async fn every_live_instance_that_serves_the_queue_gets_one_copy() {
    let s = Scene::new().await;
    register(&s, FLEET).await;
    let receipts = s.publisher.broadcast(&Note { n: 1 }).await.unwrap();
    assert_eq!(receipts.len(), 2);
    assert_ne!(receipts[0].message_id, receipts[1].message_id);
    assert_eq!(query_text(&s.sql, "SELECT target FROM pgflow_messages ORDER BY 1").await, ["a", "b"]);
    assert_eq!(query_text(&s.sql, "SELECT count(DISTINCT broadcast_id) FROM pgflow_messages").await, ["1"]);
    let stored = "SELECT count(*) FROM pgflow_messages m WHERE id || ' ' || message_id = ANY ($$";
    let told: Vec<String> = receipts.iter().map(|r| format!("\"{} {}\"", r.id().unwrap(), r.message_id)).collect();
    assert_eq!(query_text(&s.sql, &format!("{stored}{{{}}}$$::text[])", told.join(","))).await, ["2"]);
}

/// Fear: a broadcast in the caller's transaction stays when that rolls back.
#[tokio::test]
async fn a_broadcast_rolls_back_with_its_transaction() {
    let s = Scene::new().await;
    register(&s, FLEET).await;
    let mut theirs = s.db.client().await;
    let tx = theirs.transaction().await.unwrap();
    assert_eq!(s.publisher.broadcast_in(&tx, &Note { n: 1 }).await.unwrap().len(), 2);
    tx.rollback().await.unwrap();
    s.assert_nothing_left().await;
}

/// Fear: the copies of a keyed message wait for one another, so that one dead instance stops the fleet.
#[tokio::test]
async fn keys_of_a_broadcast_hold_for_each_addressee_alone() {
    let s = Scene::new().await;
    register(&s, FLEET).await;
    s.publisher.broadcast_out(note(1).ordering_key("k")).await.unwrap();
    s.publisher.broadcast_out(note(2).ordering_key("k")).await.unwrap();
    let rows = "SELECT target || ' ' || ordering_key || ' ' || status FROM pgflow_messages ORDER BY target, id";
    assert_eq!(query_text(&s.sql, rows).await, ["a k@a pending", "a k@a parked", "b k@b pending", "b k@b parked"]);
}

/// Fear: a repeated broadcast reaches the same instances again, or not those that came meanwhile.
#[tokio::test]
async fn a_repeated_broadcast_reaches_only_new_instances() {
    let s = Scene::new().await;
    register(&s, FLEET).await;
    let first = s.publisher.broadcast_out(note(1).dedup_key("d")).await.unwrap();
    register(&s, &[("late", r#"{"notes": {"note": 1}}"#, true)]).await;
    let second = s.publisher.broadcast_out(note(1).dedup_key("d")).await.unwrap();
    assert_eq!(second.iter().filter(|r| first.contains(r)).count(), 2);
    assert_eq!(second.len(), 3);
    assert_eq!(s.statuses().await.len(), 3);
}

/// Fear: nobody live is taken for an error, or an unknown queue for nobody live.
#[tokio::test]
async fn nobody_live_is_no_error_but_bad_input_is() {
    let s = Scene::new().await;
    assert_eq!(s.publisher.broadcast(&Note { n: 1 }).await.unwrap(), []);
    for (out, text) in [
        (note(1).queue("nobody"), "unknown queue \"nobody\""),
        (note(1).target("a"), "it has no target"),
        (note(1).ordering_key("x".repeat(384)), "at most 383 bytes, it has 384"),
    ] {
        let e = s.publisher.broadcast_out(out).await.unwrap_err();
        assert!(e.is_input() && e.to_string().contains(text), "{e}");
    }
    s.sql.batch_execute("UPDATE pgflow_queues SET payload_bytes_max = 2").await.unwrap();
    let e = s.publisher.broadcast(&Note { n: 1 }).await.unwrap_err();
    assert!(e.to_string().contains("the payload has 7 bytes, the queue takes at most 2"), "{e}");
    s.assert_nothing_left().await;
}

/// Fear: a broadcast takes an ordering key while a batch, which holds a dedup key it will want, waits for that: a deadlock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_and_a_batch_over_the_same_keys_do_not_deadlock() {
    let s = Scene::new().await;
    register(&s, FLEET).await;
    let mut theirs = s.db.client().await;
    let tx = theirs.transaction().await.unwrap();
    s.publisher.send_in(&tx, note(1).ordering_key("a")).await.unwrap();
    // The batch holds its dedup key, and waits for its first ordering key.
    let publisher = s.publisher.clone();
    let batch = tokio::spawn(async move {
        let batch = vec![note(2).ordering_key("a"), note(3).dedup_key("d@b").ordering_key("k@a")];
        publisher.send_many(batch).await
    });
    let blocked = async |count: &str| query_text(&s.sql, BLOCKED).await == [count];
    eventually(Duration::from_secs(10), || blocked("1")).await;
    // The broadcast waits for the batch's dedup key, and must not hold the ordering key that the batch wants next.
    let publisher = s.publisher.clone();
    let broadcast =
        tokio::spawn(async move { publisher.broadcast_out(note(4).dedup_key("d").ordering_key("k")).await });
    eventually(Duration::from_secs(10), || blocked("2")).await;
    tx.commit().await.unwrap();
    assert_eq!(batch.await.unwrap().unwrap().len(), 2);
    assert_eq!(broadcast.await.unwrap().unwrap().len(), 2);
    assert_eq!(s.statuses().await.len(), 4, "the copy to b is a repeat");
}
