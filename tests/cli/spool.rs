//! `pgflow publish --spool` and `pgflow spool`.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use pgflow::devpg::StopMode;
use serde_json::Value;

use crate::program::{Started, keys, pgflow, run, run_with};
use crate::support::{TestDb, connect, own_cluster, query_text};

const NOWHERE: &str = "postgresql://postgres@127.0.0.1:1/none?sslmode=disable";

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pgflow-cli-spool-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
    fn text(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Fear: a program that pipes lines in is stopped by an outage, is told the wrong place, or its lines come in another order.
#[tokio::test(flavor = "multi_thread")]
async fn lines_go_on_while_postgres_is_away() {
    let mut server = own_cluster(false).await;
    connect(&server.url()).await.batch_execute("SELECT pgflow_create_queue('mail')").await.expect("a queue");
    let folder = Folder::new("lines");
    let arguments = ["publish", "mail", "--spool", folder.text(), "--ndjson", "--file", "-"];
    let mut publish = Started::new(pgflow(&server.url()).args(arguments).stdin(Stdio::piped()));
    let mut stdin = publish.child.stdin.take().expect("a pipe");
    let mut line = |n: i64| -> Value {
        writeln!(stdin, "{{\"n\": {n}}}").expect("it reads");
        serde_json::from_str(&publish.line()).expect("JSON")
    };
    let before = line(0);
    assert_eq!(keys(&before), ["durable", "id", "kind", "message_id", "queue_name"]);
    assert!(before["durable"] == "postgres" && before["id"].is_i64(), "{before}");
    server.stop_keep(StopMode::Fast).expect("it stops");
    for n in 1..=20 {
        let away = line(n);
        assert!(away["durable"] == "spooled" && away["id"].is_null() && away["message_id"].is_string(), "{away}");
    }
    server.restart(StopMode::Fast).expect("it starts");
    let mut n = 21;
    while line(n)["durable"] == "spooled" {
        n += 1;
        assert!(n < 100_000, "it never goes back to Postgres");
    }
    drop(stdin);
    assert_eq!(publish.ended().code, Some(0));
    let stored =
        query_text(&connect(&server.url()).await, "SELECT payload ->> 'n' FROM pgflow_messages ORDER BY id").await;
    assert_eq!(stored, (0..=n).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// Fear: what a short program spooled is forgotten, or nobody can see or forward it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_shown_and_drained() {
    let db = TestDb::new().await;
    run(&db.url(), &["queue", "create", "mail"]).ok();
    let folder = Folder::new("drained");
    let publish = |url: &str, n: i64| {
        let text = format!("{{\"n\": {n}}}");
        run(url, &["publish", "mail", &text, "--spool", folder.text(), "--json"])
    };
    for n in 0..3 {
        let ran = publish(NOWHERE, n);
        assert!(ran.stderr.contains("forward"), "what is left is said: {ran:?}");
        assert_eq!(ran.json()["durable"], "spooled");
    }
    let plain = run(NOWHERE, &["publish", "mail", "{\"n\": 3}", "--spool", folder.text()]).ok();
    assert_eq!(plain.trim().len(), 36, "the message id: {plain}");
    // A queue that is not there: known only later.
    run(NOWHERE, &["publish", "nobody", "{\"n\": 9}", "--spool", folder.text()]).ok();
    let shown = run(NOWHERE, &["spool", folder.text(), "show", "--json"]).json();
    assert_eq!(keys(&shown), ["aside", "in_use", "oldest_at", "spooled"]);
    let oldest = shown["oldest_at"].as_str().expect("a time");
    let said =
        query_text(&db.client().await, &format!("SELECT clock_timestamp() - '{oldest}' < interval '1 hour'")).await;
    assert_eq!(said, ["t"], "{oldest}");
    assert_eq!((shown["spooled"]["messages"].as_u64(), shown["in_use"].as_bool()), (Some(5), Some(false)));
    assert!(run(NOWHERE, &["spool", folder.text(), "show"]).ok().contains("messages   5"));
    let away = run(NOWHERE, &["spool", folder.text(), "drain"]);
    assert!(away.code == Some(1) && away.stderr.contains("forward 5 messages"), "{away:?}");
    assert_eq!(
        run(&db.url(), &["spool", folder.text(), "drain", "--json"]).json(),
        serde_json::json!({"forwarded": 4, "set_aside": 1})
    );
    let shown = run(NOWHERE, &["spool", folder.text(), "show"]).ok();
    let refused = shown.lines().find(|line| line.starts_with("refused  5 to 5: ")).expect("a line about it");
    assert!(refused.ends_with("make it with `pgflow queue create nobody`"), "whole: {refused}");
    let stored = query_text(&db.client().await, "SELECT payload ->> 'n' FROM pgflow_messages ORDER BY id").await;
    assert_eq!(stored, ["0", "1", "2", "3"]);
    assert_eq!(publish(&db.url(), 4).json()["durable"], "postgres");
    let slip = run(&db.url(), &["spool", "/there/is/no/such/folder", "drain"]).fault(1);
    assert!(slip.contains("/there/is/no/such/folder"), "{slip}");
    assert!(!Path::new("/there/is").exists());
}

/// Fear: a file that may not grow further passes for a spooled message, or spoils what was kept before.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_grow_is_one_line() {
    let folder = Folder::new("grown");
    let limited = |lines: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_pgflow")]);
        shell.args(["publish", "mail", "--ndjson", "--spool", folder.text()]).env("PGFLOW_DATABASE_URL", NOWHERE);
        let mut started = Started::new(shell.stdin(Stdio::piped()));
        started.child.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("it reads");
        started.ended()
    };
    assert_eq!(limited("{\"n\": 1}\n").code, Some(0));
    let failed = limited(&format!("\"{}\"\n", "x".repeat(50_000)));
    assert_eq!((failed.code, failed.stdout.as_str()), (Some(1), ""), "{failed:?}");
    assert!(failed.stderr.contains("append to") && failed.stderr.contains("File too large"), "{failed:?}");
    let answer = run_with(NOWHERE, &["publish", "mail", "--ndjson", "--spool", folder.text()], "{\"n\": 2}\n").ok();
    assert!(answer.contains("spooled"));
    let shown = run(NOWHERE, &["spool", folder.text(), "show", "--json"]).json();
    assert_eq!((shown["spooled"]["messages"].as_u64(), shown["aside"].as_array().map(Vec::len)), (Some(2), Some(0)));
}

