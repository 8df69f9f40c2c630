//! Roles as processes, started from the environment alone: what they say, count and show, by the documented names.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::learned::pattern;
use crate::roles::Role;
use crate::stage::{LIMIT, ORIGINAL, hopeless, proposal};
use crate::support::{TestDb, eventually, query_text};

fn get(page: &str, path: &str) -> String {
    let host = page.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Adds forty executions a run; six errors once `bad` is in the file, forty once `broken` is.
const CHECK: &str = r#"n=$(cat .n 2>/dev/null || echo 0); n=$((n+40)); echo $n > .n; e=$(cat .e 2>/dev/null || echo 0)
    if grep -q bad a.txt; then e=$((e+6)); fi; if grep -q broken a.txt; then e=$((e+40)); fi; echo $e > .e
    echo "{\"error_count\":$e,\"execution_count\":$n}""#;

/// Central and an instance, told by the environment alone.
struct Roles {
    client: tokio_postgres::Client,
    folder: TempDir,
    environment: Vec<(&'static str, String)>,
    central: Role,
    instance: Role,
    // Last: the others have connections to it.
    _db: TestDb,
}

impl Roles {
    async fn start() -> Self {
        let db = TestDb::new().await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.txt"), ORIGINAL).unwrap();
        let environment = vec![
            ("PGFLOW_DATABASE_URL", db.url()),
            ("EVOLUTION_MIN_VOTES", "1".to_owned()),
            ("EVOLUTION_REPORT_S", "1".to_owned()),
            ("EVOLUTION_OBSERVATION_S", "2".to_owned()),
            ("EVOLUTION_HEALTH_S", "1".to_owned()),
            ("EVOLUTION_LISTEN", "127.0.0.1:0".to_owned()),
            ("INSTANCE_ID", "one".to_owned()),
            ("EVOLUTION_CHECK", CHECK.to_owned()),
            ("EVOLUTION_WORKSPACE", folder.path().to_str().unwrap().to_owned()),
        ];
        let settings: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let central = Role::start(&["central", "--json"], &settings);
        let instance = Role::start(&["instance", "--json"], &settings);
        let client = db.client().await;
        let live = "SELECT count(*) FROM pgflow_instances WHERE ended_at IS NULL AND name IN ('central', 'one')";
        eventually(LIMIT, async || query_text(&client, live).await == ["2"]).await;
        Self { client, folder, environment, central, instance, _db: db }
    }

    /// Runs a command to its end; answers its log.
    fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evolution"));
        let ran = command.args(arguments).envs(self.environment.iter().cloned()).output().unwrap();
        let log = String::from_utf8(ran.stderr).unwrap();
        assert!(ran.status.success(), "{arguments:?}: {log}");
        log
    }

    fn submit(&self, instance: &str, lines: &[Value]) -> String {
        let file = self.folder.path().join(".proposals");
        std::fs::write(&file, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        self.run(&["submit", "--json", "--instance", instance, "--file", file.to_str().unwrap()])
    }
}

/// Waits for these events, each with these fields.
async fn said(role: &Role, events: &[(&str, &[&str])]) {
    for (name, fields) in events {
        let event = role.event(name).await;
        for field in *fields {
            assert!(!event[field].is_null(), "{field} is not in {event}");
        }
    }
}

/// Fear: a role needs flags where the documents promise variables; an event has another name, or lacks its fields.
#[tokio::test(flavor = "multi_thread")]
async fn roles_start_from_the_environment_and_say_the_documented_events() {
    let roles = Roles::start().await;
    let log = roles.submit("one", &[proposal("a.txt", "good\n"), proposal("a.txt", "bad\n")]);
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["fields"].clone());
    let submitted: Vec<_> = lines.filter(|fields| fields["event"] == "evolution.proposal.submitted").collect();
    assert!(submitted.len() == 2 && submitted.iter().all(|fields| fields["priority_score"] == 3.8), "{log}");
    let of_instance: &[(&str, &[&str])] = &[
        ("evolution.pgflow.proposal_published", &["proposal_id"]),
        ("evolution.proposal.sent_for_consensus", &["proposal_id"]),
        ("evolution.pgflow.consensus_approved", &["proposal_id", "confidence"]),
        ("evolution.proposal.execution_started", &["proposal_id"]),
        ("evolution.proposal.applied", &["proposal_id"]),
        ("evolution.execution.completed", &["execution_time_ms"]),
        ("evolution.pgflow.execution_success", &["proposal_id"]),
        ("evolution.pgflow.metrics_published", &["proposal_id"]),
        ("evolution.pgflow.pattern_published", &["pattern_type", "agent_type"]),
        ("evolution.pgflow.rollback_completed", &["proposal_id", "reason", "threshold"]),
    ];
    said(&roles.instance, of_instance).await;
    let of_central: &[(&str, &[&str])] = &[
        ("evolution.pgflow.proposal_received", &["proposal_id"]),
        ("evolution.pgflow.consensus_result_published", &["confidence", "proposal_id", "status", "instance_id"]),
        ("evolution.pgflow.metrics_received", &["proposal_id", "instance_id", "status"]),
        ("evolution.pgflow.pattern_received", &["success_rate"]),
        ("evolution.pgflow.rollback_trigger_published", &["proposal_id", "reason"]),
    ];
    said(&roles.central, of_central).await;
    let page = roles.central.page().await;
    eventually(LIMIT, async || {
        let metrics = get(&page, "/metrics");
        metrics.contains("evolution_pgflow_rollback_trigger_published_total 1")
            && metrics.contains("pgflow_alerts_standing")
    })
    .await;
    let metrics = get(&roles.instance.page().await, "/metrics");
    assert!(metrics.contains("evolution_pgflow_rollback_completed_total 1"));
    eventually(LIMIT, async || std::fs::read(roles.folder.path().join("a.txt")).unwrap() == b"good\n").await;
}

/// Fear: what goes wrong is said under another name than what goes well, without its reason, or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn roles_say_what_failed_and_was_rejected_and_learned() {
    let roles = Roles::start().await;
    let limit = |bytes: u32| {
        format!("UPDATE pgflow_queues SET payload_bytes_max = {bytes} WHERE name = 'proposals_for_consensus_queue'")
    };
    // The queue takes no proposal: the publish fails, and is tried again when it does.
    roles.client.batch_execute(&limit(1)).await.unwrap();
    roles.submit("one", &[proposal("a.txt", "broken\n")]);
    said(&roles.instance, &[("evolution.pgflow.publish_failed", &["kind", "proposal_id", "reason"])]).await;
    roles.client.batch_execute(&limit(1_048_576)).await.unwrap();
    let of_instance: &[(&str, &[&str])] = &[
        ("evolution.proposal.failed", &["proposal_id", "reason"]),
        ("evolution.execution.failed", &["proposal_id", "execution_time_ms", "reason"]),
        ("evolution.pgflow.execution_failed", &["proposal_id"]),
    ];
    said(&roles.instance, of_instance).await;
    assert_eq!(roles.instance.event("evolution.execution.failed").await["reason"], "error_spike");
    roles.submit("one", &[hopeless("a.txt")]);
    said(&roles.instance, &[("evolution.pgflow.consensus_rejected", &["proposal_id", "confidence"])]).await;

    for instance in ["one", "two", "three"] {
        roles.submit(instance, &[pattern()]);
    }
    let sources = "SELECT cardinality(source_instances) FROM evolution_patterns";
    eventually(LIMIT, async || query_text(&roles.client, sources).await == ["3"]).await;
    roles.run(&["learn"]);
    let of_central: &[(&str, &[&str])] = &[
        ("genesis.learning_loop.completed", &["patterns_processed", "rules_generated", "thresholds_updated"]),
        ("evolution.pgflow.profile_update_published", &["agent_type", "copies"]),
    ];
    said(&roles.central, of_central).await;
    assert_eq!(roles.central.event("genesis.learning_loop.completed").await["rules_generated"], 1);
    said(&roles.instance, &[("evolution.pgflow.profile_updated", &["agent_type", "source"])]).await;
}
