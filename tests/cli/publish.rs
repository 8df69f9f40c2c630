//! `pgflow publish`.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::program::{LIMIT, Started, keys, nobody_reads, pgflow, run, run_with};
use crate::support::{TestDb, eventually, query_text};

async fn with_queue() -> TestDb {
    let db = TestDb::new().await;
    run(&db.url(), &["queue", "create", "mail"]).ok();
    db
}

/// Fear: a message arrives with another kind, priority, key or payload than the command line said.
#[tokio::test(flavor = "multi_thread")]
async fn every_option_arrives() {
    let db = with_queue().await;
    let file = std::env::temp_dir().join(format!("pgflow-payload-{}", std::process::id()));
    std::fs::write(&file, "{\"from\": \"file\"}\n").expect("a file");
    let url = db.url();
    let one = run(&url, &["publish", "mail", "--kind", "order", "{\"n\": 1}", "--priority", "high", "--json"]).json();
    assert_eq!(keys(&one), ["durable", "id", "kind", "message_id", "queue_name"]);
    assert_eq!(one["kind"], "order");
    // Without --json the id alone: `id=$(pgflow publish …)`.
    let id = run_with(&url, &["publish", "mail", "--key", "k", "--target", "east"], "{\"type\": \"typed\"}").ok();
    assert!(id.trim().parse::<i64>().is_ok(), "{id}");
    run(&url, &["publish", "mail", "--delay", "1h", "--file", file.to_str().expect("UTF-8")]).ok();
    std::fs::remove_file(file).expect("it is ours");
    run_with(&url, &["publish", "mail", "--file", "-", "--headers", "{\"trace\": 7}"], "[1]").ok();
    run_with(&url, &["publish", "mail", "-"], "[2]").ok();
    let client = db.client().await;
    let rows = query_text(
        &client,
        "SELECT concat_ws('|', kind, priority, ordering_key, target, status, payload, headers) FROM pgflow_messages ORDER BY id",
    )
    .await;
    let expected = [
        r#"order|10|pending|{"n": 1}"#,
        r#"typed|0|k|east|pending|{"type": "typed"}"#,
        r#"mail|0|scheduled|{"from": "file"}"#,
        r#"mail|0|pending|[1]|{"trace": 7}"#,
        "mail|0|pending|[2]",
    ];
    assert_eq!(rows, expected);
}

/// Fear: a script that is run again publishes again.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_dedup_key_answers_the_first_id() {
    let db = with_queue().await;
    let publish = || run(&db.url(), &["publish", "mail", "{}", "--dedup", "d", "--json"]).json();
    let (first, mut second) = (publish(), publish());
    assert_eq!((first.get("duplicate"), &second["duplicate"]), (None, &json!(true)), "and says that it is a repeat");
    second.as_object_mut().expect("an object").remove("duplicate");
    assert_eq!(first, second);
    assert_eq!(query_text(&db.client().await, "SELECT count(*) FROM pgflow_messages").await, ["1"]);
}

/// Fear: thousands of lines come out of order, a slow writer waits for a full batch, or a bad line takes good ones along.
#[tokio::test(flavor = "multi_thread")]
async fn one_message_per_line() {
    let db = with_queue().await;
    let lines: String = (0..2_500).map(|n| format!("{{\"n\": {n}}}\n")).collect();
    let answer = run_with(&db.url(), &["publish", "mail", "--ndjson", "--kind", "k"], &lines).ok();
    let answers: Vec<Value> = answer.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(answers.len(), 2_500);
    assert_eq!(keys(&answers[0]), ["durable", "id", "kind", "message_id", "queue_name"]);
    let client = db.client().await;
    let stored = query_text(&client, "SELECT payload ->> 'n' FROM pgflow_messages ORDER BY id").await;
    assert_eq!(stored, (0..2_500).map(|n| n.to_string()).collect::<Vec<_>>());

    // Each id comes while the writer still holds the pipe open.
    let mut slow = Started::new(pgflow(&db.url()).args(["publish", "mail", "--ndjson"]).stdin(Stdio::piped()));
    let mut stdin = slow.child.stdin.take().expect("a pipe");
    for n in 0..3 {
        use std::io::Write as _;
        writeln!(stdin, "{{\"type\": \"slow\", \"n\": {n}}}").expect("it reads");
        let answer: Value = serde_json::from_str(&slow.line()).expect("JSON");
        assert_eq!(answer["kind"], "slow");
    }
    drop(stdin);
    assert_eq!(slow.ended().code, Some(0));

    let ran = run_with(&db.url(), &["publish", "mail", "--ndjson", "--kind", "part"], "{}\n\n{}\nnot JSON\n{}\n");
    assert_eq!((ran.code, ran.stdout.lines().count()), (Some(1), 2), "{ran:?}");
    assert!(ran.stderr.starts_with("pgflow: line 4: ") && ran.stderr.lines().count() == 1, "{ran:?}");
    assert_eq!(query_text(&client, "SELECT count(*) FROM pgflow_messages WHERE kind = 'part'").await, ["2"]);
}

