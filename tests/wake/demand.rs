//! Who has workers and who has none: saturation, priority, keys.

use super::*;

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
