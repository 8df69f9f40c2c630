//! Publishing inside the caller's transaction.

use std::time::Duration;

use crate::{Note, Scene, note, support::eventually, support::query_text};

/// Fear: a message is sent though its transaction rolled back, or is seen before it commits.
#[tokio::test]
async fn a_message_commits_and_rolls_back_with_its_transaction() {
    let s = Scene::new().await;
    let mut theirs = s.db.client().await;
    theirs.batch_execute("CREATE TABLE orders (id int)").await.unwrap();

    let tx = theirs.transaction().await.unwrap();
    tx.execute("INSERT INTO orders VALUES (1)", &[]).await.unwrap();
    s.publisher.publish_in(&tx, &Note { n: 1 }).await.unwrap();
    s.publisher.send_in(&tx, note(2).ordering_key("k").dedup_key("d").target("somebody new")).await.unwrap();
    assert_eq!(s.statuses().await, Vec::<String>::new(), "seen before its commit");
    tx.rollback().await.unwrap();
    s.assert_nothing_left().await;

    let tx = theirs.transaction().await.unwrap();
    tx.execute("INSERT INTO orders VALUES (2)", &[]).await.unwrap();
    let plain = s.publisher.publish_in(&tx, &Note { n: 3 }).await.unwrap();
    let keyed = s.publisher.send_in(&tx, note(4).ordering_key("k").target("somebody new")).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        s.statuses().await,
        [format!("{}:pending", plain.id().unwrap()), format!("{}:pending", keyed.id().unwrap())]
    );
    assert_eq!(query_text(&s.sql, "SELECT id FROM orders").await, ["2"]);
}

/// Fear: a lane made in a transaction that rolled back is remembered, and later messages go nowhere.
#[tokio::test]
async fn nothing_that_rolled_back_is_remembered() {
    let s = Scene::new().await;
    let mut theirs = s.db.client().await;
    let tx = theirs.transaction().await.unwrap();
    tx.batch_execute("SELECT pgflow_create_queue('fleeting')").await.unwrap();
    s.publisher.send_in(&tx, note(1).queue("fleeting").target("b")).await.unwrap();
    s.publisher.send_in(&tx, note(1).target("b")).await.unwrap();
    tx.rollback().await.unwrap();
    assert!(s.publisher.send(note(2).queue("fleeting")).await.unwrap_err().is_input());
    s.publisher.send(note(3).target("b")).await.unwrap();
    let rows = "SELECT queue_name || ' ' || target FROM pgflow_messages";
    assert_eq!(query_text(&s.sql, rows).await, ["notes b"]);
}

/// Fear: a refused message aborts the caller's transaction, or leaves half of itself in it.
#[tokio::test]
async fn a_refusal_leaves_the_transaction_usable() {
    let s = Scene::new().await;
    let mut theirs = s.db.client().await;
    theirs.batch_execute("UPDATE pgflow_queues SET payload_bytes_max = 20").await.unwrap();
    let tx = theirs.transaction().await.unwrap();
    let big = note(1_000_000_000_000_000_000);
    for (out, text) in [
        (note(1).queue("nobody"), "unknown queue \"nobody\": make it with `pgflow queue create nobody`"),
        (note(1).queue("nobody").ordering_key("k"), "unknown queue \"nobody\""),
        (big.clone(), "the payload has 25 bytes, the queue takes at most 20"),
        (big.clone().dedup_key("d"), "the payload has 25 bytes, the queue takes at most 20"),
    ] {
        let e = s.publisher.send_in(&tx, out).await.unwrap_err();
        assert!(e.is_input() && e.to_string().contains(text), "{e}");
    }
    s.publisher.publish_in(&tx, &Note { n: 1 }).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(s.kinds_of_status().await, ["pending"]);
    assert_eq!(query_text(&s.sql, "SELECT count(*) FROM pgflow_dedup").await, ["0"]);
}

/// Fear: something is prepared on the caller's connection, which a transaction pooler would hand to somebody else.
#[tokio::test]
async fn nothing_is_prepared_on_the_callers_connection() {
    let s = Scene::new().await;
    s.publisher.publish_in(&s.sql, &Note { n: 1 }).await.unwrap();
    s.publisher.send_in(&s.sql, note(2).ordering_key("k")).await.unwrap();
    s.publisher.broadcast_in(&s.sql, &Note { n: 3 }).await.unwrap();
    assert_eq!(query_text(&s.sql, "SELECT count(*) FROM pg_prepared_statements").await, ["0"]);
}

/// Fear: a publish whose answer is lost claims to have failed, so that the caller sends it twice without knowing.
#[tokio::test]
async fn an_unanswered_publish_says_that_its_outcome_is_unknown() {
    let s = Scene::new().await;
    s.publisher.publish(&Note { n: 0 }).await.unwrap();
    let mut theirs = s.db.client().await;
    let tx = theirs.transaction().await.unwrap();
    tx.batch_execute("LOCK TABLE pgflow_ready IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let publisher = s.publisher.clone();
    let publish = tokio::spawn(async move { publisher.publish(&Note { n: 1 }).await });
    let waiting = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO%pgflow_ready%'";
    eventually(Duration::from_secs(10), || async { !query_text(&s.sql, waiting).await.is_empty() }).await;
    let e = publish.await.unwrap().unwrap_err();
    assert!(e.is_closed() && !e.is_input(), "{e:?}");
    assert!(e.to_string().contains("outcome unknown"), "{e}");
    drop(tx);
    // The pool replaces the connection.
    s.publisher.publish(&Note { n: 2 }).await.unwrap();
}
