//! What becomes of a message that fails, panics, is rejected or snoozes.

use super::*;

/// Fear: a failed or panicking try is lost, retried at once, counted wrong, or brings the tree down.
#[tokio::test(flavor = "multi_thread")]
async fn failures_and_panics_are_retried_with_the_queues_backoff() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let queue = Queue::new("probe").workers(2).retry_delay(Duration::from_millis(40), Duration::from_secs(1));
    let runtime = probing_queue(config(&db.url(), "a"), queue, &seen).await;
    runtime.publisher().publish(&Probe::act(1, Act::FailUntil(3))).await.unwrap();
    runtime.publisher().publish(&Probe::act(2, Act::PanicUntil(2))).await.unwrap();
    let client = db.client().await;
    eventually(SOON, || all(&client, "done", 2)).await;
    let attempts: Vec<(i64, u32)> = {
        let mut a: Vec<_> = seen.starts().iter().map(|s| (s.n, s.attempt)).collect();
        a.sort_unstable();
        a
    };
    assert_eq!(attempts, [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]);
    let events =
        support::query_text(&client, "SELECT event || ': ' || detail FROM pgflow_attempts ORDER BY id, at").await;
    assert_eq!(events, ["failed: asked to fail", "failed: asked to fail", "panicked: panic: asked to panic"]);
    assert_eq!(restarts(&runtime.tree().await), 0, "a panic is the message's, not the tree's");
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

fn restarts(node: &pgflow::TreeNode) -> u64 {
    node.restarts + node.children.iter().map(restarts).sum::<u64>()
}

/// Fear: a message that always fails goes round for ever, or is lost at the end; a rejected one is retried.
#[tokio::test(flavor = "multi_thread")]
async fn used_up_and_rejected_messages_are_dead_letters_with_reasons() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let queue = Queue::new("probe").max_retries(2).retry_delay(Duration::from_millis(10), Duration::from_millis(10));
    let runtime = probing_queue(config(&db.url(), "a"), queue, &seen).await;
    runtime.publisher().publish(&Probe::act(1, Act::FailUntil(99))).await.unwrap();
    runtime.publisher().publish(&Probe::act(2, Act::Dead)).await.unwrap();
    let client = db.client().await;
    eventually(SOON, || all(&client, "dead", 2)).await;
    let dead =
        support::query_text(&client, "SELECT error_kind || ' ' || attempt || ' ' || error FROM pgflow_dlq ORDER BY id")
            .await;
    assert_eq!(dead, ["retries_exhausted 3 asked to fail", "rejected 1 asked to die"]);
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: poison messages use up the tree's restart budget, or workers one by one.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_poison_messages_restart_nothing() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let queue = Queue::new("probe").workers(8).max_retries(0);
    let runtime = probing_queue(config(&db.url(), "a"), queue, &seen).await;
    let poison: Vec<Probe> = (0..1_000).map(|n| Probe::act(n, Act::PanicUntil(99))).collect();
    std::panic::set_hook(Box::new(|_| {}));
    runtime.publisher().publish_many(&poison).await.unwrap();
    let client = db.client().await;
    eventually(Duration::from_secs(60), || all(&client, "dead", 1_000)).await;
    let _ = std::panic::take_hook();
    assert_eq!(restarts(&runtime.tree().await), 0);
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a snooze counts as a try, or is forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn a_snooze_comes_back_without_counting() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let runtime = probing(config(&db.url(), "a"), 1, &seen).await;
    runtime.publisher().publish(&Probe::act(1, Act::Snooze(30))).await.unwrap();
    let client = db.client().await;
    eventually(SOON, || all(&client, "done", 1)).await;
    assert_eq!(seen.starts().iter().map(|s| s.attempt).collect::<Vec<_>>(), [1, 1]);
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}
