//! Postgres goes and comes back.

use std::{sync::Arc, time::Duration};

use pgflow::{Priority, Publisher, Queue};

use crate::{proxy::Mode, support::probe::*, *};

/// Fear: a message overtakes another one of its publisher at the switch to the spool or back, is lost, or comes twice.
#[tokio::test(flavor = "multi_thread")]
async fn each_publishers_order_is_kept_across_outages() {
    const PUBLISHERS: i64 = 6;
    let scene = Scene::new().await;
    let mut settings = scene.config();
    settings.handler_connections = 4;
    let publisher = Arc::new(Publisher::connect(&settings).await.unwrap());
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let publishing: Vec<_> = (0..PUBLISHERS)
        .map(|p| {
            let (publisher, stop) = (publisher.clone(), stop.clone());
            tokio::spawn(async move {
                let (mut sent, mut spooled) = (0, 0);
                while !stop.load(Ordering::Relaxed) {
                    let n = p * 1_000_000 + sent;
                    let receipts = if sent % 7 == 3 {
                        publisher.publish_many(&[Note { n }, Note { n: n + 1 }]).await.unwrap()
                    } else {
                        vec![publisher.publish(&Note { n }).await.unwrap()]
                    };
                    sent += receipts.len() as i64;
                    spooled += receipts.iter().filter(|r| is_spooled(r)).count();
                }
                (sent, spooled)
            })
        })
        .collect();
    let wait_for = |more: u64| {
        let before = publisher.spooled().unwrap().messages;
        let publisher = publisher.clone();
        async move { eventually(SOON, || async { publisher.spooled().unwrap().messages >= before + more }).await }
    };
    for _ in 0..3 {
        scene.proxy.set(Mode::Down);
        wait_for(30).await;
        scene.proxy.set(Mode::Up);
        // Publishers go on while it is forwarded; it gets empty only if forwarding is faster than they are.
        publisher.drain().await.unwrap_or_else(|e| println!("{e}"));
        drained(&publisher).await;
        let before = query_text(&scene.sql, "SELECT count(*) FROM pgflow_ready").await;
        eventually(SOON, || async { query_text(&scene.sql, "SELECT count(*) FROM pgflow_ready").await != before })
            .await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut sent = Vec::new();
    for one in publishing {
        let (n, spooled) = one.await.unwrap();
        assert!(spooled > 0, "a publisher that saw no outage proves nothing");
        sent.push(n);
    }
    drained(&publisher).await;
    let ns = scene.ns().await;
    for (p, sent) in (0..PUBLISHERS).zip(sent) {
        let own: Vec<i64> = ns.iter().copied().filter(|n| n / 1_000_000 == p).map(|n| n % 1_000_000).collect();
        assert_eq!(own, (0..sent).collect::<Vec<_>>(), "publisher {p}");
    }
    assert!(scene.folder.inspect().aside.is_empty());
}

/// Fear: the first outage is served, and what makes a message special is lost on the way.
#[tokio::test(flavor = "multi_thread")]
async fn what_makes_a_message_special_survives() {
    let scene = Scene::new().await;
    let publisher = scene.publisher().await;
    publisher.publish(&Note { n: 0 }).await.unwrap();
    scene.proxy.set(Mode::Down);
    for out in [
        note(1).priority(Priority::High),
        note(2).ordering_key("k"),
        note(3).ordering_key("k"),
        note(4).dedup_key("d"),
        note(5).dedup_key("d"),
        note(6).delay(Duration::from_secs(3_600)),
        note(7).target("east").headers(serde_json::json!({"trace": 7})),
    ] {
        let id = out.message_id();
        let receipt = publisher.send(out).await.unwrap();
        assert!(is_spooled(&receipt) && receipt.message_id == id && receipt.id().is_none());
    }
    assert_eq!(publisher.spooled().unwrap().messages, 7);
    scene.proxy.set(Mode::Up);
    drained(&publisher).await;
    let rows = query_text(
        &scene.sql,
        "SELECT concat_ws('|', payload ->> 'n', priority, ordering_key, target, status, headers, source,
           CASE WHEN run_at - clock_timestamp() BETWEEN '50 min' AND '60 min' THEN 'in an hour' END) FROM pgflow_messages ORDER BY id",
    )
    .await;
    let expected = [
        "0|0|pending|tester",
        "1|10|pending|tester",
        "2|0|k|pending|tester",
        "3|0|k|parked|tester",
        "4|0|pending|tester",
        "6|0|scheduled|tester|in an hour",
        r#"7|0|east|pending|{"trace": 7}|tester"#,
    ];
    assert_eq!(rows, expected);
    assert!(!is_spooled(&publisher.publish(&Note { n: 8 }).await.unwrap()), "it goes by Postgres again");
}

