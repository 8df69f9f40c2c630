//! What an operator asks and does: queues, stats, pending, dlq, queue, tree, mode.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::program::{LIMIT, Started, keys, nobody_reads, pgflow, run};
use crate::support::{TestDb, eventually, query_text};

const MESSAGE: [&str; 15] = [
    "body_bytes",
    "created_at",
    "headers",
    "id",
    "kind",
    "message_id",
    "ordering_key",
    "payload",
    "priority",
    "queue_name",
    "retry_count",
    "source",
    "status",
    "target",
    "version",
];

pub(super) fn one(url: &str, arguments: &[&str]) -> Value {
    run(url, &[arguments, &["--json"]].concat()).json()
}

/// A database with a queue `mail` and these messages in it, `(kind, priority)`.
pub(super) async fn with_messages(messages: &[(&str, &str)]) -> TestDb {
    let db = TestDb::new().await;
    run(&db.url(), &["queue", "create", "mail"]).ok();
    for (kind, priority) in messages {
        run(&db.url(), &["publish", "mail", "{\"n\": 1}", "--kind", kind, "--priority", priority]).ok();
    }
    db
}

/// Lets a worker bury every message of the queue, and answers the dead letters, the newest first.
pub(super) async fn bury(db: &TestDb, count: usize) -> Vec<Value> {
    let worker = Started::new(pgflow(&db.url()).args(["work", "mail", "--exec", "echo 'no such order' >&2; exit 65"]));
    let dead = eventually(LIMIT, async || {
        let dead = one(&db.url(), &["dlq", "list"]);
        let dead = dead.as_array().expect("an array").clone();
        (dead.len() == count).then_some(dead)
    });
    let dead = dead.await;
    worker.signal("TERM");
    assert_eq!(worker.ended().code, Some(0));
    dead
}

/// Fear: a script that reads a field finds it renamed, or a list that is not one array.
#[tokio::test(flavor = "multi_thread")]
async fn the_keys_are_those_of_the_documented_queries() {
    let db = with_messages(&[("low", "low"), ("normal", "normal"), ("high", "high")]).await;
    let url = db.url();
    let queues = one(&url, &["queues"]);
    assert_eq!(
        keys(&queues[0]),
        [
            "created_at",
            "dead",
            "max_retries",
            "oldest_pending_age_s",
            "parked",
            "paused",
            "payload_bytes_max",
            "pending",
            "processing",
            "queue_name",
            "retry_delay_ms",
            "retry_delay_ms_max",
            "scheduled",
        ]
    );
    assert_eq!((&queues[0]["queue_name"], &queues[0]["pending"]), (&json!("mail"), &json!(3)));
    let stats = one(&url, &["stats", "mail"]);
    for key in ["queue_name", "pending", "processing", "scheduled", "parked", "dead", "done_1h", "oldest_pending_age_s"]
    {
        assert!(keys(&stats).contains(&key), "{key}: {stats}");
    }
    let pending = one(&url, &["pending", "mail"]);
    assert_eq!(keys(&pending[0]), MESSAGE);
    let order: Vec<&str> = pending.as_array().expect("an array").iter().filter_map(|m| m["kind"].as_str()).collect();
    assert_eq!(order, ["high", "normal", "low"]);
    assert_eq!((&pending[0]["payload"], &pending[0]["status"]), (&json!({"n": 1}), &json!("pending")));
    assert_eq!(one(&url, &["pending", "mail", "--limit", "2"]).as_array().map(Vec::len), Some(2));
    // For people: a head and a row each.
    let table = run(&url, &["queues"]).ok();
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.starts_with("queue_name  pending") && table.contains("\nmail  "), "{table}");
}

