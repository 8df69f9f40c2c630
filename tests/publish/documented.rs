//! The documented queries and the doors for other languages.

use pgflow::{Outgoing, Priority};

use crate::{Note, Scene, note, support::query_text};

/// Fear: a documented query finds no table, or finds the wrong rows or order.
#[tokio::test]
async fn the_documented_queries_answer() {
    let s = Scene::new().await;
    s.publisher.publish(&Note { n: 1 }).await.unwrap();
    s.publisher.send(note(2).priority(Priority::Low)).await.unwrap();
    s.publisher.send(note(3).priority(Priority::High)).await.unwrap();
    let pending = "SELECT payload->>'n' FROM (SELECT id, queue_name, payload, retry_count FROM pgflow_messages \
                   WHERE status = 'pending' ORDER BY priority DESC) q";
    assert_eq!(query_text(&s.sql, pending).await, ["3", "1", "2"]);
    assert_eq!(query_text(&s.sql, "SELECT id, queue_name, error FROM pgflow_dlq").await, Vec::<String>::new());
    let counts = "SELECT queue_name || ' ' || pending FROM (SELECT queue_name, COUNT(*) as pending FROM pgflow_messages \
                  WHERE status = 'pending' GROUP BY queue_name) q";
    assert_eq!(query_text(&s.sql, counts).await, ["notes 3"]);
    let processing = "SELECT id FROM (SELECT * FROM pgflow_messages WHERE status='processing') q";
    assert_eq!(query_text(&s.sql, processing).await, Vec::<String>::new());
}

/// Fear: the receipt's id is not the message's id, or the row says something else than what was sent.
#[tokio::test]
async fn the_row_is_what_was_sent() {
    let s = Scene::new().await;
    let out = note(7).headers(serde_json::json!({"trace": "t1"})).target("b").priority(Priority::High);
    let message_id = out.message_id();
    let receipt = s.publisher.send(out).await.unwrap();
    assert_eq!(receipt.message_id, message_id);
    let row = "SELECT concat_ws(' ', id, message_id, queue_name, kind, status, retry_count, priority, payload, target, source, \
               headers, version, codec) FROM pgflow_messages";
    let expected = format!(
        r#"{} {message_id} notes note pending 0 10 {{"n": 7}} b tester {{"trace": "t1"}} 1 1"#,
        receipt.id().unwrap()
    );
    assert_eq!(query_text(&s.sql, row).await, [expected]);
}

/// Fear: psql or another language cannot publish, or its defaults differ from those that are documented.
#[tokio::test]
async fn other_languages_publish_by_function_and_by_insert() {
    let s = Scene::new().await;
    let one = |sql: &'static str| query_text(&s.sql, sql);
    one(r#"SELECT pgflow_publish('notes', '{"type": "told"}')"#).await;
    one(r#"SELECT pgflow_publish('notes', '{"a": 1}', priority => 10, ordering_key => 'k', delay => '1 hour', target => 'b')"#)
        .await;
    let returned = one("INSERT INTO pgflow_messages (queue_name, payload) VALUES ('notes', '[1]') RETURNING id").await;
    assert_eq!(one("SELECT max(id) FROM pgflow_messages").await, returned);
    let rows = "SELECT concat_ws(' ', kind, status, priority, ordering_key, target) FROM pgflow_messages ORDER BY id";
    assert_eq!(one(rows).await, ["told pending 0", "notes scheduled 10 k b", "notes pending 0"]);
}

/// Fear: the view takes a column and ignores it: an urgent message waits among the others.
#[tokio::test]
async fn an_insert_into_the_view_says_all_that_the_function_can() {
    let s = Scene::new().await;
    let one = |sql: &'static str| query_text(&s.sql, sql);
    one(r#"INSERT INTO pgflow_messages (queue_name, kind, payload, priority, ordering_key, run_at, target, headers)
           VALUES ('notes', 'told', '{"n": 1}', 10, 'k', now() + interval '1 hour', 'b', '{"trace": "t1"}')"#)
    .await;
    one("INSERT INTO pgflow_messages (queue_name, payload, priority) VALUES ('notes', '2', -10)").await;
    let rows = "SELECT concat_ws(' ', kind, status, payload, priority, ordering_key, run_at > now() + interval '59 minutes', target, headers) \
                FROM pgflow_messages ORDER BY id";
    assert_eq!(one(rows).await, [r#"told scheduled {"n": 1} 10 k t b {"trace": "t1"}"#, "notes pending 2 -10"]);
}

/// Fear: a delay counts on this machine's clock, or a delayed message can be claimed at once.
#[tokio::test]
async fn a_delayed_message_waits_on_the_servers_clock() {
    let s = Scene::new().await;
    s.publisher.send(note(1).delay(std::time::Duration::from_secs(3600))).await.unwrap();
    // To the microsecond: one that starts on time must not look early beside its own record.
    let sql = "SELECT status || ' ' || (run_at = created_at + interval '1 hour') FROM pgflow_messages";
    assert_eq!(query_text(&s.sql, sql).await, ["scheduled true"]);
    s.publisher.send(note(2).delay(std::time::Duration::ZERO)).await.unwrap();
    assert_eq!(s.kinds_of_status().await, ["scheduled", "pending"]);
}

/// Fear: a message without a Rust type cannot be sent, or its text is changed on the way.
#[tokio::test]
async fn json_text_is_sent_as_it_is() {
    let s = Scene::new().await;
    s.publisher.send(Outgoing::json("notes", "free", r#"{"b":1,  "a":"ü"}"#).unwrap()).await.unwrap();
    let body = "SELECT convert_from(body, 'UTF8') FROM pgflow_ready";
    assert_eq!(query_text(&s.sql, body).await, [r#"{"b":1,  "a":"ü"}"#]);
}
