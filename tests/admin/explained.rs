//! Why a message is not running.

use std::time::Duration;

use pgflow::Outgoing;

use crate::{
    Scene,
    support::probe::{Act, Probe, Seen, probing},
};

async fn assert_explained(s: &Scene, id: i64, status: &str, reasons: &[&str]) {
    let explained = s.admin.explain(id).await.unwrap();
    assert_eq!((explained.id, explained.queue_name.as_str(), explained.status.as_str()), (id, "probe", status));
    assert_eq!(explained.reasons.len(), reasons.len(), "{explained:?}");
    for (told, wanted) in explained.reasons.iter().zip(reasons) {
        assert!(told.contains(wanted), "{told} has no {wanted}");
    }
}

/// Fear: an operator cannot learn from pgflow why a message stands still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_obstacle_is_named() {
    let s = Scene::new().await;
    let keyed = |n, act| Probe { n, act, key: Some("k".into()) };
    let send = |out: Outgoing| async { s.publisher.send(out).await.unwrap().id().unwrap() };

    let plain = send(Probe::new(1).out()).await;
    assert_explained(&s, plain, "pending", &["no live instance serves queue \"probe\""]).await;
    s.admin.pause_queue("probe").await.unwrap();
    assert_explained(
        &s,
        plain,
        "pending",
        &["queue \"probe\" is paused: `pgflow queue resume probe`", "no live instance"],
    )
    .await;

    let seen = Seen::new();
    let runtime = probing(s.config("a"), 1, &seen).await;
    assert_explained(&s, plain, "pending", &["is paused"]).await;
    let unknown = send(Outgoing::json("probe", "never heard of", "{}").unwrap()).await;
    assert_explained(
        &s,
        unknown,
        "pending",
        &["is paused", "no live instance takes kind \"never heard of\" version 1"],
    )
    .await;
    s.admin.cancel_message(unknown).await.unwrap();
    assert_explained(&s, unknown, "cancelled", &["it was cancelled"]).await;
    s.admin.resume_queue("probe").await.unwrap();

    let running = send(keyed(2, Act::Wait).out()).await;
    let others = "SELECT count(*) FROM pgflow_active";
    crate::support::eventually(crate::SOON, || async { seen.count() == 2 && s.text(others).await == ["1"] }).await;
    assert_explained(&s, plain, "done", &["it was done in try 1"]).await;
    assert_explained(&s, running, "processing", &["try 1 runs on instance \"a\" since 20"]).await;
    let parked = send(keyed(3, Act::Done).out()).await;
    let behind = send(keyed(4, Act::Done).out().delay(Duration::from_secs(60))).await;
    assert_explained(
        &s,
        parked,
        "parked",
        &[&format!("key \"k\" is held by message {running}, and 0 more are before it")],
    )
    .await;
    assert_explained(
        &s,
        behind,
        "parked",
        &[&format!("message {running}, and 1 more"), "it was delayed: not before 20"],
    )
    .await;
    let waiting = send(Probe::new(5).out()).await;
    let second = send(Probe::new(6).out()).await;
    assert_explained(
        &s,
        waiting,
        "pending",
        &["nothing is in its way: 0 messages are before it, 1 of the queue are being"],
    )
    .await;
    assert_explained(&s, second, "pending", &["nothing is in its way: 1 messages are before it"]).await;
    let addressed = send(Probe::new(7).out().target("elsewhere")).await;
    assert_explained(&s, addressed, "pending", &["addressed to instance \"elsewhere\", which is not live"]).await;
    let delayed = send(Probe::new(8).out().delay(Duration::from_secs(60))).await;
    assert_explained(&s, delayed, "scheduled", &["it was delayed: not before 20"]).await;
    let dead = send(Probe::act(9, Act::Dead).out().target("a")).await;
    let failing = send(Probe::act(10, Act::FailUntil(9)).out()).await;
    seen.open();
    crate::support::eventually(crate::SOON, || async { seen.started(9).is_some() && seen.started(10).is_some() }).await;
    crate::support::eventually(crate::SOON, || async { s.text("SELECT count(*) FROM pgflow_active").await == ["0"] })
        .await;
    assert_explained(&s, dead, "dead", &["it is dead: asked to die"]).await;
    let explained = s.admin.explain(failing).await.unwrap();
    assert!(explained.reasons[0].contains("failed (asked to fail): the next one is not before 20"), "{explained:?}");
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}
