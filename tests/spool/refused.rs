//! What Postgres does not take is set aside, told, and holds up nobody.

use pgflow::spool::Fate;

use crate::{proxy::Mode, *};

/// Fear: one message that is refused blocks those behind it for ever, or vanishes.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_is_kept_and_the_rest_goes_on() {
    let scene = Scene::new().await;
    scene.sql.batch_execute("SELECT pgflow_create_queue('gone')").await.unwrap();
    let publisher = scene.publisher().await;
    publisher.send(note(0).queue("gone")).await.unwrap();
    scene.proxy.set(Mode::Down);
    publisher.publish(&Note { n: 1 }).await.unwrap();
    publisher.send(note(2).queue("nobody")).await.unwrap();
    publisher.publish(&Note { n: 3 }).await.unwrap();
    let large = Outgoing::json("notes", "large", &format!("\"{}\"", "x".repeat(3_000))).unwrap();
    publisher.send(large).await.unwrap();
    publisher.send(note(4).queue("gone")).await.unwrap();
    // The schema refuses what no limit of ours forbids.
    publisher.send(note(666)).await.unwrap();
    publisher.publish(&Note { n: 5 }).await.unwrap();
    scene
        .sql
        .batch_execute(
            "UPDATE pgflow_queues SET payload_bytes_max = 2000 WHERE name = 'notes'; SELECT pgflow_delete_queue('gone', true);
             ALTER TABLE pgflow_ready ADD CONSTRAINT no_beast CHECK (convert_from(body, 'UTF8') NOT LIKE '%666%')",
        )
        .await
        .unwrap();
    scene.proxy.set(Mode::Up);
    drained(&publisher).await;
    publisher.publish(&Note { n: 6 }).await.unwrap();
    let taken =
        query_text(&scene.sql, "SELECT payload ->> 'n' FROM pgflow_messages WHERE status = 'pending' ORDER BY id")
            .await;
    assert_eq!(taken, ["1", "3", "5", "6"]);
    closed(publisher, &scene.folder).await;
    let aside = scene.folder.inspect().aside;
    assert!(aside.iter().all(|line| line.fate == Fate::Refused), "{aside:?}");
    let kept: Vec<_> = aside.iter().map(|line| line.message.as_ref().unwrap()["body"]["n"].clone()).collect();
    assert_eq!(kept, [2.into(), serde_json::Value::Null, 4.into(), 666.into()]);
    assert_eq!(aside[1].message.as_ref().unwrap()["kind"], "large");
    assert!(aside[0].reason.contains("pgflow queue create nobody"), "{}", aside[0].reason);
    assert_eq!(aside[0].message.as_ref().unwrap()["queue_name"], "nobody");
}

/// Fear: a message too large for a queue that this process does not know blocks the spool.
#[tokio::test(flavor = "multi_thread")]
async fn a_payload_over_the_limit_is_set_aside() {
    let scene = Scene::new().await;
    scene.sql.batch_execute("UPDATE pgflow_queues SET payload_bytes_max = 2000 WHERE name = 'notes'").await.unwrap();
    let publisher = cut_off(&scene.folder.0).await;
    publisher.send(Outgoing::json("notes", "large", &format!("\"{}\"", "x".repeat(3_000))).unwrap()).await.unwrap();
    publisher.publish(&Note { n: 1 }).await.unwrap();
    closed(publisher, &scene.folder).await;
    let publisher = scene.publisher().await;
    drained(&publisher).await;
    assert_eq!(scene.ns().await, [1]);
    assert!(scene.folder.inspect().aside[0].reason.contains("at most 2000"));
    // What is set aside counts against the limit of bytes: it must not grow for ever.
    assert!(publisher.spooled().unwrap().bytes > 3_000);
}

/// Fear: a folder whose state was lost counts anew, and what is refused under a number that was refused before vanishes.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_comes_again_hides_no_refusal() {
    let scene = Scene::new().await;
    for n in 1..3 {
        let publisher = cut_off(&scene.folder.0).await;
        publisher.send(note(n).queue("nobody")).await.unwrap();
        closed(publisher, &scene.folder).await;
        scene.forwards().await;
        std::fs::remove_file(scene.folder.0.join("state")).unwrap();
    }
    let aside = scene.folder.inspect().aside;
    assert!(aside.iter().all(|line| line.fate == Fate::Refused), "{aside:?}");
    let kept: Vec<_> = aside.iter().map(|line| line.message.as_ref().unwrap()["body"]["n"].clone()).collect();
    assert_eq!(kept, [1, 2]);
}
