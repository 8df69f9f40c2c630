//! Bad input: a clear error each, and nothing left behind.

use std::time::Duration;

use pgflow::{Config, Message, Outgoing, Publisher};
use serde::{Deserialize, Serialize};

use crate::{Scene, note, support::query_text};

#[derive(Serialize, Deserialize)]
struct Picky;

impl Message for Picky {
    const KIND: &'static str = "picky";
    const QUEUE: &'static str = "notes";
    fn validate(&self) -> Result<(), String> {
        Err("never good enough".into())
    }
}

/// Fear: bad input is stored, or refused with a text that does not say what to do.
#[tokio::test]
async fn every_bad_input_has_its_clear_error() {
    let s = Scene::new().await;
    s.sql.batch_execute("UPDATE pgflow_queues SET payload_bytes_max = 100").await.unwrap();
    let cases: Vec<(Outgoing, &str)> = vec![
        (note(1).queue("nobody"), "unknown queue \"nobody\": make it with `pgflow queue create nobody`"),
        (note(1).queue("No Body"), "a queue's name has 1 to 63 characters of a-z 0-9 _ . : -"),
        (note(1).queue("x'; DROP TABLE pgflow_ready; --"), "a queue's name has"),
        (note(1).ordering_key(""), "ordering key must have 1 to 512 bytes, it has 0"),
        (note(1).dedup_key("x".repeat(513)), "dedup key must have 1 to 512 bytes, it has 513"),
        (note(1).target("a\0b"), "target holds a NUL character"),
        (note(1).delay(Duration::from_secs(u64::MAX)), "delay is over 315360000 s"),
        (note(1).headers(serde_json::json!([1])), "headers must be a JSON object"),
        (Outgoing::json("notes", "", "{}").unwrap(), "kind must have 1 to 128 bytes, it has 0"),
        (
            Outgoing::json("notes", "k", &format!("\"{}\"", "x".repeat(200))).unwrap(),
            "202 bytes, the queue takes at most 100",
        ),
    ];
    for (out, text) in cases {
        let many = s.publisher.send_many(vec![note(5), out.clone()]).await.unwrap_err();
        for e in [s.publisher.send(out).await.unwrap_err(), many] {
            assert!(e.is_input() && !e.is_closed(), "{e:?}");
            assert!(e.to_string().contains(text), "{e}");
        }
    }
    let e = s.publisher.publish(&Picky).await.unwrap_err();
    assert_eq!(e.to_string(), "encode \"picky\": never good enough");
    assert!(Outgoing::json("notes", "k", "{oops").unwrap_err().is_input());
    assert!(Outgoing::json("notes", "k", r#""\u0000""#).unwrap_err().is_input());
    s.assert_nothing_left().await;
}

/// Fear: the SQL doors let in what the library refuses.
#[tokio::test]
async fn sql_refuses_the_same() {
    let s = Scene::new().await;
    s.sql.batch_execute("UPDATE pgflow_queues SET payload_bytes_max = 100").await.unwrap();
    for (sql, text) in [
        ("SELECT pgflow_publish('nobody', '{}')", "unknown queue \"nobody\""),
        ("SELECT pgflow_publish('notes', NULL)", "the payload is null"),
        (
            "SELECT pgflow_publish('notes', to_jsonb(repeat('x', 200)))",
            "payload has 202 bytes, queue \"notes\" takes at most 100",
        ),
        ("SELECT pgflow_publish('notes', '{}', priority => 3)", "priority must be 10 (high), 0 (normal) or -10 (low)"),
        ("SELECT pgflow_publish('notes', '{}', kind => '')", "kind must have 1 to 128 bytes"),
        (
            "SELECT pgflow_publish('notes', '{}', ordering_key => repeat('k', 513))",
            "ordering key must have 1 to 512 bytes",
        ),
        ("SELECT pgflow_publish('notes', '{}', dedup_key => '')", "dedup key must have 1 to 512 bytes"),
        ("SELECT pgflow_publish('notes', '{}', headers => '[]')", "headers must be a JSON object"),
        ("SELECT pgflow_publish('notes', '{}', delay => '11 years')", "delay is over 3650 days"),
        ("SELECT pgflow_publish('notes', '{}', target => '')", "pgflow_lanes_target"),
        ("INSERT INTO pgflow_messages (queue_name, payload) VALUES ('nobody', '{}')", "unknown queue \"nobody\""),
        ("INSERT INTO pgflow_messages (payload) VALUES ('{}')", "unknown queue"),
    ] {
        let e = s.sql.batch_execute(sql).await.expect_err(sql);
        let said = e.as_db_error().expect("the server's answer").message().to_owned();
        assert!(said.contains(text), "{sql}: {said}");
    }
    s.assert_nothing_left().await;
}

/// Fear: a queue deleted after a publisher had looked it up swallows messages.
#[tokio::test]
async fn a_queue_deleted_meanwhile_is_an_error_and_works_again_when_made_again() {
    let s = Scene::new().await;
    let ways = || [note(1), note(1).target("b"), note(1).ordering_key("k")];
    // Of each, one publisher that sends it alone and one that sends a batch: the first refusal has a publisher look again.
    let mut knowing = Vec::new();
    for out in ways() {
        s.publisher.send(out.clone()).await.unwrap();
        for _ in 0..2 {
            let publisher = Publisher::connect(&Config::new(s.db.url())).await.unwrap();
            publisher.send(out.clone()).await.unwrap();
            knowing.push(publisher);
        }
    }
    s.sql.batch_execute("DELETE FROM pgflow_ready; DELETE FROM pgflow_parked; DELETE FROM pgflow_keys").await.unwrap();
    s.sql.batch_execute("SELECT pgflow_delete_queue('notes', false)").await.unwrap();
    for (out, knowing) in ways().into_iter().zip(knowing.chunks(2)) {
        let many = knowing[0].send_many(vec![out.clone(), note(2)]).await.unwrap_err();
        let theirs = s.publisher.send_in(&s.sql, out.clone()).await.unwrap_err();
        for e in [knowing[1].send(out).await.unwrap_err(), many, theirs] {
            assert!(e.is_input() && e.to_string().contains("unknown queue \"notes\""), "{e}");
        }
    }
    assert!(s.publisher.broadcast_out(note(1)).await.unwrap_err().is_input());
    s.assert_nothing_left().await;
    // Stale ids of a second publisher that saw nothing of all this stay true.
    s.sql.batch_execute("SELECT pgflow_create_queue('notes')").await.unwrap();
    for out in ways() {
        s.publisher.send(out).await.unwrap();
    }
    s.publisher.send_many(vec![note(1), note(2)]).await.unwrap();
    assert_eq!(query_text(&s.sql, "SELECT DISTINCT queue_name FROM pgflow_messages").await, ["notes"]);
    assert_eq!(s.statuses().await.len(), 5);
}

/// Fear: a raised payload limit is not seen by a publisher that knew the old one.
#[tokio::test]
async fn a_raised_limit_is_seen() {
    let s = Scene::new().await;
    s.sql.batch_execute("UPDATE pgflow_queues SET payload_bytes_max = 5").await.unwrap();
    assert!(s.publisher.send(note(1)).await.unwrap_err().is_input());
    s.sql.batch_execute("UPDATE pgflow_queues SET payload_bytes_max = 7").await.unwrap();
    s.publisher.send(note(1)).await.unwrap();
}

/// Fear: a wrong setting is found only when the first message is lost.
#[tokio::test]
async fn a_bad_setting_is_found_at_once() {
    let mut config = Config::new("postgresql://localhost/x");
    config.handler_connections = 0;
    assert!(Publisher::connect(&config).await.unwrap_err().is_config());
}

/// Fear: a server that takes a publish and never answers (frozen, or cut off behind a proxy) holds its caller for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_publish_without_an_answer_ends_in_doubt() {
    let s = Scene::new().await;
    let stuck = "CREATE FUNCTION stuck() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(100); RETURN NEW; END $$;
                 CREATE CONSTRAINT TRIGGER stuck AFTER INSERT ON pgflow_ready DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION stuck()";
    s.sql.batch_execute(stuck).await.unwrap();
    let (one, many) = tokio::join!(s.publisher.send(note(1)), s.publisher.send_many(vec![note(2), note(3)]));
    for error in [one.unwrap_err(), many.unwrap_err()] {
        assert!(error.is_closed() && error.to_string().contains("outcome unknown"), "{error}");
    }
}
