//! Publishers in bursts, with transactions that stay open.

use super::*;

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
