//! Alerts across processes: raised and cleared by roles, seen by pgflow's doctor and ours, in every way of asking.

use std::process::Command;

use pgflow::admin::{AlertLevel, Finding, Health};
use pgflow::{Admin, Config};
use pgflow_actors::messages::{CheckHealth, Envelope, ExecutionMetrics};
use pgflow_actors::metrics::Metrics;
use pgflow_actors::store;
use pgflow_actors::wire::Wire;
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::stage::{LIMIT, Stage, calm, proposal};
use crate::support::{TestDb, eventually, own_cluster, query_text};

/// What the command says: its exit code, and what it found.
async fn doctor(url: &str) -> (i32, Vec<Finding>) {
    let url = url.to_owned();
    let run = move || {
        Command::new(env!("CARGO_BIN_EXE_evolution"))
            .env("PGFLOW_DATABASE_URL", url)
            .args(["doctor", "--json"])
            .output()
    };
    let out = tokio::task::spawn_blocking(run).await.unwrap().unwrap();
    (out.status.code().unwrap(), serde_json::from_slice(&out.stdout).unwrap())
}

/// The alerts that pgflow's doctor finds, and those that `evolution doctor` does: level and words.
async fn alerts(stage: &Stage) -> [Vec<(Health, String)>; 2] {
    let url = stage.db.url();
    let pgflows = Admin::connect(&Config::new(&url)).await.unwrap().doctor().await.unwrap();
    [pgflows, doctor(&url).await.1]
        .map(|found| found.into_iter().filter(|f| f.check == "alerts").map(|f| (f.health, f.detail)).collect())
}

/// Waits until the one alert that stands is this one, in words that hold these; both doctors say so.
pub async fn until_alert(stage: &Stage, health: Health, words: &[&str]) {
    let is_it = |found: &Vec<(Health, String)>| {
        let [(level, detail)] = found.as_slice() else { return false };
        *level == health && words.iter().all(|word| detail.contains(word))
    };
    eventually(LIMIT, async || alerts(stage).await.iter().all(is_it)).await;
}

/// Waits until no alert stands; both doctors say so.
pub async fn until_calm(stage: &Stage) {
    let calm = [(Health::Ok, "none".to_owned())];
    eventually(LIMIT, async || alerts(stage).await.iter().all(|found| *found == calm)).await;
}

/// Reports on an applied change of `s1`, and waits until Guardian has judged it; the metrics `shadowed` are held against another.
pub async fn report(stage: &Stage, id: Uuid, after: Value, shadowed: &[&str]) {
    let report = ExecutionMetrics {
        envelope: Envelope::new(),
        proposal_id: id,
        instance_id: "s1".to_owned(),
        agent_type: None,
        metrics_before: Metrics::default(),
        metrics_after: serde_json::from_value(after).unwrap(),
        status: Some("applied".to_owned()),
        shadowed: shadowed.iter().map(|metric| ((*metric).to_owned(), Uuid::nil())).collect(),
        timestamp: OffsetDateTime::now_utc(),
    };
    stage.publisher.publish(&Wire::of(report)).await.unwrap();
    let waiting = "SELECT count(*) FROM pgflow_messages WHERE kind = 'execution_metrics' AND status <> 'done'";
    stage.until(waiting, "0").await;
}

/// Fear: a change that passes its limits and may not be rolled back goes unseen, is told at every report, or for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_breach_that_rolls_nothing_back_is_an_alert_until_a_clean_report() {
    let stage = Stage::new(1, calm).await;
    let mut line = proposal("a.txt", "better\n");
    line["agent_type"] = "DocumentationPipeline".into();
    let id = stage.submit("s1", &[line]).await[0];
    stage.until_status(id, "applied").await;
    let report = async |error_rate: f64| report(&stage, id, json!({ "error_rate": error_rate }), &[]).await;
    report(0.5).await;
    let id = id.to_string();
    let words = [id.as_str(), "threshold_breach", "(evolution, since 2", "on s1: error_rate is 0.5, its limit 0.05"];
    until_alert(&stage, Health::Warn, &words).await;
    let raised = stage.ask("SELECT raised_at FROM pgflow_alerts").await;
    report(0.6).await;
    assert_eq!(stage.ask("SELECT raised_at FROM pgflow_alerts").await, raised);
    report(0.0).await;
    until_calm(&stage).await;
    assert_eq!(stage.ask("SELECT count(*) FROM evolution_rollbacks").await, "0");
    stage.end().await;
}