/// Fear: a dead letter cannot be understood, sent round again or removed; or a wrong one is.
#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_shown_retried_and_purged() {
    let db = with_messages(&[("a", "normal"), ("b", "normal"), ("c", "normal")]).await;
    let url = db.url();
    assert_eq!(one(&url, &["dlq", "list"]), json!([]));
    let dead = bury(&db, 3).await;
    let mut expected = [&MESSAGE[..], &["error", "error_kind", "published_at"]].concat();
    expected.sort_unstable();
    assert_eq!(keys(&dead[0]), expected);
    assert_eq!((&dead[0]["error"], &dead[0]["queue_name"]), (&json!("no such order"), &json!("mail")));
    let id = |n: usize| dead[n]["id"].to_string();
    let shown = one(&url, &["dlq", "show", &id(1)]);
    assert_eq!(shown, dead[1]);
    assert_eq!(one(&url, &["dlq", "retry", &id(1)]), json!({"retried": 1}));
    assert_eq!(one(&url, &["pending", "mail"])[0]["id"], dead[1]["id"]);
    run(&url, &["dlq", "show", &id(1)]).fault(1);
    run(&url, &["dlq", "retry", &id(1)]).fault(1);
    run(&url, &["dlq", "purge", &id(1)]).fault(1);
    assert_eq!(one(&url, &["dlq", "purge", &id(0)]), json!({"purged": 1}));
    assert_eq!(one(&url, &["dlq", "list", "--queue", "mail"]).as_array().map(Vec::len), Some(1));
    assert_eq!(bury(&db, 2).await.len(), 2);
    assert_eq!(one(&url, &["dlq", "retry", "--queue", "mail"]), json!({"retried": 2}));
    assert_eq!(one(&url, &["queues"])[0]["pending"], 2);
    bury(&db, 2).await;
    run(&url, &["queue", "delete", "mail"]).ok();
    assert_eq!(one(&url, &["dlq", "retry", "--all"]), json!({"retried": 0, "stay": 2}));
    let said = run(&url, &["dlq", "retry", "--all"]).ok();
    assert_eq!(said, "0 dead letter(s) sent round again; 2 stay, their queue is deleted\n");
    assert_eq!(one(&url, &["dlq", "purge", "--all"]), json!({"purged": 2}));
    assert_eq!(one(&url, &["dlq", "list"]), json!([]));
    run(&url, &["dlq", "list", "--queue", "nobody"]).fault(1);
}

/// Fear: pause loses or lets through messages, or delete takes unfinished ones along unasked.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_made_paused_resumed_and_deleted() {
    let db = with_messages(&[]).await;
    let url = db.url();
    let made = one(&url, &["queue", "create", "other", "--max-retries", "7", "--payload-bytes-max", "2048"]);
    assert_eq!(made, json!({"queue_name": "other", "action": "created"}));
    let again = run(&url, &["queue", "create", "other", "--max-retries", "7"]).ok();
    assert_eq!(again, "queue \"other\" is there already, its settings are set\n");
    let again = one(&url, &["queue", "create", "other"]);
    assert_eq!(again, json!({"queue_name": "other", "action": "created", "existed": true}));
    let other = one(&url, &["queues"])[1].clone();
    assert_eq!((&other["max_retries"], &other["payload_bytes_max"]), (&json!(7), &json!(2048)));
    let worker = Started::new(pgflow(&url).args(["work", "mail", "--heartbeat-ms", "30000", "--exec", "cat; echo"]));
    run(&url, &["publish", "mail", "\"first\""]).ok();
    assert_eq!(worker.line(), "\"first\"");
    assert_eq!(one(&url, &["queue", "pause", "mail"])["action"], "paused");
    run(&url, &["publish", "mail", "\"held\""]).ok();
    assert_eq!(one(&url, &["queues"])[0]["paused"], true);
    let refused = run(&url, &["queue", "delete", "mail"]).fault(1);
    assert!(refused.contains("1 waiting") && refused.ends_with("cancelled: --force"), "{refused}");
    assert_eq!(one(&url, &["queue", "resume", "mail"])["action"], "resumed");
    assert_eq!(worker.line(), "\"held\"");
    run(&url, &["publish", "other", "1"]).ok();
    assert_eq!(
        one(&url, &["queue", "delete", "other", "--force"]),
        json!({"queue_name": "other", "action": "deleted", "cancelled": 1})
    );
    for action in ["pause", "resume", "delete"] {
        let line = run(&url, &["queue", action, "other"]).fault(1);
        assert!(line.ends_with("unknown queue \"other\": `pgflow queues` lists them"), "{line}");
    }
    run(&url, &["queue", "create", "Bad Name"]).fault(1);
}

/// Fear: the operator does not see which instances live, or what they are made of.
#[tokio::test(flavor = "multi_thread")]
async fn the_tree_shows_live_instances() {
    let db = with_messages(&[]).await;
    let url = db.url();
    assert_eq!(one(&url, &["tree"]), json!([]));
    let worker = Started::new(pgflow(&url).args(["work", "mail", "--exec", "true", "--instance", "east"]));
    let tree = eventually(LIMIT, async || Some(one(&url, &["tree"])).filter(|tree| tree[0]["tree"].is_array())).await;
    assert_eq!(
        keys(&tree[0]),
        ["decodes", "heartbeat_age_s", "heartbeat_at", "host", "name", "pid", "session_id", "started_at", "tree"]
    );
    assert_eq!((&tree[0]["name"], &tree[0]["pid"]), (&json!("east"), &json!(worker.child.id())));
    assert_eq!(keys(&tree[0]["tree"][0]), ["children", "id", "restarts", "running"]);
    let drawn = run(&url, &["tree"]).ok();
    assert!(
        drawn.starts_with("east  (session ") && drawn.contains("queue mail") && drawn.contains("worker 0"),
        "{drawn}"
    );
    worker.signal("TERM");
    assert_eq!(worker.ended().code, Some(0));
    assert_eq!(one(&url, &["tree"]), json!([]));
}

