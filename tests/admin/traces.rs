//! What befell a message, told by the database alone.

use std::time::Duration;

use pgflow::admin::TraceEvent;

use crate::{
    SOON, Scene,
    support::{
        eventually,
        probe::{Act, Probe, Seen, probing},
    },
};

/// `event` or `event/instance`, in order.
fn told(events: &[TraceEvent]) -> Vec<String> {
    assert!(events.is_sorted_by(|a, b| a.at <= b.at), "in time order: {events:#?}");
    let tell = |e: &TraceEvent| e.instance.as_ref().map_or(e.event.clone(), |name| format!("{}/{name}", e.event));
    events.iter().map(tell).collect()
}

/// Fear: the trace leaves a try out, or says the wrong instance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retried_message_tells_every_try() {
    let s = Scene::new().await;
    s.sql.batch_execute("UPDATE pgflow_queues SET retry_delay_ms = 5, retry_delay_ms_max = 5").await.unwrap();
    let seen = Seen::new();
    let runtime = probing(s.config("a"), 1, &seen).await;
    let receipt = s.publisher.publish(&Probe::act(1, Act::FailUntil(3))).await.unwrap();
    s.until(&["1:done"]).await;
    let events = s.admin.trace(receipt.id().unwrap()).await.unwrap();
    let expected = ["published/operator", "started/a", "failed/a", "started/a", "failed/a", "started/a", "done/a"];
    assert_eq!(told(&events), expected);
    let attempts: Vec<_> = events.iter().map(|e| e.attempt).collect();
    assert_eq!(attempts, [None, Some(1), Some(1), Some(2), Some(2), Some(3), Some(3)]);
    assert_eq!(events[2].detail.as_deref(), Some("asked to fail"));
    assert_eq!(events[0].detail.as_deref(), Some("kind \"probe\" to queue \"probe\""));
    assert_eq!(s.admin.trace_message_id(receipt.message_id).await.unwrap(), events);
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a message whose process died tells nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rescued_message_tells_who_died() {
    let s = Scene::new().await;
    let id = s.publisher.publish(&Probe::new(1)).await.unwrap().id().unwrap();
    // A process that claimed it and is gone: its liveness lock is free, its heartbeat old.
    s.sql
        .batch_execute(
            "INSERT INTO pgflow_instances (name, heartbeat_at) VALUES ('ghost', now() - interval '1 hour');
             WITH gone AS (DELETE FROM pgflow_ready RETURNING *)
             INSERT INTO pgflow_active (id, token, session_id, lane_id, seq, attempt, version, codec, message_id, created_at, kind, body, source)
             SELECT seq, 1, (SELECT max(session_id) FROM pgflow_instances), lane_id, seq, 1, version, codec,
                    message_id, created_at, kind, body, source FROM gone",
        )
        .await
        .unwrap();
    let seen = Seen::new();
    let mut config = s.config("a");
    config.heartbeat_ms = 50;
    let runtime = probing(config, 1, &seen).await;
    s.until(&["1:done"]).await;
    let expected = ["published/operator", "started/ghost", "rescued/ghost", "started/a", "done/a"];
    assert_eq!(told(&s.admin.trace(id).await.unwrap()), expected);
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a hand-back at stop looks like a try, or the try that was handed back is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_handed_back_tells_so() {
    let s = Scene::new().await;
    let seen = Seen::new();
    let runtime = probing(s.config("a"), 1, &seen).await;
    let id = s.publisher.publish(&Probe::act(1, Act::Wait)).await.unwrap().id().unwrap();
    eventually(SOON, || async { seen.count() == 1 }).await;
    runtime.stop(Duration::ZERO).await.unwrap();
    s.until(&["1:pending"]).await;
    let events = s.admin.trace(id).await.unwrap();
    assert_eq!(told(&events), ["published/operator", "started/a", "handed_back/a"]);
    assert_eq!(events.iter().map(|e| e.attempt).collect::<Vec<_>>(), [None, Some(1), Some(0)]);
}

/// Fear: a message that still waits tells nothing of what it waits for.
#[tokio::test]
async fn a_waiting_message_tells_what_for() {
    let s = Scene::new().await;
    let keyed = |n| Probe { n, act: Act::Done, key: Some("k".into()) };
    s.publisher.publish(&keyed(1)).await.unwrap();
    let parked = s.publisher.publish(&keyed(2)).await.unwrap().id().unwrap();
    let delayed =
        s.publisher.send(Probe::new(3).out().delay(Duration::from_secs(60)).target("b")).await.unwrap().id().unwrap();
    let events = s.admin.trace(parked).await.unwrap();
    assert_eq!(told(&events), ["published/operator", "parked"]);
    assert_eq!(events[1].detail.as_deref(), Some("behind key \"k\""));
    let events = s.admin.trace(delayed).await.unwrap();
    assert_eq!(told(&events), ["published/operator", "scheduled"]);
    assert_eq!(events[0].detail.as_deref(), Some("kind \"probe\" to queue \"probe\" for \"b\""));
    s.admin.cancel_message(parked).await.unwrap();
    assert_eq!(told(&s.admin.trace(parked).await.unwrap()), ["published/operator", "cancelled"]);
}

/// Fear: an id that never was is answered with an empty trace, which looks like a message without a past.
#[tokio::test]
async fn an_unknown_message_is_an_error() {
    let s = Scene::new().await;
    for e in [
        s.admin.trace(5).await.unwrap_err(),
        s.admin.trace_message_id(uuid::Uuid::nil()).await.unwrap_err(),
        s.admin.explain(5).await.unwrap_err(),
    ] {
        assert!(e.is_input() && e.to_string().contains("it never was, or it is older than retention"), "{e}");
    }
}
