//! Ordering keys and dedup keys.

use std::time::Duration;

use pgflow::Config;

use crate::{Scene, note, support::eventually, support::query_text};

const HEADS: &str = "SELECT count(*) FROM pgflow_messages WHERE ordering_key = 'k' AND status <> 'parked'";
const BLOCKED: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";

/// Fear: two publishers of one key whose transactions overlap make two heads, or their ids are not in commit order.
#[tokio::test]
async fn overlapping_publishers_of_one_key_park_in_commit_order() {
    let s = Scene::new().await;
    let mut theirs = s.db.client().await;
    let tx = theirs.transaction().await.unwrap();
    let first = s.publisher.send_in(&tx, note(1).ordering_key("k")).await.unwrap();
    let others: Vec<_> = (2..=5)
        .map(|n| {
            let publisher = s.publisher.clone();
            tokio::spawn(async move { publisher.send(note(n).ordering_key("k")).await.unwrap().id().unwrap() })
        })
        .collect();
    eventually(Duration::from_secs(10), || async { query_text(&s.sql, BLOCKED).await == ["4"] }).await;
    assert_eq!(s.statuses().await, Vec::<String>::new());
    tx.commit().await.unwrap();
    for other in others {
        assert!(other.await.unwrap() > first.id().unwrap());
    }
    assert_eq!(s.kinds_of_status().await, ["pending", "parked", "parked", "parked", "parked"]);
    assert_eq!(query_text(&s.sql, HEADS).await, ["1"]);
}

/// Fear: the head's rollback leaves its followers parked behind nobody, for ever.
#[tokio::test]
async fn a_rolled_back_head_leaves_the_key_free() {
    let s = Scene::new().await;
    let mut theirs = s.db.client().await;
    let tx = theirs.transaction().await.unwrap();
    s.publisher.send_in(&tx, note(1).ordering_key("k")).await.unwrap();
    let publisher = s.publisher.clone();
    let other = tokio::spawn(async move { publisher.send(note(2).ordering_key("k")).await });
    eventually(Duration::from_secs(10), || async { query_text(&s.sql, BLOCKED).await == ["1"] }).await;
    tx.rollback().await.unwrap();
    other.await.unwrap().unwrap();
    assert_eq!(s.kinds_of_status().await, ["pending"]);
}

/// Fear: calls that were dropped leave connections behind on which their statement still waits, and others' messages wait behind it.
#[tokio::test]
async fn a_dropped_call_holds_no_connection() {
    let s = Scene::new().await;
    let mut theirs = s.db.client().await;
    let tx = theirs.transaction().await.unwrap();
    s.publisher.send_in(&tx, note(1).ordering_key("k")).await.unwrap();
    let connections = Config::new("").handler_connections;
    let calls: Vec<_> = (0..connections)
        .map(|n| {
            let publisher = s.publisher.clone();
            tokio::spawn(async move {
                let out = note(n as i64).ordering_key("k");
                if n % 2 == 0 { drop(publisher.send(out).await) } else { drop(publisher.send_many(vec![out]).await) }
            })
        })
        .collect();
    eventually(Duration::from_secs(10), || async { query_text(&s.sql, BLOCKED).await == [connections.to_string()] })
        .await;
    for call in calls {
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
    }
    tokio::time::timeout(Duration::from_secs(10), s.publisher.send(note(9))).await.expect("not behind them").unwrap();
    tx.rollback().await.unwrap();
}

/// Fear: in one transaction (or under a savepoint) the second message of a key takes itself for a head.
#[tokio::test]
async fn one_transaction_makes_one_head() {
    let s = Scene::new().await;
    let mut theirs = s.db.client().await;
    let mut tx = theirs.transaction().await.unwrap();
    s.publisher.send_in(&tx, note(1).ordering_key("k")).await.unwrap();
    s.publisher.send_in(&tx, note(2).ordering_key("k")).await.unwrap();
    let save = tx.transaction().await.unwrap();
    s.publisher.send_in(&save, note(3).ordering_key("k")).await.unwrap();
    save.rollback().await.unwrap();
    let save = tx.transaction().await.unwrap();
    s.publisher.send_in(&save, note(4).ordering_key("k")).await.unwrap();
    save.commit().await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(s.kinds_of_status().await, ["pending", "parked", "parked"]);
}

/// Fear: a delayed head lets its followers pass, or a parked message forgets its delay.
#[tokio::test]
async fn a_delayed_head_holds_its_key() {
    let s = Scene::new().await;
    s.publisher.send(note(1).ordering_key("k").delay(Duration::from_secs(60))).await.unwrap();
    s.publisher.send(note(2).ordering_key("k").delay(Duration::from_secs(120))).await.unwrap();
    s.publisher.send(note(3).ordering_key("other")).await.unwrap();
    let rows = "SELECT status || ' ' || coalesce(run_at > created_at + interval '50 s', false) FROM pgflow_messages ORDER BY id";
    assert_eq!(query_text(&s.sql, rows).await, ["scheduled true", "parked true", "pending false"]);
}