/// Fear: a change of mode does not reach the triggers.
#[tokio::test(flavor = "multi_thread")]
async fn the_mode_is_shown_and_changed() {
    let db = with_messages(&[]).await;
    let url = db.url();
    assert_eq!(one(&url, &["mode"]), json!({"mode": "eventcount"}));
    for mode in ["notify", "poll", "eventcount"] {
        assert_eq!(run(&url, &["mode", mode]).ok(), format!("{mode}\n"));
        assert_eq!(one(&url, &["mode"]), json!({"mode": mode}));
    }
    let triggers = "SELECT count(*) FROM pg_trigger WHERE tgname = 'pgflow_wake'";
    assert_eq!(query_text(&db.client().await, triggers).await, ["2"]);
}

/// Fear: a typo in a queue's name looks like an empty queue.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_queue_is_one_line() {
    let db = with_messages(&[]).await;
    for command in ["stats", "pending"] {
        let line = run(&db.url(), &[command, "nobody"]).fault(1);
        assert!(line.contains("unknown queue \"nobody\"") && line.contains("pgflow queues"), "{line}");
    }
}

/// Fear: the doctor does not see that messages stand still, or a probe cannot tell by the exit code.
#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_what_stands_still() {
    let db = with_messages(&[("order", "normal")]).await;
    let ran = run(&db.url(), &["doctor", "--json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    let unread = pgflow(&db.url()).arg("doctor").stdout(nobody_reads()).stderr(Stdio::null()).status();
    assert_eq!(unread.expect("it runs").code(), Some(1), "also when nobody reads it");
    let findings: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(keys(&findings[0]), ["check", "detail", "health"]);
    let health = |check: &str| {
        let all = findings.as_array().expect("an array");
        all.iter().find(|f| f["check"] == check).map(|f| f["health"].clone()).expect("this check")
    };
    assert_eq!((health("queues"), health("instances"), health("wake-up")), (json!("fail"), json!("warn"), json!("ok")));
    // The tests' server is not durable, and the doctor says so.
    assert_eq!(health("durability"), "fail");
    assert_eq!(health("alerts"), "ok");
    let admin = pgflow::Admin::connect(&pgflow::Config::new(db.url())).await.expect("an admin");
    admin
        .raise_alert("shop", "no_stock", "tea", pgflow::admin::AlertLevel::Page, &"!".repeat(200))
        .await
        .expect("raised");
    let told = run(&db.url(), &["doctor"]);
    let line = told.stdout.lines().find(|line| line.starts_with("fail  alerts")).expect("a line about it");
    assert!(line.contains("no_stock tea (shop, since 2") && line.ends_with(&"!".repeat(200)), "whole: {line}");
    assert!(told.stderr.contains("alerts"), "{told:?}");
    let client = db.client().await;
    client.batch_execute("BEGIN; CREATE TABLE held (); PREPARE TRANSACTION 'nightly'").await.expect("prepared");
    let told = run(&db.url(), &["doctor"]).stdout;
    client.batch_execute("ROLLBACK PREPARED 'nightly'").await.expect("rolled back");
    assert!(told.contains("prepared transaction 'nightly'"), "{told}");
    client.batch_execute("ALTER TABLE pgflow_ready DISABLE TRIGGER pgflow_wake").await.expect("disabled");
    assert!(run(&db.url(), &["doctor"]).stderr.contains("wake-up"));
}

/// Fear: a watcher that cannot be left.
#[tokio::test(flavor = "multi_thread")]
async fn top_goes_on_until_a_signal() {
    let db = with_messages(&[]).await;
    let top = Started::new(pgflow(&db.url()).args(["top", "--json"]));
    for _ in 0..2 {
        let queues: Value = serde_json::from_str(&top.line()).expect("JSON");
        assert_eq!(queues[0]["queue_name"], "mail");
    }
    top.signal("INT");
    assert_eq!(top.ended().code, Some(0));
}
