//! Waiting messages: listed, cancelled.

use std::time::Duration;

use pgflow::Priority;

use crate::{
    Scene,
    support::probe::{Act, Probe, Seen, probing},
};

fn keyed(n: i64, act: Act) -> Probe {
    Probe { n, act, key: Some("k".into()) }
}

/// Fear: the list shows another order than that of the claim, hides the payload, or has no end.
#[tokio::test]
async fn pending_messages_are_listed_in_the_order_of_their_start() {
    let s = Scene::new().await;
    for (n, priority) in [(1, Priority::Low), (2, Priority::Normal), (3, Priority::High), (4, Priority::Normal)] {
        s.publisher.send(Probe::new(n).out().priority(priority)).await.unwrap();
    }
    s.publisher.send(Probe::new(5).out().priority(Priority::High).target("b")).await.unwrap();
    let listed = s.admin.list_pending_messages("probe", 100).await.unwrap();
    let ns: Vec<i64> = listed.iter().map(|m| m.payload.as_ref().unwrap()["n"].as_i64().unwrap()).collect();
    assert_eq!(ns, [3, 5, 2, 4, 1]);
    assert_eq!(listed[1].target.as_deref(), Some("b"));
    assert_eq!(s.admin.list_pending_messages("probe", 2).await.unwrap(), listed[..2]);
    let json = serde_json::to_value(&listed[0]).unwrap();
    let keys = ["id", "queue_name", "status", "retry_count", "priority", "payload", "created_at"];
    assert!(keys.iter().all(|key| !json[key].is_null()), "{json}");
    let stamp = json["created_at"].as_str().unwrap();
    assert!(stamp.len() == 27 && stamp.ends_with('Z') && stamp.as_bytes()[10] == b'T', "RFC 3339: {stamp}");
}

/// Fear: a body that is not JSON (or that jsonb cannot hold) breaks the list of all others.
#[tokio::test]
async fn a_body_that_is_not_json_is_listed_without_payload() {
    let s = Scene::new().await;
    s.publisher.publish(&Probe::new(1)).await.unwrap();
    s.sql
        .batch_execute(
            r#"INSERT INTO pgflow_ready (lane_id, codec, kind, body) SELECT lane_id, c, 'odd', b::bytea FROM pgflow_lanes,
               (VALUES (2, '\x01ff'), (1, '\xff'), (1, '{oops'), (1, '"\\ud800"')) v(c, b) WHERE class = 0"#,
        )
        .await
        .unwrap();
    let listed = s.admin.list_pending_messages("probe", 100).await.unwrap();
    let shown: Vec<bool> = listed.iter().map(|m| m.payload.is_some()).collect();
    assert_eq!(shown, [true, false, false, false, false]);
    assert_eq!(s.text("SELECT count(*) FROM pgflow_messages WHERE payload IS NULL").await, ["4"]);
}

/// Fear: a cancelled message runs all the same, or is nowhere afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_message_is_cancelled_wherever_it_waits() {
    let s = Scene::new().await;
    let pending = s.publisher.publish(&Probe::new(1)).await.unwrap().id().unwrap();
    let scheduled = s.publisher.send(Probe::new(2).out().delay(Duration::from_secs(60))).await.unwrap().id().unwrap();
    let addressed = s.publisher.send(Probe::new(3).out().target("b")).await.unwrap().id().unwrap();
    let head = s.publisher.publish(&keyed(4, Act::Done)).await.unwrap().id().unwrap();
    let middle = s.publisher.publish(&keyed(5, Act::Done)).await.unwrap().id().unwrap();
    s.publisher.publish(&keyed(6, Act::Done)).await.unwrap();
    let last = s.publisher.publish(&keyed(7, Act::Done)).await.unwrap().id().unwrap();
    for id in [pending, scheduled, addressed, middle] {
        s.admin.cancel_message(id).await.unwrap();
    }
    let cancelled = ["1:cancelled", "2:cancelled", "3:cancelled", "4:pending", "5:cancelled", "6:parked", "7:parked"];
    assert_eq!(s.statuses().await, cancelled);
    // The head's key goes to the next one that is left; and that one, which came back under its old id, can be cancelled too.
    s.admin.cancel_message(head).await.unwrap();
    let freed = ["4:cancelled", "5:cancelled", "6:pending", "7:parked"];
    assert_eq!(&s.statuses().await[3..], freed);
    let id: i64 = s.text("SELECT id FROM pgflow_messages WHERE payload->>'n' = '6'").await[0].parse().unwrap();
    s.admin.cancel_message(id).await.unwrap();
    assert_eq!(&s.statuses().await[5..], ["6:cancelled", "7:pending"]);
    s.admin.cancel_message(last).await.unwrap();
    assert_eq!(s.text("SELECT count(*) FROM pgflow_keys").await, ["0"], "nobody holds the key");
    s.publisher.publish(&keyed(8, Act::Done)).await.unwrap();
    let seen = Seen::new();
    let runtime = probing(s.config("a"), 1, &seen).await;
    crate::support::eventually(crate::SOON, || async { s.statuses().await[7] == "8:done" }).await;
    assert_eq!(seen.ns(), [8]);
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a running or finished message is reported as cancelled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_wait_is_not_cancelled() {
    let s = Scene::new().await;
    let seen = Seen::new();
    let runtime = probing(s.config("a"), 2, &seen).await;
    let done = s.publisher.publish(&Probe::new(1)).await.unwrap().id().unwrap();
    let running = s.publisher.publish(&Probe::act(2, Act::Wait)).await.unwrap().id().unwrap();
    let dead = s.publisher.publish(&Probe::act(3, Act::Dead)).await.unwrap().id().unwrap();
    s.until(&["1:done", "2:processing", "3:dead"]).await;
    for (id, text) in [
        (done, format!("message {done} is done already")),
        (running, format!("message {running} is being processed: it can be cancelled only while it waits")),
        (dead, format!("message {dead} is dead already")),
    ] {
        let e = s.admin.cancel_message(id).await.unwrap_err();
        assert!(!e.is_input() && e.to_string().contains(&text), "{e}");
    }
    let e = s.admin.cancel_message(987_654).await.unwrap_err();
    assert!(e.is_input() && e.to_string().contains("no message 987654"), "{e}");
    assert_eq!(s.statuses().await, ["1:done", "2:processing", "3:dead"]);
    seen.open();
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a cancel that races with a claim or with another cancel makes two of one message, or none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_cancels_and_claims_leave_each_message_once() {
    let s = Scene::new().await;
    let seen = Seen::new();
    let runtime = probing(s.config("a"), 4, &seen).await;
    let mut cancels = Vec::new();
    for n in 0..100 {
        let out = Probe { n, act: Act::Done, key: (n % 2 == 0).then(|| format!("k{}", n % 3)) }.out();
        let id = s.publisher.send(out).await.unwrap().id().unwrap();
        for _ in 0..2 {
            let admin = s.admin.clone();
            cancels.push(tokio::spawn(async move { admin.cancel_message(id).await.is_ok() }));
        }
    }
    let mut cancelled = 0;
    for cancel in cancels {
        cancelled += usize::from(cancel.await.unwrap());
    }
    crate::support::eventually(crate::SOON, || async {
        s.statuses().await.iter().all(|m| m.ends_with(":done") || m.ends_with(":cancelled"))
    })
    .await;
    assert_eq!(s.statuses().await.len(), 100);
    assert_eq!(cancelled + seen.count(), 100);
    assert_eq!(s.text("SELECT count(*) FROM pgflow_keys").await, ["0"]);
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}