/// Fear: a batch is kept in part; a broadcast is kept for a list of instances that nobody knows yet, or overtakes.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_whole_and_a_broadcast_is_refused() {
    let scene = Scene::new().await;
    let publisher = scene.publisher().await;
    scene.proxy.set(Mode::Down);
    let batch: Vec<Note> = (0..300).map(|n| Note { n }).collect();
    assert!(publisher.publish_many(&batch).await.unwrap().iter().all(is_spooled));
    let refused = publisher.broadcast(&Note { n: 999 }).await.unwrap_err();
    assert!(refused.is_closed() && refused.to_string().contains("300 messages wait in the spool"), "{refused}");
    scene.proxy.set(Mode::Up);
    drained(&publisher).await;
    assert_eq!(scene.ns().await, (0..300).collect::<Vec<_>>());
    assert!(publisher.broadcast(&Note { n: 999 }).await.unwrap().is_empty());
}

/// Fear: a message that the caller rolls back is spooled, and sent all the same.
#[tokio::test(flavor = "multi_thread")]
async fn publish_in_never_spools() {
    let scene = Scene::new().await;
    let publisher = scene.publisher().await;
    let (mut own, connection) = tokio_postgres::connect(&scene.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let tx = own.transaction().await.unwrap();
    scene.proxy.set(Mode::Down);
    eventually(SOON, || async { tx.client().is_closed() }).await;
    assert!(publisher.publish_in(&tx, &Note { n: 1 }).await.unwrap_err().is_closed());
    assert_eq!(publisher.spooled().unwrap().messages, 0);
    assert!(is_spooled(&publisher.publish(&Note { n: 2 }).await.unwrap()), "and beside it spooling goes on");
}

/// Fear: an error of the caller's is taken for an outage, and kept.
#[tokio::test(flavor = "multi_thread")]
async fn an_input_error_never_spools() {
    let scene = Scene::new().await;
    let publisher = scene.publisher().await;
    let unknown = publisher.send(note(1).queue("nobody")).await.unwrap_err();
    assert!(unknown.is_unknown_queue());
    let large = Outgoing::json("notes", "note", &format!("\"{}\"", "x".repeat(2 << 20))).unwrap();
    assert!(publisher.send(large.clone()).await.unwrap_err().is_input());
    scene.proxy.set(Mode::Down);
    publisher.publish(&Note { n: 1 }).await.unwrap();
    // The limit is known from before.
    assert!(publisher.send(large).await.unwrap_err().is_input());
    assert!(publisher.send(note(1).queue("No")).await.unwrap_err().is_input());
    assert_eq!(publisher.spooled().unwrap().messages, 1);
}

/// Fear: the runtime's publisher spools and nobody forwards; a forwarded message wakes nobody; a stop waits for Postgres.
#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_forwards_and_handles_what_it_spooled() {
    let scene = Scene::new().await;
    let seen = Seen::new();
    // A lost wake is a time-out: the heartbeat is 30 s.
    let settings = support::probe::config(&scene.url(), "a").spool_dir(&scene.folder.0);
    let runtime = probing_queue(settings.clone(), Queue::new("probe"), &seen).await;
    assert!(runtime.tree().await.children.iter().any(|child| child.id == "forwarder" && child.running));
    scene.proxy.set(Mode::Down);
    for n in 0..5 {
        assert!(is_spooled(&runtime.publisher().publish(&Probe::new(n)).await.unwrap()));
    }
    let forwarder = runtime.tree().await.children.into_iter().find(|child| child.id == "forwarder").unwrap();
    assert_eq!(forwarder.note.as_deref(), Some("5 messages wait in the spool"));
    scene.proxy.set(Mode::Up);
    eventually(Duration::from_secs(20), || async { seen.ns() == [0, 1, 2, 3, 4] }).await;
    scene.proxy.set(Mode::Down);
    eventually(SOON, || async { is_spooled(&runtime.publisher().publish(&Probe::new(5)).await.unwrap()) }).await;
    // Its other duties fail, and it ends.
    let publisher = runtime.publisher().clone();
    let _ = runtime.stop(Duration::ZERO).await;
    let nobody = publisher.drain().await.unwrap_err().to_string();
    assert!(nobody.contains("its runtime has stopped"), "{nobody}");
    drop(publisher);
    eventually(SOON, || async { !scene.folder.inspect().in_use }).await;
    assert!(scene.folder.inspect().spooled.messages >= 1);
    scene.proxy.set(Mode::Up);
    let again =
        probing_queue(support::probe::config(&scene.url(), "b").spool_dir(&scene.folder.0), Queue::new("probe"), &seen)
            .await;
    eventually(SOON, || async { seen.ns().contains(&5) }).await;
    again.stop(SOON).await.unwrap();
}

/// Fear: one message that waits for a key which somebody's open transaction holds passes for an outage, and all others wait behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_held_key_is_no_outage() {
    let scene = Scene::new().await;
    let mut settings = scene.config();
    settings.handler_connections = 2;
    let publisher = pgflow::Publisher::connect(&settings).await.unwrap();
    let mut own = scene.db.client().await;
    let tx = own.transaction().await.unwrap();
    publisher.send_in(&tx, note(1).ordering_key("k")).await.unwrap();
    let error = publisher.send(note(2).ordering_key("k")).await.unwrap_err();
    assert!(error.is_closed() && error.to_string().contains("outcome unknown"), "{error}");
    assert!(!is_spooled(&publisher.publish(&Note { n: 3 }).await.unwrap()));
    tx.commit().await.unwrap();
}