/// Fear: a slip of the pen names a folder that is none of ours: all seems well there, and it gets files of ours.
#[test]
fn a_folder_that_is_no_spool_is_said_and_left_alone() {
    let folder = Folder::new("foreign");
    std::fs::create_dir(&folder.0).expect("a folder");
    std::fs::write(folder.0.join("letter.txt"), "dear").expect("a file");
    for command in ["show", "drain"] {
        let line = run(NOWHERE, &["spool", folder.text(), command]).fault(1);
        assert!(line.contains(&format!("no spool in {}", folder.text())), "{line}");
    }
    assert_eq!(std::fs::read_dir(&folder.0).expect("it is there").count(), 1);
}

/// Fear: a folder that everybody may write to passes for one of our own, and nobody learns that others can spoil it.
#[test]
fn a_folder_that_others_may_write_to_is_said() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new("open");
    std::fs::create_dir(&folder.0).expect("a folder");
    for (mode, said) in [(0o777, true), (0o700, false)] {
        std::fs::set_permissions(&folder.0, std::fs::Permissions::from_mode(mode)).expect("it is ours");
        let ran = run(NOWHERE, &["publish", "mail", "{}", "--spool", folder.text()]);
        assert_eq!((ran.code, ran.stderr.contains("others than its owner may write")), (Some(0), said), "{ran:?}");
    }
}
