use std::fs;
use std::future::pending;
use std::path::Path;
use std::time::{Duration, Instant};

use pgflow_actors::check::{Check, CheckError, parse};
use pgflow_actors::metrics::Metrics;
use tempfile::TempDir;

fn check(folder: &TempDir, command: &str) -> Check {
    Check {
        command: command.to_owned(),
        workspace: folder.path().to_owned(),
        env: vec![("PROPOSAL_ID".into(), "p1".into())],
        timeout: Duration::from_secs(20),
    }
}

async fn run(command: &str) -> Result<Metrics, CheckError> {
    let folder = TempDir::new().unwrap();
    check(&folder, command).run(pending()).await
}

/// Waits until the process is gone; a zombie nobody has collected yet counts as gone.
async fn gone(pid: &str) -> bool {
    for _ in 0..200 {
        match fs::read_to_string(Path::new("/proc").join(pid).join("stat")) {
            Ok(stat) if !stat.contains(") Z ") => tokio::time::sleep(Duration::from_millis(10)).await,
            _ => return true,
        }
    }
    false
}

async fn pid_in(file: &Path) -> String {
    for _ in 0..2000 {
        match fs::read_to_string(file) {
            Ok(pid) if pid.ends_with('\n') => return pid.trim().to_owned(),
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    panic!("the check never started");
}

#[tokio::test]
async fn metrics_are_the_last_json_line() {
    let metrics = run(concat!(
        r#"echo 'running 12 tests'; echo '{"error_count": 9}'; echo '{"success_rate":0.97,"error_count":2,"#,
        r#""execution_count":100,"latency_p95_ms":850,"cpu_usage":45.2,"memory_usage":512,"cost_cents":1.5}'; echo ok"#
    ))
    .await
    .unwrap();
    assert_eq!((metrics.success_rate, metrics.error_count, metrics.execution_count), (Some(0.97), Some(2), Some(100)));
    assert_eq!((metrics.latency_p95_ms, metrics.memory, metrics.cost_cents), (Some(850.0), Some(512.0), Some(1.5)));
}

#[tokio::test]
async fn it_runs_in_the_workspace_with_its_environment() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("errors"), "4").unwrap();
    let command = r#"test "$PROPOSAL_ID" = p1 && echo "{\"error_count\": $(cat errors)}""#;
    assert_eq!(check(&folder, command).run(pending()).await.unwrap().error_count, Some(4));
}

#[tokio::test]
async fn a_failing_check_says_how_and_why() {
    let error = run("echo '{\"error_count\":1}'; echo first >&2; echo no such module >&2; exit 3").await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("check_failed: exit status: 3; ") && text.ends_with("no such module"), "{text}");
    let error = run("kill -9 $$").await.unwrap_err();
    assert!(error.to_string().contains("signal: 9"), "{error}");
}

#[tokio::test]
async fn output_without_metrics_is_an_error() {
    let text = run("echo all good; echo '[1]'").await.unwrap_err().to_string();
    assert!(text.contains("check_no_metrics") && text.contains("all good"), "{text}");
    assert!(matches!(parse(""), Err(CheckError::NoMetrics { .. })));
    assert!(matches!(parse(r#"{"error_count": "many"}"#), Err(CheckError::BadMetrics(_))));
    assert!(matches!(parse(r#"{"success_rate": 7}"#), Err(CheckError::OutOfRange(_))));
}

/// Fear: a byte that the database refuses in what a check says keeps the change in place, and its failure from being told.
#[tokio::test]
async fn what_the_database_cannot_keep_is_replaced_or_refused() {
    let text = run("printf 'no\\0such\\0module' >&2; exit 3").await.unwrap_err().to_string();
    assert!(text.ends_with("no\u{fffd}such\u{fffd}module"), "{text:?}");
    for other in [r#""a\u0000b": 1"#, r#""a": "\u0000""#, r#""a": [{"b": {"\u0000": 1}}]"#] {
        let refused = parse(&format!(r#"{{"error_count": 0, {other}}}"#)).unwrap_err().to_string();
        assert!(refused.starts_with("check_bad_metrics: a key or text holds NUL"), "{refused}");
    }
    assert!(parse(r#"{"error_count": 0, "a": "\\u0000"}"#).is_ok(), "a backslash is none");
}

#[tokio::test]
async fn a_missing_workspace_is_an_error() {
    let folder = TempDir::new().unwrap();
    let mut gone = check(&folder, "true");
    gone.workspace = folder.path().join("missing");
    assert!(matches!(gone.run(pending()).await, Err(CheckError::NotStarted(_))));
}

#[tokio::test]
async fn much_output_neither_blocks_nor_fills_memory() {
    let metrics = run(
        "yes 'a line of output' | head -c 3000000; yes err | head -c 3000000 >&2; echo; echo '{\"error_count\":0}'",
    );
    assert_eq!(metrics.await.unwrap().error_count, Some(0));
}

#[tokio::test]
async fn too_long_is_killed_with_all_it_started() {
    let folder = TempDir::new().unwrap();
    let mut slow = check(&folder, "echo waiting >&2; sleep 300 & echo $! > pid; wait");
    slow.timeout = Duration::from_secs(2);
    let error = slow.run(pending()).await.unwrap_err();
    assert!(error.to_string().starts_with("check_timed_out: after 2000 ms; waiting"), "{error}");
    assert!(gone(&pid_in(&folder.path().join("pid")).await).await);
}

#[tokio::test]
async fn cancelling_kills_it() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("pid");
    let started = async { drop(pid_in(&file).await) };
    let slow = check(&folder, "sleep 300 & echo $! > pid; wait");
    assert!(matches!(slow.run(started).await, Err(CheckError::Cancelled)));
    assert!(gone(&pid_in(&file).await).await);
}

#[tokio::test]
async fn dropping_kills_it() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("pid");
    let slow = check(&folder, "sleep 300 & echo $! > pid; wait");
    let pid = tokio::select! {
        _ = slow.run(pending()) => panic!("it sleeps"),
        pid = pid_in(&file) => pid,
    };
    assert!(gone(&pid).await);
}

/// Something left running in the background that keeps the pipe open must not hold the result up.
#[tokio::test]
async fn a_leftover_process_does_not_hold_the_result_up() {
    let folder = TempDir::new().unwrap();
    let begun = Instant::now();
    let left = check(&folder, "sleep 300 & echo $! > pid; echo '{\"error_count\":0}'");
    assert_eq!(left.run(pending()).await.unwrap().error_count, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(15));
    assert!(gone(&pid_in(&folder.path().join("pid")).await).await);
}
