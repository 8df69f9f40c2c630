//! Single messages: trace, explain, cancel.

use serde_json::json;

use crate::operate::{bury, one, with_messages};
use crate::program::{keys, run};

/// Fear: nobody can say what befell a message, or why it does not run.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_traced_and_explained() {
    let db = with_messages(&[]).await;
    let url = db.url();
    let published = one(&url, &["publish", "mail", "{}", "--kind", "order"]);
    let id = published["id"].to_string();
    let why = one(&url, &["explain", &id]);
    assert_eq!(keys(&why), ["id", "queue_name", "reasons", "status"]);
    assert!(why["reasons"][0].as_str().is_some_and(|r| r.contains("no live instance")), "{why}");
    bury(&db, 1).await;
    let trace = one(&url, &["trace", &id]);
    assert_eq!(keys(&trace[0]), ["at", "attempt", "detail", "event", "id", "instance", "session_id"]);
    let events: Vec<&str> = trace.as_array().expect("an array").iter().filter_map(|e| e["event"].as_str()).collect();
    assert_eq!(events, ["published", "started", "dead"]);
    assert_eq!(trace, one(&url, &["trace", published["message_id"].as_str().expect("text")]));
    run(&url, &["trace", "999999"]).fault(1);
    run(&url, &["explain", "999999"]).fault(1);
    let by_uuid = one(&url, &["explain", published["message_id"].as_str().expect("text")]);
    assert_eq!(by_uuid["id"], published["id"]);
    run(&url, &["explain", "x"]).fault(2);
    run(&url, &["explain", "00000000-0000-0000-0000-000000000000"]).fault(1);
}

/// Fear: a message that must not run cannot be stopped, or one that ended passes for one that was stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_waits_is_cancelled() {
    let db = with_messages(&[]).await;
    let url = db.url();
    let publish = |more: &[&str]| one(&url, &[&["publish", "mail", "{}"], more].concat());
    let (now, later) = (publish(&[]), publish(&["--delay", "1h"]));
    let id = now["id"].to_string();
    assert_eq!(one(&url, &["cancel", &id]), json!({"id": now["id"], "action": "cancelled"}));
    assert_eq!(
        run(&url, &["cancel", later["message_id"].as_str().expect("text")]).ok(),
        format!("message {} is cancelled\n", later["id"])
    );
    assert_eq!(one(&url, &["explain", &id])["status"], "cancelled");
    let ended = run(&url, &["cancel", &id]).fault(1);
    assert!(ended.contains(&format!("message {id} is cancelled already")), "{ended}");
    for nobody in ["999999", "00000000-0000-0000-0000-000000000000"] {
        let line = run(&url, &["cancel", nobody]).fault(1);
        assert!(line.contains("it never was, or it is older than retention"), "{line}");
    }
    run(&url, &["cancel", "x"]).fault(2);
    // A producer may give an id twice; then it names nobody.
    let twice = "SELECT pgflow_publish('mail', '{}') FROM generate_series(1, 2)";
    let client = db.client().await;
    client.batch_execute(twice).await.expect("published");
    let same = "UPDATE pgflow_ready SET message_id = '11111111-1111-1111-1111-111111111111'";
    client.batch_execute(same).await.expect("the same id");
    let line = run(&url, &["cancel", "11111111-1111-1111-1111-111111111111"]).fault(1);
    assert!(line.contains("several have it"), "{line}");
}
