//! Roles as processes, started from the environment alone: what they say, count and show, by the documented names.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use serde_json::Value;

use crate::roles::Role;
use crate::stage::{LIMIT, ORIGINAL, proposal};
use crate::support::{TestDb, eventually, query_text};

fn get(page: &str, path: &str) -> String {
    let host = page.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Fear: a role needs flags where the documents promise variables; an event has another name, or lacks its fields.
#[tokio::test(flavor = "multi_thread")]
async fn roles_start_from_the_environment_and_say_the_documented_events() {
    let db = TestDb::new().await;
    let (url, folder) = (db.url(), tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("a.txt"), ORIGINAL).unwrap();
    let check = r#"n=$(cat .n 2>/dev/null || echo 0); n=$((n+40)); echo $n > .n; e=$(cat .e 2>/dev/null || echo 0)
        if grep -q bad a.txt; then e=$((e+6)); echo $e > .e; fi; echo "{\"error_count\":$e,\"execution_count\":$n}""#;
    let settings = [
        ("PGFLOW_DATABASE_URL", url.as_str()),
        ("EVOLUTION_MIN_VOTES", "1"),
        ("EVOLUTION_REPORT_S", "1"),
        ("EVOLUTION_OBSERVATION_S", "2"),
        ("EVOLUTION_HEALTH_S", "1"),
        ("EVOLUTION_LISTEN", "127.0.0.1:0"),
        ("INSTANCE_ID", "one"),
        ("EVOLUTION_CHECK", check),
        ("EVOLUTION_WORKSPACE", folder.path().to_str().unwrap()),
    ];
    let central = Role::start(&["central", "--json"], &settings);
    let instance = Role::start(&["instance", "--json"], &settings);
    let client = db.client().await;
    let live = "SELECT count(*) FROM pgflow_instances WHERE ended_at IS NULL AND name IN ('central', 'one')";
    eventually(LIMIT, async || query_text(&client, live).await == ["2"]).await;
    let file = folder.path().join(".proposals");
    std::fs::write(&file, format!("{}\n{}\n", proposal("a.txt", "good\n"), proposal("a.txt", "bad\n"))).unwrap();
    let submitted = Command::new(env!("CARGO_BIN_EXE_evolution"))
        .arg("submit")
        .arg("--file")
        .arg(&file)
        .envs(settings)
        .output()
        .unwrap();
    assert!(submitted.status.success(), "{}", String::from_utf8_lossy(&submitted.stderr));

    let fields = |fields: &Value, names: &[&str]| {
        for name in names {
            assert!(!fields[name].is_null(), "{name} is not in {fields}");
        }
    };
    for (name, names) in [
        ("evolution.pgflow.proposal_published", &["proposal_id"][..]),
        ("evolution.proposal.sent_for_consensus", &["proposal_id"]),
        ("evolution.pgflow.consensus_approved", &["proposal_id", "confidence"]),
        ("evolution.proposal.execution_started", &["proposal_id"]),
        ("evolution.proposal.applied", &["proposal_id"]),
        ("evolution.execution.completed", &["execution_time_ms"]),
        ("evolution.pgflow.execution_success", &["proposal_id"]),
        ("evolution.pgflow.metrics_published", &["proposal_id"]),
        ("evolution.pgflow.pattern_published", &["pattern_type", "agent_type"]),
        ("evolution.pgflow.rollback_completed", &["proposal_id", "reason", "threshold"]),
    ] {
        fields(&instance.event(name).await, names);
    }
    for (name, names) in [
        ("evolution.pgflow.proposal_received", &["proposal_id"][..]),
        ("evolution.pgflow.consensus_result_published", &["confidence", "proposal_id", "status", "instance_id"]),
        ("evolution.pgflow.metrics_received", &["proposal_id", "instance_id", "status"]),
        ("evolution.pgflow.pattern_received", &["success_rate"]),
        ("evolution.pgflow.rollback_trigger_published", &["proposal_id", "reason"]),
    ] {
        fields(&central.event(name).await, names);
    }
    let page = central.page().await;
    eventually(LIMIT, async || {
        let metrics = get(&page, "/metrics");
        metrics.contains("evolution_pgflow_rollback_trigger_published_total 1")
            && metrics.contains("pgflow_alerts_standing")
    })
    .await;
    assert!(get(&instance.page().await, "/metrics").contains("evolution_pgflow_rollback_completed_total 1"));
    eventually(LIMIT, async || std::fs::read(folder.path().join("a.txt")).unwrap() == b"good\n").await;
}