/// Fear: a repeat makes a second message, or answers an id that is nobody's.
#[tokio::test]
async fn a_repeated_dedup_key_answers_the_first_ones_ids() {
    let s = Scene::new().await;
    let new = note(1).dedup_key("d");
    let own = new.message_id();
    let first = s.publisher.send(new).await.unwrap();
    assert_eq!(first.message_id, own, "a new one keeps its own id: so a repeat, which does not, can be told");
    assert_eq!(s.publisher.send(note(2).dedup_key("d")).await.unwrap(), first);
    assert_eq!(s.publisher.send_in(&s.sql, note(3).dedup_key("d")).await.unwrap(), first);
    assert_eq!(s.publisher.send_many(vec![note(4).dedup_key("d")]).await.unwrap(), [first]);
    assert_eq!(s.statuses().await, [format!("{}:pending", first.id().unwrap())]);
    // Another queue's keys are its own.
    s.sql.batch_execute("SELECT pgflow_create_queue('others')").await.unwrap();
    assert_ne!(s.publisher.send(note(5).queue("others").dedup_key("d")).await.unwrap(), first);
}

/// Fear: two racing publishes of one dedup key both win, or the loser gets no id.
#[tokio::test]
async fn racing_repeats_get_one_id() {
    let s = Scene::new().await;
    let mut theirs = s.db.client().await;
    let tx = theirs.transaction().await.unwrap();
    let first = s.publisher.send_in(&tx, note(1).dedup_key("d").ordering_key("k")).await.unwrap();
    let racers: Vec<_> = (0..4)
        .map(|n| {
            let publisher = s.publisher.clone();
            tokio::spawn(async move { publisher.send(note(n).dedup_key("d").ordering_key("k")).await.unwrap() })
        })
        .collect();
    eventually(Duration::from_secs(10), || async { query_text(&s.sql, BLOCKED).await == ["4"] }).await;
    tx.commit().await.unwrap();
    for racer in racers {
        assert_eq!(racer.await.unwrap(), first);
    }
    assert_eq!(s.kinds_of_status().await, ["pending"]);
}

/// Fear: a race whose first one rolls back loses the message altogether, or sends it more than once.
#[tokio::test]
async fn a_racing_repeat_wins_when_the_first_rolls_back() {
    let s = Scene::new().await;
    let mut theirs = s.db.client().await;
    let tx = theirs.transaction().await.unwrap();
    s.publisher.send_in(&tx, note(1).dedup_key("d")).await.unwrap();
    let racers: Vec<_> = (0..3)
        .map(|n| {
            let publisher = s.publisher.clone();
            tokio::spawn(async move { publisher.send(note(n).dedup_key("d")).await.unwrap() })
        })
        .collect();
    eventually(Duration::from_secs(10), || async { query_text(&s.sql, BLOCKED).await == ["3"] }).await;
    tx.rollback().await.unwrap();
    let mut ids = Vec::new();
    for racer in racers {
        ids.push(racer.await.unwrap());
    }
    assert!(ids.iter().all(|r| r == &ids[0]), "{ids:?}");
    assert_eq!(s.statuses().await, [format!("{}:pending", ids[0].id().unwrap())]);
}

/// Fear: a publisher that repeats an old dedup key holds the whole upkeep up, or deadlocks with it.
#[tokio::test]
async fn retention_passes_a_dedup_key_in_use() {
    let s = Scene::new().await;
    for key in ["a", "b"] {
        s.publisher.send(note(1).dedup_key(key)).await.unwrap();
    }
    s.sql.batch_execute("UPDATE pgflow_dedup SET created_at = now() - interval '8 days'").await.unwrap();
    let mut theirs = s.db.client().await;
    let tx = theirs.transaction().await.unwrap();
    s.publisher.send_in(&tx, note(2).dedup_key("a")).await.unwrap();
    // Spools that are gone are forgotten with them.
    s.sql
        .batch_execute(
            "SET statement_timeout = '5s';
             INSERT INTO pgflow_spools VALUES (gen_random_uuid(), 1, now() - interval '91 days'), (gen_random_uuid(), 2, now() - interval '89 days')",
        )
        .await
        .unwrap();
    let retention = include_str!("../../sql/queries/retention.sql").replace("{schema}", "public");
    s.sql.query_one(&retention, &[&30_i32, &7_i32, &90_i32, &1_000_i32]).await.unwrap();
    assert_eq!(query_text(&s.sql, "SELECT dedup_key FROM pgflow_dedup").await, ["a"]);
    assert_eq!(query_text(&s.sql, "SELECT forwarded FROM pgflow_spools").await, ["2"]);
    tx.rollback().await.unwrap();
}
