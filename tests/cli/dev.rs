//! `pgflow dev` and `pgflow init`.

use std::path::PathBuf;
use std::process::Command;

use crate::program::{LIMIT, Started, keys, pgflow, run};
use crate::support::{TestDb, connect, eventually, query_text};

/// The folder behind a URL of the embedded server.
fn folder(url: &str) -> PathBuf {
    let host = url.split("host=").nth(1).and_then(|rest| rest.split('&').next()).expect("a host");
    PathBuf::from(host.replace("%2F", "/"))
}

/// Fear: a script cannot read the URL off the first line, or the throw-away server and its data stay behind.
#[tokio::test(flavor = "multi_thread")]
async fn dev_prints_its_url_alone_and_is_gone_after_a_signal() {
    for signal in ["INT", "TERM"] {
        let dev = Started::new(pgflow("").arg("dev"));
        let url = dev.line();
        assert!(url.starts_with("postgresql://") && !url.contains(' '), "{url}");
        let client = connect(&url).await;
        assert_eq!(query_text(&client, "SELECT 1").await, ["1"]);
        let server = query_text(&client, "SELECT pg_backend_pid()").await;
        dev.signal(signal);
        let ran = dev.ended();
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{signal}: {}", ran.stderr);
        assert!(!folder(&url).exists(), "{signal}: {url}");
        assert!(tokio_postgres::connect(&url, tokio_postgres::NoTls).await.is_err());
        eventually(LIMIT, async || !crate::program::is_alive(&server[0])).await;
    }
}

/// Fear: data that somebody asked to keep goes with the server.
#[tokio::test(flavor = "multi_thread")]
async fn dev_keeps_a_named_folder() {
    let parent = std::env::temp_dir().join(format!("pgflow-cli-{}", std::process::id()));
    let data = parent.join("data");
    for round in 0..2 {
        let dev = Started::new(pgflow("").args(["dev", "--init", "--data"]).arg(&data));
        let url = dev.line();
        if round == 0 {
            run(&url, &["queue", "create", "kept"]).ok();
        } else {
            let queues = run(&url, &["queues", "--json"]).json();
            assert_eq!(queues[0]["queue_name"], "kept", "{queues}");
        }
        dev.signal("TERM");
        assert_eq!(dev.ended().code, Some(0));
    }
    std::fs::remove_dir_all(parent).expect("it is ours");
}

/// Fear: a server that dies under it leaves `dev` hanging, as if all were well.
#[tokio::test(flavor = "multi_thread")]
async fn dev_ends_when_its_server_does() {
    let dev = Started::new(pgflow("").args(["dev", "--json"]));
    let started: serde_json::Value = serde_json::from_str(&dev.line()).expect("JSON");
    assert_eq!(keys(&started), ["data", "major", "pid", "url"]);
    let pid = started["pid"].to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill runs").success());
    let ran = dev.ended();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("Postgres ended by itself"), "{ran:?}");
    assert!(!folder(started["url"].as_str().expect("text")).exists());
}

/// Fear: a second `init`, or one beside another, breaks a working schema; or `--dry-run` runs something.
#[tokio::test(flavor = "multi_thread")]
async fn init_twice_is_harmless_and_a_dry_run_only_prints() {
    let db = TestDb::empty().await;
    let client = db.client().await;
    let sql = run(&db.url(), &["init", "--dry-run"]).ok();
    assert_eq!(run(&db.url(), &["init", "--dry-run", "--json"]).json()["sql"], sql);
    assert!(sql.contains("CREATE TABLE") && sql.contains("pgflow_publish"), "{sql}");
    assert_eq!(query_text(&client, "SELECT to_regclass('pgflow_ready') IS NULL").await, ["t"]);
    let first = run(&db.url(), &["init", "--json"]).json();
    assert_eq!(keys(&first), ["applied", "schema"]);
    assert_eq!(keys(&first["applied"][0]), ["name", "version"]);
    assert_eq!(first["schema"], "public");
    run(&db.url(), &["queue", "create", "mail"]).ok();
    assert_eq!(run(&db.url(), &["init", "--json"]).json()["applied"], serde_json::json!([]));
    assert_eq!(run(&db.url(), &["queues", "--json"]).json()[0]["queue_name"], "mail");
    // The printed SQL is what init would have done.
    let other = TestDb::empty().await;
    other.client().await.batch_execute(&sql).await.expect("it runs");
    assert_eq!(run(&other.url(), &["init", "--json"]).json()["applied"], serde_json::json!([]));
}

/// Fear: pgflow in a schema of its own meets the one in `public`.
#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_its_own_is_its_own() {
    let db = TestDb::new().await;
    run(&db.url(), &["--schema", "other", "init"]).ok();
    run(&db.url(), &["queue", "create", "q", "--schema", "other"]).ok();
    assert_eq!(run(&db.url(), &["queues", "--json"]).json(), serde_json::json!([]));
    let line = run(&db.url(), &["--schema", "a b", "init"]).fault(2);
    assert!(line.contains("schema name"), "{line}");
}
