//! Many messages at once.

use std::sync::Arc;

use pgflow::{Priority, limits};

use crate::{Note, Scene, note, support::query_text};

const ORDER: &str = "SELECT convert_from(body, 'UTF8')::jsonb->>'n' FROM pgflow_ready ORDER BY seq";

/// Fear: a batch is stored in another order than given, or its receipts belong to other messages.
#[tokio::test]
async fn a_batch_keeps_its_order_and_its_receipts() {
    let s = Scene::new().await;
    let notes: Vec<Note> = (0..2_000).map(|n| Note { n }).collect();
    let receipts = s.publisher.publish_many(&notes).await.unwrap();
    let expected: Vec<String> = (0..2_000).map(|n| n.to_string()).collect();
    assert_eq!(query_text(&s.sql, ORDER).await, expected);
    assert!(receipts.is_sorted_by_key(|r| r.id().unwrap()));
    let by_receipt = "SELECT id || ' ' || message_id FROM pgflow_messages ORDER BY (payload->>'n')::int";
    let told: Vec<String> = receipts.iter().map(|r| format!("{} {}", r.id().unwrap(), r.message_id)).collect();
    assert_eq!(query_text(&s.sql, by_receipt).await, told);
}

/// Fear: one keyed message among plain ones changes the order of all.
#[tokio::test]
async fn a_mixed_batch_keeps_its_order() {
    let s = Scene::new().await;
    let batch = (0..20).map(|n| match n % 5 {
        0 => note(n).ordering_key(format!("k{}", n % 2)),
        1 => note(n).dedup_key(format!("d{}", n % 3)),
        2 => note(n).priority(Priority::High),
        3 => note(n).delay(std::time::Duration::from_secs(60)),
        _ => note(n),
    });
    let receipts = s.publisher.send_many(batch.collect()).await.unwrap();
    // k0: 0, 10; k1: 5, 15; d1: 1, 16; d0: 6; d2: 11.
    assert_eq!(receipts[16], receipts[1], "a repeat inside the batch");
    let ids: Vec<i64> = receipts.iter().enumerate().filter(|(n, _)| *n != 16).map(|(_, r)| r.id().unwrap()).collect();
    assert!(ids.is_sorted(), "{ids:?}");
    let parked = "SELECT payload->>'n' FROM pgflow_messages WHERE status = 'parked' ORDER BY id";
    assert_eq!(query_text(&s.sql, parked).await, ["10", "15"]);
    assert_eq!(s.statuses().await.len(), 19);
}

/// Fear: batches with overlapping keys deadlock with each other, with single publishes or with settles.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlapping_batches_do_not_deadlock() {
    let s = Arc::new(Scene::new().await);
    let rounds = (0..40_i64).map(|r| {
        let s = Arc::clone(&s);
        tokio::spawn(async move {
            // Every round names the same keys, in another order and paired differently.
            let batch = (0..12).map(|i| {
                let (key, dedup) = ((i * 7 + r) % 12, (i * 5 + r * 3) % 12);
                note(i).ordering_key(format!("k{key}")).dedup_key(format!("{}d{dedup}", r % 4))
            });
            if r % 3 == 0 {
                for out in batch {
                    s.publisher.send(out).await.unwrap();
                }
            } else {
                s.publisher.send_many(batch.collect()).await.unwrap();
            }
        })
    });
    for round in rounds.collect::<Vec<_>>() {
        round.await.unwrap();
    }
    let two_heads = "SELECT ordering_key FROM pgflow_messages WHERE status <> 'parked' GROUP BY 1 HAVING count(*) <> 1";
    assert_eq!(query_text(&s.sql, two_heads).await, Vec::<String>::new());
    assert_eq!(s.statuses().await.len(), 48, "4 times 12 dedup keys");
}

/// Fear: half of a batch is stored when one of it is refused by the database.
#[tokio::test]
async fn a_batch_is_all_or_nothing() {
    let s = Scene::new().await;
    // A check that only the database knows.
    s.sql
        .batch_execute("ALTER TABLE pgflow_ready ADD CHECK (convert_from(body, 'UTF8') <> '{\"n\":900}')")
        .await
        .unwrap();
    let notes: Vec<Note> = (0..1_000).map(|n| Note { n }).collect();
    assert!(s.publisher.publish_many(&notes).await.unwrap_err().is_input());
    let keyed = (0..1_000).map(|n| note(n).ordering_key(n.to_string()).dedup_key(n.to_string())).collect();
    assert!(s.publisher.send_many(keyed).await.unwrap_err().is_input());
    s.assert_nothing_left().await;
    s.publisher.publish_many(&notes[..900]).await.unwrap();
}

/// Fear: the edges: no message, one, or more than the limit.
#[tokio::test]
async fn the_edges_of_a_batch() {
    let s = Scene::new().await;
    assert_eq!(s.publisher.publish_many::<Note>(&[]).await.unwrap(), []);
    assert_eq!(s.publisher.publish_many(&[Note { n: 1 }]).await.unwrap().len(), 1);
    let e = s.publisher.send_many(vec![note(1); limits::BATCH_MESSAGES_MAX + 1]).await.unwrap_err();
    assert!(e.is_input() && e.to_string().contains("100001 messages, at most 100000"), "{e}");
    assert_eq!(s.statuses().await.len(), 1);
}

/// Fear: a batch draws its places before it holds the lock that the low-water rule looks for, and is then overlooked.
#[tokio::test]
async fn a_batch_holds_the_tables_lock_before_it_draws_places() {
    let s = Scene::new().await;
    s.publisher.publish_many(&[Note { n: 1 }, Note { n: 2 }]).await.unwrap();
    let mut theirs = s.db.client().await;
    let tx = theirs.transaction().await.unwrap();
    tx.batch_execute("LOCK TABLE pgflow_ready IN SHARE MODE").await.unwrap();
    let before = query_text(&s.sql, "SELECT last_value FROM pgflow_seq").await;
    let publisher = s.publisher.clone();
    let batch = tokio::spawn(async move { publisher.publish_many(&[Note { n: 3 }, Note { n: 4 }]).await });
    let waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'pgflow_ready'::regclass AND mode = 'RowExclusiveLock'";
    crate::support::eventually(std::time::Duration::from_secs(10), || async {
        query_text(&s.sql, waits).await == ["1"]
    })
    .await;
    assert_eq!(query_text(&s.sql, "SELECT last_value FROM pgflow_seq").await, before);
    tx.rollback().await.unwrap();
    batch.await.unwrap().unwrap();
}
