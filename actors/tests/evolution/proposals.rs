//! What becomes of a proposal when nothing goes wrong with the machinery.

use pgflow::admin::Health;

use crate::alarms::{until_alert, until_calm};
use crate::stage::{LIMIT, ORIGINAL, Stage, brisk, calm, hopeless, proposal};
use crate::support::eventually;

/// Fear: the loop does not close; a change is applied but never judged, kept, or learned from.
#[tokio::test(flavor = "multi_thread")]
async fn a_good_one_is_applied_watched_and_kept() {
    let stage = Stage::new(1, brisk).await;
    let id = stage.submit("s1", &[proposal("a.txt", "better\n")]).await[0];
    stage.until_status(id, "applied").await;
    assert_eq!(stage.bytes("s1", "a.txt").unwrap(), b"better\n");
    stage.until("SELECT status FROM evolution_approved_changes", "succeeded").await;
    stage.until("SELECT kept_at IS NOT NULL FROM evolution_proposals", "t").await;
    stage.until("SELECT source_instances::text FROM evolution_patterns", "{s1}").await;
    assert_eq!(stage.ask("SELECT rationale FROM evolution_consensus").await, "approved 1/1, mean 0.93");
    assert!(stage.ask("SELECT count(*) FROM evolution_change_metrics").await.parse::<u32>().unwrap() >= 2);
    stage.end().await;
}

/// Fear: a veto is counted as one vote among others, or a rejected change is written all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_vetoed_one_fails_and_writes_nothing() {
    let stage = Stage::new(3, calm).await;
    let id = stage.submit("s2", &[hopeless("a.txt")]).await[0];
    stage.until_status(id, "consensus_failed").await;
    assert_eq!(stage.bytes("s2", "a.txt").unwrap(), ORIGINAL);
    assert!(stage.ask("SELECT consensus_rationale FROM evolution_proposals").await.starts_with("veto by s"));
    assert_eq!(stage.ask("SELECT status FROM evolution_approved_changes").await, "expired");
    assert_eq!(stage.ask("SELECT count(*) FROM pgflow_messages WHERE kind = 'execute_proposal'").await, "0");
    stage.end().await;
}

/// Fear: Guardian sees the breach and nobody takes the change back; or twice; or not byte for byte.
#[tokio::test(flavor = "multi_thread")]
async fn a_breach_is_rolled_back_once_byte_for_byte() {
    let stage = Stage::new(3, brisk).await;
    let id = stage.submit("s1", &[proposal("a.txt", "bad\n")]).await[0];
    stage.until_status(id, "rolled_back").await;
    assert_eq!(stage.bytes("s1", "a.txt").unwrap(), ORIGINAL);
    assert_eq!(stage.ask("SELECT rollback_reason FROM evolution_proposals").await, "error_rate_breach");
    stage.until("SELECT status FROM evolution_approved_changes", "rolled_back").await;
    stage.until("SELECT completed_at IS NOT NULL FROM evolution_rollbacks", "t").await;
    let triggers = "SELECT count(*) || ' at ' || min(priority) || ' to ' || min(target) FROM pgflow_messages WHERE kind = 'rollback_trigger'";
    assert_eq!(stage.ask(triggers).await, "1 at 10 to s1");
    let judged = "SELECT breaches -> 0 ->> 'actual' FROM evolution_change_metrics ORDER BY id LIMIT 1";
    assert_eq!(stage.ask(judged).await, "0.15");
    assert_eq!(
        stage.bytes("s1", ".steps").unwrap(),
        b"restart_agent agent_process\n",
        "the plan's step that is not a file's"
    );
    stage.end().await;
}

/// Fear: an instance's own gate lets a bad run through to Guardian, or leaves the file changed.
#[tokio::test(flavor = "multi_thread")]
async fn the_instances_own_gate_reverts_at_once() {
    let stage = Stage::new(1, calm).await;
    let id = stage.submit("s1", &[proposal("a.txt", "broken\n")]).await[0];
    stage.until_status(id, "failed").await;
    assert_eq!(stage.bytes("s1", "a.txt").unwrap(), ORIGINAL);
    assert_eq!(stage.ask("SELECT execution_error FROM evolution_proposals").await, "error_spike");
    stage.until("SELECT status FROM evolution_approved_changes", "failed").await;
    stage.end().await;
}

/// Fear: a vote that nobody completes waits for ever.
#[tokio::test(flavor = "multi_thread")]
async fn too_few_votes_expire_at_the_deadline() {
    let stage = Stage::new(2, |role| {
        let mut settings = calm(role);
        settings.consensus.min_votes = 3;
        settings.consensus.window = time::Duration::milliseconds(700);
        settings
    })
    .await;
    let id = stage.submit("s1", &[proposal("a.txt", "better\n")]).await[0];
    stage.until_status(id, "consensus_failed").await;
    assert_eq!(stage.ask("SELECT status FROM evolution_consensus").await, "expired");
    assert_eq!(stage.ask("SELECT consensus_rationale FROM evolution_proposals").await, "timeout: 2 of 3 votes");
    stage.end().await;
}

/// Fear: messages for one instance are taken by another, which knows nothing of the proposal (upstream's defect).
#[tokio::test(flavor = "multi_thread")]
async fn each_instance_gets_its_own_and_all_vote() {
    let stage = Stage::new(3, calm).await;
    let mut ids = Vec::new();
    for instance in ["s1", "s2", "s3"] {
        ids.extend(stage.submit(instance, &[proposal("a.txt", &format!("by {instance}\n"))]).await);
    }
    for id in ids {
        stage.until_status(id, "applied").await;
    }
    for instance in ["s1", "s2", "s3"] {
        assert_eq!(stage.bytes(instance, "a.txt").unwrap(), format!("by {instance}\n").as_bytes());
    }
    stage.until("SELECT count(*) FROM pgflow_messages WHERE kind = 'consensus_vote' AND status = 'done'", "9").await;
    stage.end().await;
}

/// Fear: silence is taken for success, or for a breach.
#[tokio::test(flavor = "multi_thread")]
async fn silence_raises_an_alert_and_rolls_nothing_back() {
    let mut stage = Stage::new(1, |role| {
        let mut settings = brisk(role);
        settings.windows.observation = Some(std::time::Duration::from_secs(3_600));
        settings
    })
    .await;
    let id = stage.submit("s1", &[proposal("a.txt", "better\n")]).await[0];
    stage.until_status(id, "applied").await;
    stage.until("SELECT count(*) > 0 FROM evolution_change_metrics", "t").await;
    stage.kill_instance("s1");
    until_alert(&stage, Health::Warn, &["metrics_stale", "(evolution, since 2", "no report from s1 for"]).await;
    assert_eq!(stage.ask("SELECT status FROM evolution_approved_changes").await, "active");
    assert_eq!(stage.ask("SELECT count(*) FROM evolution_rollbacks").await, "0");
    stage.start_instance("s1").await;
    let reports = stage.ask("SELECT count(*) FROM evolution_change_metrics").await;
    eventually(LIMIT, async || stage.ask("SELECT count(*) FROM evolution_change_metrics").await != reports).await;
    until_calm(&stage).await;
    stage.end().await;
}