/// Fear: somebody is woken by a warning, or sleeps through an urgent alert.
#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_fails_when_an_alert_is_urgent() {
    let server = own_cluster(true).await;
    let url = server.url();
    store::init(&url, "public").await.unwrap();
    let admin = Admin::connect(&Config::new(&url)).await.unwrap();
    assert_eq!(doctor(&url).await.0, 0, "a sound database");
    admin.raise_alert("evolution", "metrics_stale", "a change", AlertLevel::Warn, "silent").await.unwrap();
    assert_eq!(doctor(&url).await.0, 0);
    admin.raise_alert("evolution", "rollback_failed", "a change", AlertLevel::Page, "stuck").await.unwrap();
    assert_eq!(doctor(&url).await.0, 1);
    admin.clear_alert("evolution", "rollback_failed", "a change").await.unwrap();
    assert_eq!(doctor(&url).await.0, 0);
}

/// Fear: the limit that a role was given for the tables' size is heard by nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_roles_limit_of_bytes_is_the_leaders() {
    let stage = Stage::new(0, |role| {
        let mut settings = calm(role);
        settings.bytes_max = Some(1);
        settings
    })
    .await;
    until_alert(&stage, Health::Fail, &["size", "(pgflow, since 2"]).await;
    stage.end().await;
}

/// Fear: an upgrade forgets what was open, or trips over the old tables.
#[tokio::test(flavor = "multi_thread")]
async fn open_alerts_of_the_old_table_move() {
    let db = TestDb::new().await;
    let client = db.client().await;
    for migration in [
        include_str!("../../sql/0001_evolution.sql"),
        include_str!("../../sql/0002_neighbours.sql"),
        include_str!("../../sql/0003_alerts.sql"),
        include_str!("../../sql/0004_learning.sql"),
        include_str!("../../sql/0005_messages.sql"),
        "CREATE TABLE evolution_migrations (number int PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())",
        "INSERT INTO evolution_migrations SELECT generate_series(1, 5)",
        r#"INSERT INTO evolution_alerts (kind, subject, instance_id, severity, detail, cleared_at) VALUES
           ('rollback_failed', 'one', 's1', 'page', '{"error": "stuck"}', NULL), ('rollback_failed', 'two', 's1', 'page', '{}', clock_timestamp()),
           ('dead_letters', 'all', NULL, 'warn', '"11 dead letters"', NULL)"#,
    ] {
        client.batch_execute(migration).await.unwrap();
    }
    assert_eq!(store::init(&db.url(), "public").await.unwrap(), ["evolution 0006", "evolution 0007", "evolution 0008"]);
    let moved =
        query_text(&client, "SELECT concat_ws(' ', source, alert, subject, level, detail) FROM pgflow_alerts").await;
    assert_eq!(moved, [r#"evolution rollback_failed one page on s1: {"error": "stuck"}"#]);
}

/// Fear: a look that fails, or a clock that is set back, is the last.
#[tokio::test(flavor = "multi_thread")]
async fn looks_go_on_whatever_one_of_them_finds() {
    let stage = Stage::new(0, calm).await;
    stage.client.batch_execute("ALTER TABLE evolution_rollbacks RENAME TO hidden").await.unwrap();
    let done = "SELECT count(*) FROM pgflow_messages WHERE kind = 'check_health' AND status = 'done'";
    let before: u32 = stage.ask(done).await.parse().unwrap();
    stage.until(&format!("SELECT ({done}) > {}", before + 3), "t").await;
    stage.client.batch_execute("ALTER TABLE hidden RENAME TO evolution_rollbacks").await.unwrap();
    // Ordered by a clock that was a day ahead: the next is named by a later period, not by one that was before.
    let due = OffsetDateTime::now_utc() + time::Duration::DAY;
    let ahead = CheckHealth { envelope: Envelope::new(), due: Some(due) };
    stage.publisher.publish(&Wire::of(ahead)).await.unwrap();
    let next = format!(
        "SELECT count(*) > 2 FROM pgflow_messages WHERE kind = 'check_health' AND (payload ->> 'due')::timestamptz > '{due}'"
    );
    stage.until(&next, "t").await;
    stage.end().await;
}

/// Fear: central restarts leave several chains of looks, or none.
#[tokio::test(flavor = "multi_thread")]
async fn looks_go_on_in_one_chain_over_restarts() {
    let mut stage = Stage::new(0, |role| {
        let mut settings = calm(role);
        settings.windows.health = std::time::Duration::from_secs(1);
        settings
    })
    .await;
    for _ in 0..3 {
        stage.kill_central();
        stage.start_central().await;
    }
    stage.until("SELECT count(*) >= 4 FROM pgflow_messages WHERE kind = 'check_health' AND status = 'done'", "t").await;
    let waiting = "SELECT count(*) <= 1 FROM pgflow_messages WHERE kind = 'check_health' AND status NOT IN ('done')";
    stage.until(waiting, "t").await;
    stage.end().await;
}
