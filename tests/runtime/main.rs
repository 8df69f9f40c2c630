//! A message's life in one process: done, retried, dead, snoozed, exactly once, stopped, and what is left behind.

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod behind;
mod keyed;
mod outcomes;
mod priority;
mod starts;
mod upkeep;
mod versions;

use std::time::Duration;

use support::{TestDb, eventually, probe::*};

use pgflow::{Failure, Handler, Message, Outgoing, Priority, Queue, Runtime};

const SOON: Duration = Duration::from_secs(20);

async fn statuses(client: &tokio_postgres::Client) -> Vec<(i64, String)> {
    client
        .query("SELECT (payload ->> 'n')::bigint, status FROM pgflow_messages ORDER BY id", &[])
        .await
        .unwrap()
        .iter()
        .map(|r| (r.get::<_, Option<i64>>(0).unwrap_or(-1), r.get(1)))
        .collect()
}

async fn all(client: &tokio_postgres::Client, status: &str, n: usize) -> bool {
    let s = statuses(client).await;
    s.len() == n && s.iter().all(|(_, x)| x == status)
}

/// Fear: the thinnest path breaks somewhere: publish, wake, claim, handle, settle.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_handled_and_kept_as_done() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let runtime = probing(config(&db.url(), "a"), 2, &seen).await;
    for n in 0..20 {
        runtime.publisher().publish(&Probe::new(n)).await.unwrap();
    }
    let client = db.client().await;
    eventually(SOON, || all(&client, "done", 20)).await;
    assert_eq!(seen.count(), 20);
    assert_eq!(runtime.found_by_heartbeat(), 0);
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a stop loses what was claimed, counts it as a try, or waits for ever for a handler.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_hands_everything_back() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let runtime = probing(config(&db.url(), "a"), 8, &seen).await;
    let many: Vec<Probe> = (0..100).map(|n| Probe::act(n, Act::Wait)).collect();
    runtime.publisher().publish_many(&many).await.unwrap();
    eventually(SOON, || async { seen.running() == 8 }).await;
    runtime.stop(Duration::from_millis(50)).await.unwrap();
    let client = db.client().await;
    assert!(all(&client, "pending", 100).await, "{:?}", statuses(&client).await);
    let retries = support::query_text(&client, "SELECT DISTINCT retry_count::text FROM pgflow_messages").await;
    assert_eq!(retries, ["0"], "a hand-back is no try");
    assert_eq!(
        support::query_text(&client, "SELECT count(*)::text FROM pgflow_instances WHERE ended_at IS NULL").await,
        ["0"]
    );
    // And another instance finishes them.
    seen.open();
    let second = probing(config(&db.url(), "b"), 8, &seen).await;
    eventually(SOON, || all(&client, "done", 100)).await;
    second.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: with one worker, messages overtake one another.
#[tokio::test(flavor = "multi_thread")]
async fn one_worker_starts_in_publish_order() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let queue = Queue::new("probe").workers(1).high_reserve(false);
    let runtime = probing_queue(config(&db.url(), "a"), queue, &seen).await;
    for n in 0..300 {
        runtime.publisher().publish(&Probe::new(n)).await.unwrap();
    }
    let client = db.client().await;
    eventually(SOON, || all(&client, "done", 300)).await;
    assert_eq!(seen.ns(), (0..300).collect::<Vec<_>>());
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a handler past its deadline holds its worker, or its message, for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_past_its_deadline_is_cut_and_retried() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let queue = Queue::new("probe").workers(2).max_retries(0).deadline(Duration::from_millis(100));
    let runtime = probing_queue(config(&db.url(), "a"), queue, &seen).await;
    runtime.publisher().publish(&Probe::act(1, Act::Wait)).await.unwrap();
    runtime.publisher().publish(&Probe::act(2, Act::Block)).await.unwrap();
    let client = db.client().await;
    eventually(SOON, || all(&client, "dead", 2)).await;
    let errors = support::query_text(&client, "SELECT DISTINCT error FROM pgflow_dlq").await;
    assert_eq!(errors, ["ran past its deadline of 100 ms"]);
    runtime.publisher().publish(&Probe::new(3)).await.unwrap();
    runtime.publisher().publish(&Probe::new(4)).await.unwrap();
    eventually(SOON, || async { seen.started(3).is_some() && seen.started(4).is_some() }).await;
    seen.open();
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: two live instances of one name take each other's addressed messages.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_live_holder_of_a_name_is_refused() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let first = probing(config(&db.url(), "a"), 1, &seen).await;
    let again =
        Runtime::builder(config(&db.url(), "a")).queue(Queue::new("probe")).handler(move || Prober(Seen::new()));
    let refused = again.start().await.err().expect("refused");
    assert!(refused.is_name_taken() && refused.to_string().contains("a live instance has this name"), "{refused}");
    first.stop(Duration::from_secs(5)).await.unwrap();
    probing(config(&db.url(), "a"), 1, &seen).await.stop(Duration::from_secs(5)).await.unwrap();
}
