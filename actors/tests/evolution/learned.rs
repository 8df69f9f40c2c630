//! What instances show is learned, and reaches all of them.

use pgflow_actors::producers::central::order_learning;
use pgflow_actors::producers::instance::report_pattern_to_aggregator;
use pgflow_actors::store;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::stage::{Stage, brisk, calm, proposal};

/// What an instance reports as a pattern.
pub fn pattern() -> Value {
    json!({
        "type": "pattern_discovered", "pattern_type": "refactoring", "agent_type": "RefactoringAgent", "success_rate": 0.97,
        "code_pattern": { "name": "extract function", "description": "split a long body",
                          "after": "fn total(items: &[Item]) -> Money { items.iter().map(price).sum() }" },
    })
}

/// Fear: a broadcast reaches one instance (upstream's defect), or whoever comes late never learns.
#[tokio::test(flavor = "multi_thread")]
async fn a_learned_profile_reaches_every_instance_and_late_joiners() {
    let mut stage = Stage::new(3, calm).await;
    for instance in ["s1", "s2", "s3"] {
        stage.submit(instance, &[pattern()]).await;
    }
    stage.until("SELECT source_instances::text FROM evolution_patterns", "{s1,s2,s3}").await;
    assert_eq!(stage.ask("SELECT round(consensus_score::numeric, 2) FROM evolution_patterns").await, "0.97");
    order_learning(&stage.transport, &stage.client, Uuid::now_v7()).await.unwrap();
    let holders = "SELECT string_agg(instance_id, ' ' ORDER BY instance_id) FROM evolution_safety_profiles \
                   WHERE agent_type = 'RefactoringAgent' AND (profile ->> 'success_rate')::numeric = 0.97";
    stage.until(holders, "s1 s2 s3").await;
    assert_eq!(stage.ask("SELECT rule ->> 'action' FROM evolution_rules").await, "auto_refactor");
    let file = tempfile::NamedTempFile::new().unwrap();
    let asked = pattern()["code_pattern"]["after"].as_str().unwrap().to_owned();
    std::fs::write(file.path(), asked).unwrap();
    for (arguments, likeness) in [(vec![], Value::Null), (vec!["--like", file.path().to_str().unwrap()], json!("some"))]
    {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_evolution"));
        command.env("PGFLOW_DATABASE_URL", stage.db.url()).args(["patterns", "--json"]).args(arguments);
        let shown = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
        assert_eq!((&shown["instances"], shown["likeness"].is_null()), (&json!(3), likeness.is_null()));
    }
    let late = stage.add_instance().await;
    assert_eq!(late, "s4");
    assert_eq!(stage.ask(holders).await, "s1 s2 s3 s4");
    // Nothing new: nothing is sent again.
    let run = Uuid::now_v7();
    order_learning(&stage.transport, &stage.client, run).await.unwrap();
    let updated = format!("SELECT thresholds_updated FROM evolution_learning_runs WHERE run_id = '{run}'");
    stage.until(&updated, "0").await;
    stage.end().await;
}

/// Fear: three instances that confirmed a change do not make it trusted; or trust does not spare the vote.
#[tokio::test(flavor = "multi_thread")]
async fn what_three_instances_confirmed_is_approved_without_a_vote() {
    let stage = Stage::new(3, |role| {
        let mut settings = calm(role);
        settings.consensus.auto_approve_from = 0.90;
        settings
    })
    .await;
    for instance in ["s1", "s2", "s3"] {
        stage.submit(instance, &[pattern()]).await;
    }
    stage.until("SELECT source_instances::text FROM evolution_patterns", "{s1,s2,s3}").await;
    order_learning(&stage.transport, &stage.client, Uuid::now_v7()).await.unwrap();
    stage.until("SELECT trusted FROM evolution_patterns", "t").await;
    let code = pattern()["code_pattern"]["after"].as_str().unwrap().to_owned();
    let id = stage.submit("s1", &[proposal("total.txt", &code)]).await[0];
    stage.until_status(id, "applied").await;
    assert_eq!(stage.ask("SELECT status FROM evolution_consensus").await, "auto_approved");
    assert_eq!(stage.ask("SELECT count(*) FROM pgflow_messages WHERE kind = 'voting_request'").await, "0");
    // An agent type whose changes need consensus is asked about all the same.
    let mut line = proposal("other.txt", &code);
    line["agent_type"] = "RefactoringAgent".into();
    let asked = stage.submit("s1", &[line]).await[0];
    stage.until_status(asked, "applied").await;
    let status = format!("SELECT status FROM evolution_consensus WHERE proposal_id = '{asked}'");
    assert_eq!(stage.ask(&status).await, "approved");
    stage.end().await;
}

/// Fear: a change that a person took back after it had succeeded goes on to approve what is like it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_after_it_succeeded_is_no_longer_known_to_be_safe() {
    let stage = Stage::new(1, brisk).await;
    let id = stage.submit("s1", &[proposal("b.txt", "good\n")]).await[0];
    stage.until("SELECT status FROM evolution_approved_changes", "succeeded").await;
    stage.until("SELECT kept_at IS NOT NULL FROM evolution_proposals", "t").await;
    assert_eq!(store::known_safe(&stage.client).await.unwrap(), [store::Known::Change(id)]);
    stage.roll_back(id).await;
    stage.until("SELECT status FROM evolution_approved_changes", "rolled_back").await;
    assert_eq!(store::known_safe(&stage.client).await.unwrap(), []);
    stage.end().await;
}

/// Fear: an instance whose clock is wrong has its patterns learned for ever, or never.
#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_is_as_old_as_its_message() {
    let stage = Stage::new(1, calm).await;
    let mut line = pattern();
    line["timestamp"] = "2020-01-01T00:00:00Z".into();
    stage.submit("s1", &[line]).await;
    stage.until("SELECT updated_at > clock_timestamp() - interval '1 hour' FROM evolution_patterns", "t").await;
    stage.end().await;
}

/// Fear: a change whose description is blank is never kept, and its target never free: what it showed would be refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_with_a_blank_description_is_kept() {
    let stage = Stage::new(1, brisk).await;
    let mut line = proposal("b.txt", "good\n");
    line["code_change"]["description"] = "".into();
    line["metadata"] = json!({ "description": " \n" });
    stage.submit("s1", &[line]).await;
    stage.until("SELECT kept_at IS NOT NULL FROM evolution_proposals", "t").await;
    stage.until("SELECT code_pattern ->> 'description' FROM evolution_patterns", "bug_fix of b").await;
    stage.end().await;
}

/// Fear: a pattern that is refused takes the transaction that keeps its change with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_pattern_is_no_error() {
    let stage = Stage::new(1, calm).await;
    let id = stage.submit("s1", &[proposal("b.txt", "good\n")]).await[0];
    stage.until_status(id, "applied").await;
    let kept = store::find_proposal(&stage.client, id).await.unwrap().unwrap();
    let blank = pgflow_actors::json::Object::new();
    let sent = report_pattern_to_aggregator(&stage.transport, &stage.client, &kept, blank, 0.9).await.unwrap();
    assert!(sent.is_none());
    stage.end().await;
}