/// Fear: a mistake in the input comes back as a database error, a panic, or three lines of advice.
#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_one_line() {
    let db = with_queue().await;
    let url = db.url();
    let unknown = run(&url, &["publish", "nobody", "{}"]).fault(1);
    assert!(unknown.contains("unknown queue") && unknown.contains("pgflow queue create nobody"), "{unknown}");
    for payload in ["{", "", "{\"a\": \"\\u0000\"}", "nonsense\nover\nlines"] {
        let line = run(&url, &["publish", "mail", payload]).fault(1);
        assert!(line.contains("payload"), "{line}");
    }
    let large = format!("\"{}\"", "x".repeat(2 << 20));
    let line = run_with(&url, &["publish", "mail"], &large).fault(1);
    assert!(line.contains("1048576"), "{line}");
    run(&url, &["publish", "mail", "--file", "/there/is/no/such/file"]).fault(1);
    run(&url, &["publish", "mail", "{}", "--headers", "[]"]).fault(1);
    run(&url, &["publish", "mail", "{}", "--delay", "5"]).fault(2);
    run(&url, &["publish", "mail", "{}", "--priority", "urgent"]).fault(2);
    assert_eq!(query_text(&db.client().await, "SELECT count(*) FROM pgflow_messages").await, ["0"]);
    assert_eq!(json!([]), run(&url, &["pending", "mail", "--json"]).json());
}

/// Fear: `publish --ndjson | head` leaves most of the lines out, and says that all went well.
#[tokio::test(flavor = "multi_thread")]
async fn lines_that_nobody_is_told_of_are_named() {
    let db = with_queue().await;
    let file = std::env::temp_dir().join(format!("pgflow-unread-{}", std::process::id()));
    std::fs::write(&file, "{}\n".repeat(5_000)).expect("a file");
    let ran = pgflow(&db.url())
        .args(["publish", "mail", "--ndjson", "--file", file.to_str().expect("UTF-8")])
        .stdout(nobody_reads())
        .output()
        .expect("it runs");
    std::fs::remove_file(file).expect("it is ours");
    let stored = query_text(&db.client().await, "SELECT count(*) FROM pgflow_messages").await;
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert_eq!(said, format!("pgflow: stdout is closed: lines after {} are not published\n", stored[0]));
}

/// Fear: a line that only the database refuses is not named, and how many before it went through is chance.
#[tokio::test(flavor = "multi_thread")]
async fn a_line_refused_late_is_named_and_those_before_it_are_published() {
    let db = with_queue().await;
    let url = db.url();
    run(&url, &["queue", "create", "small", "--payload-bytes-max", "100"]).ok();
    let large = format!("{{\"text\": \"{}\"}}", "x".repeat(100));
    for (bad, why) in [(large.as_str(), "at most 100"), ("{\"type\": \"\"}", "kind")] {
        let lines = format!("{{}}\n\n{{}}\n{bad}\n{{}}\n");
        let ran = run_with(&url, &["publish", "small", "--ndjson"], &lines);
        assert_eq!((ran.code, ran.stdout.lines().count()), (Some(1), 2), "{ran:?}");
        assert!(ran.stderr.starts_with("pgflow: line 4: ") && ran.stderr.contains(why), "{ran:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    }
    assert_eq!(query_text(&db.client().await, "SELECT count(*) FROM pgflow_messages").await, ["4"]);
}

/// Fear: a broadcast reaches one instance, or nobody can tell whom.
#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_has_a_copy_for_each_live_instance() {
    let db = with_queue().await;
    let url = db.url();
    let nobody = run(&url, &["publish", "mail", "{}", "--broadcast", "--json"]);
    assert!(nobody.stderr.contains("nobody live"), "{nobody:?}");
    assert_eq!(nobody.json(), json!([]));
    let work = |name| {
        let script = "echo $PGFLOW_ID";
        Started::new(pgflow(&url).args(["work", "mail", "--exec", script, "--instance", name]))
    };
    let workers = [work("east"), work("west")];
    eventually(LIMIT, async || run(&url, &["tree", "--json"]).json().as_array().map(Vec::len) == Some(2)).await;
    let copies = run(&url, &["publish", "mail", "{}", "--broadcast", "--json"]).json();
    let mut told: Vec<String> =
        copies.as_array().expect("an array").iter().map(|copy| copy["id"].to_string()).collect();
    assert_eq!(keys(&copies[0]), ["durable", "id", "kind", "message_id", "queue_name"]);
    let mut handled = workers.map(|worker| worker.line());
    told.sort_unstable();
    handled.sort_unstable();
    assert_eq!(told, handled);
    run(&url, &["publish", "mail", "{}", "--broadcast", "--target", "east"]).fault(2);
}
