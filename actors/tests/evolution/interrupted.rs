//! Processes that die, messages that come again, rollbacks that overtake.

use pgflow::admin::Health;
use pgflow_actors::manual;
use pgflow_actors::messages::Limit;
use pgflow_actors::producers::central::order_rollback;
use pgflow_actors::store::Rollback;
use pgflow_actors::strategy::Strategy;
use uuid::Uuid;

use crate::alarms::{until_alert, until_calm};
use crate::stage::{LIMIT, ORIGINAL, Stage, brisk, calm, proposal};
use crate::support::eventually;

/// Fear: an execution that a crash cut short is believed to be done, or its half-written file taken for the original.
#[tokio::test(flavor = "multi_thread")]
async fn an_execution_cut_short_begins_anew_from_the_original() {
    let mut stage = Stage::new(1, calm).await;
    let id = stage.submit("s1", &[proposal("a.txt", "slow\n")]).await[0];
    // The check after the change waits; the change is written.
    eventually(LIMIT, async || stage.bytes("s1", ".checking").is_some()).await;
    assert_eq!(stage.status(id).await, "executing");
    assert_eq!(stage.bytes("s1", "a.txt").unwrap(), b"slow\n");
    stage.kill_instance("s1");
    std::fs::remove_file(stage.folder("s1").join(".checking")).unwrap();
    stage.start_instance("s1").await;
    eventually(LIMIT, async || stage.bytes("s1", ".checking").is_some()).await;
    assert_eq!(stage.status(id).await, "executing");
    assert_eq!(stage.ask("SELECT count(*) FROM pgflow_attempts WHERE event = 'process_died'").await, "1");
    // Each run measured the original first: neither measured what the other had written.
    assert_eq!(stage.bytes("s1", ".runs").unwrap(), b"0\n0\n");
    stage.roll_back(id).await;
    stage.until_status(id, "rolled_back").await;
    assert_eq!(stage.bytes("s1", "a.txt").unwrap(), ORIGINAL);
    stage.end().await;
}

/// Fear: a rollback waits behind the execution it is about, or the execution writes after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_overtakes_a_running_check() {
    let stage = Stage::new(1, calm).await;
    let id = stage.submit("s1", &[proposal("a.txt", "stuck\n")]).await[0];
    eventually(LIMIT, async || stage.bytes("s1", ".checking").is_some()).await;
    stage.roll_back(id).await;
    stage.until_status(id, "rolled_back").await;
    assert_eq!(stage.bytes("s1", "a.txt").unwrap(), ORIGINAL);
    stage.until("SELECT status FROM pgflow_messages WHERE kind = 'execute_proposal'", "done").await;
    assert_eq!(stage.bytes("s1", "a.txt").unwrap(), ORIGINAL);
    assert_eq!(stage.status(id).await, "rolled_back");
    stage.until("SELECT status FROM evolution_approved_changes", "rolled_back").await;
    stage.end().await;
}

/// Fear: a result that arrives twice executes twice (upstream's defect).
#[tokio::test(flavor = "multi_thread")]
async fn repeats_of_any_message_change_nothing() {
    let stage = Stage::new(1, calm).await;
    let id = stage.submit("s1", &[proposal("a.txt", "better\n")]).await[0];
    stage.until_status(id, "applied").await;
    stage.until("SELECT count(*) FROM pgflow_messages WHERE status NOT IN ('done', 'scheduled')", "0").await;
    let counts = "SELECT (SELECT count(*) FROM evolution_consensus_votes) || ' ' || (SELECT count(*) FROM pgflow_messages \
                  WHERE kind IN ('execute_proposal', 'consensus_result', 'voting_request'))";
    let before = stage.ask(counts).await;
    let again = "SELECT count(pgflow_publish(queue_name, payload, priority => priority, target => target, ordering_key => ordering_key)) \
                 FROM pgflow_messages WHERE status = 'done' AND kind IN ('proposal_for_consensus', 'consensus_vote', 'consensus_result', 'execute_proposal')";
    assert_eq!(stage.ask(again).await, "4");
    stage.until("SELECT count(*) FROM pgflow_messages WHERE source = 'sql' AND status = 'done'", "4").await;
    let after = stage.ask(counts).await;
    assert_eq!((before.as_str(), after.as_str()), ("1 3", "1 5"), "only the two that were published here");
    assert_eq!(stage.status(id).await, "applied");
    assert_eq!(stage.ask("SELECT count(*) FROM evolution_change_metrics").await, "1");
    stage.end().await;
}

/// Fear: central's memory holds something that its death loses: a vote, a deadline, a breach.
#[tokio::test(flavor = "multi_thread")]
async fn central_may_die_before_during_and_after_a_vote() {
    let mut stage = Stage::new(3, |role| {
        let mut settings = brisk(role);
        settings.consensus.min_votes = 3;
        settings
    })
    .await;
    stage.kill_central();
    let id = stage.submit("s1", &[proposal("a.txt", "bad\n")]).await[0];
    stage.until_status(id, "sent_for_consensus").await;
    stage.start_central().await;
    stage.until("SELECT count(*) FROM evolution_consensus", "1").await;
    stage.kill_central();
    stage.until("SELECT count(*) FROM pgflow_messages WHERE kind = 'consensus_vote'", "3").await;
    stage.start_central().await;
    stage.until("SELECT count(*) > 0 FROM pgflow_messages WHERE kind = 'consensus_result'", "t").await;
    stage.kill_central();
    stage.until("SELECT count(*) > 0 FROM pgflow_messages WHERE kind = 'execution_metrics'", "t").await;
    stage.start_central().await;
    stage.until_status(id, "rolled_back").await;
    assert_eq!(stage.bytes("s1", "a.txt").unwrap(), ORIGINAL);
    assert_eq!(stage.ask("SELECT rationale FROM evolution_consensus").await, "approved 3/3, mean 0.93");
    stage.end().await;
}

/// Fear: votes that came in time while central was away are shut out by a deadline that passed meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn votes_in_time_count_though_central_was_away_at_the_deadline() {
    let mut stage = Stage::new(3, |role| {
        let mut settings = calm(role);
        settings.consensus.min_votes = 3;
        settings.consensus.window = time::Duration::seconds(2);
        settings
    })
    .await;
    // With central gone at once, the votes wait for it.
    let id = stage.submit("s1", &[proposal("a.txt", "better\n")]).await[0];
    stage.until("SELECT count(*) FROM evolution_consensus", "1").await;
    stage.kill_central();
    stage.until("SELECT count(*) FROM pgflow_messages WHERE kind = 'consensus_vote'", "3").await;
    stage.until("SELECT clock_timestamp() > deadline FROM evolution_consensus", "t").await;
    stage.start_central().await;
    stage.until_status(id, "applied").await;
    stage.end().await;
}

/// Fear: a trigger for a change that is gone already fails again and again, or damages what is there now.
#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_for_a_rejected_change_is_not_applicable() {
    let stage = Stage::new(1, calm).await;
    let id = stage.submit("s1", &[crate::stage::hopeless("a.txt")]).await[0];
    stage.until_status(id, "consensus_failed").await;
    let order = Rollback {
        proposal_id: id,
        rollback_id: Uuid::now_v7(),
        instance_id: "s1".to_owned(),
        reason: "error_rate_breach".to_owned(),
        limit: Limit::default(),
        breach_count: 1,
        strategy: Strategy::for_change_type("bug_fix"),
    };
    assert!(order_rollback(&stage.transport, &stage.client, &order).await.unwrap());
    stage.until("SELECT status FROM pgflow_messages WHERE kind = 'rollback_trigger'", "done").await;
    assert_eq!(stage.status(id).await, "consensus_failed");
    assert_eq!(stage.bytes("s1", "a.txt").unwrap(), ORIGINAL);
    stage.end().await;
}

/// Fear: a person's rollback of a change that was never applied is accepted, and waits for ever to be confirmed.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_applied_cannot_be_rolled_back_by_hand() {
    let stage = Stage::new(1, calm).await;
    let id = stage.submit("s1", &[crate::stage::hopeless("a.txt")]).await[0];
    stage.until_status(id, "consensus_failed").await;
    let mut client = stage.db.client().await;
    let refused = manual::roll_back(&stage.transport, &mut client, id).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        format!("{id} is consensus_failed: only a change that is executing or applied can be rolled back")
    );
    let unknown = manual::roll_back(&stage.transport, &mut client, Uuid::nil()).await.unwrap_err().to_string();
    assert!(unknown.starts_with("central knows no change"), "{unknown}");
    assert_eq!(stage.ask("SELECT count(*) FROM evolution_rollbacks").await, "0");
    let done = stage.submit("s1", &[proposal("b.txt", "better\n")]).await[0];
    stage.until_status(done, "applied").await;
    stage.roll_back(done).await;
    stage.until_status(done, "rolled_back").await;
    let again = manual::roll_back(&stage.transport, &mut client, done).await.unwrap_err().to_string();
    assert!(again.contains("rolled back already"), "{again}");
    stage.end().await;
}

/// Fear: a rollback that a crash cut short is done by half, or reported twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_cut_short_is_finished_by_the_next_start() {
    let mut stage = Stage::new(1, calm).await;
    let id = stage.submit("s1", &[proposal("a.txt", "better\n")]).await[0];
    stage.until_status(id, "applied").await;
    let hold = stage.folder("s1").join(".hold");
    std::fs::write(&hold, "").unwrap();
    stage.roll_back(id).await;
    // The file is back, the check after it waits, the state is still the old one.
    eventually(LIMIT, async || stage.bytes("s1", ".checking").is_some()).await;
    assert_eq!(stage.bytes("s1", "a.txt").unwrap(), ORIGINAL);
    assert_eq!(stage.status(id).await, "applied");
    stage.kill_instance("s1");
    std::fs::remove_file(&hold).unwrap();
    stage.start_instance("s1").await;
    stage.until_status(id, "rolled_back").await;
    assert_eq!(stage.bytes("s1", "a.txt").unwrap(), ORIGINAL);
    stage.until("SELECT status FROM evolution_approved_changes", "rolled_back").await;
    assert_eq!(stage.ask("SELECT count(*) FROM evolution_change_metrics WHERE status = 'rolled_back'").await, "1");
    stage.end().await;
}

/// Fear: a change that cannot be taken back is called taken back, or nobody is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_cannot_be_verified_is_the_worst_alert() {
    let stage = Stage::new(1, calm).await;
    let id = stage.submit("s1", &[proposal("a.txt", "better\n")]).await[0];
    stage.until_status(id, "applied").await;
    std::fs::write(stage.folder("s1").join(".unusable"), "").unwrap();
    stage.roll_back(id).await;
    // The instance says so first, and central again when it gives up.
    let words = ["rollback_failed", "(evolution, since 2", "on s1", "the check after it"];
    until_alert(&stage, Health::Fail, &words).await;
    stage.until("SELECT split_part(error, ':', 1) || ' ' || attempt FROM pgflow_dlq", "rollback_failed 4").await;
    assert_eq!(stage.status(id).await, "applied");
    assert_eq!(stage.bytes("s1", "a.txt").unwrap(), ORIGINAL);
    // Central gives it up, and its plan is trusted less: 0 of 1, in place of the documented 0.80 of none.
    let learned =
        "SELECT (strategy ->> 'success_rate') || ' of ' || (strategy ->> 'learned_from') FROM evolution_strategies";
    stage.until(learned, "0.0 of 1").await;
    // A person mends the workspace and tries again: done, learned from, and the alert is over.
    std::fs::remove_file(stage.folder("s1").join(".unusable")).unwrap();
    let dead: i64 = stage.ask("SELECT id FROM pgflow_dlq").await.parse().unwrap();
    let admin = pgflow::Admin::connect(&pgflow::Config::new(stage.db.url())).await.unwrap();
    admin.retry_dlq_message(dead).await.unwrap();
    stage.until_status(id, "rolled_back").await;
    stage.until(learned, "0.5 of 2").await;
    until_calm(&stage).await;
    stage.end().await;
}

/// Fear: a program that an applied change breaks later on is taken for silence.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_fails_later_rolls_back() {
    let stage = Stage::new(1, |role| {
        let mut settings = brisk(role);
        settings.windows.observation = Some(std::time::Duration::from_secs(3_600));
        settings.max_retries = 20;
        settings
    })
    .await;
    let id = stage.submit("s1", &[proposal("a.txt", "better\n")]).await[0];
    stage.until_status(id, "applied").await;
    let unusable = stage.folder("s1").join(".unusable");
    std::fs::write(&unusable, "").unwrap();
    stage.until("SELECT reason FROM evolution_rollbacks", "success_rate_breach").await;
    std::fs::remove_file(&unusable).unwrap();
    stage.until_status(id, "rolled_back").await;
    assert_eq!(stage.bytes("s1", "a.txt").unwrap(), ORIGINAL);
    stage.end().await;
}

/// Fear: of an execution that takes its process down at every try, the change stays in place, its target held for ever, and nobody is told.
#[tokio::test(flavor = "multi_thread")]
async fn an_execution_whose_order_is_dead_is_taken_back_and_fails() {
    let mut stage = Stage::new(2, |role| {
        let mut settings = calm(role);
        settings.max_retries = 0;
        settings
    })
    .await;
    let id = stage.submit("s1", &[proposal("a.txt", "slow\n")]).await[0];
    eventually(LIMIT, async || stage.bytes("s1", ".checking").is_some()).await;
    stage.kill_instance("s1");
    stage.until("SELECT error_kind FROM pgflow_dlq", "process_died").await;
    assert_eq!(stage.bytes("s1", "a.txt").unwrap(), b"slow\n");
    let next = stage.submit("s1", &[proposal("a.txt", "better\n")]).await[0];
    stage.start_instance("s1").await;
    stage.until_status(id, "failed").await;
    let why = stage.ask("SELECT execution_error FROM evolution_proposals ORDER BY created_at").await;
    assert!(why.starts_with("order_died: "), "{why}");
    stage.until("SELECT status FROM evolution_approved_changes ORDER BY registered_at", "failed").await;
    // Its target is free, and the next change began from the original.
    stage.until_status(next, "applied").await;
    stage.roll_back(next).await;
    stage.until_status(next, "rolled_back").await;
    assert_eq!(stage.bytes("s1", "a.txt").unwrap(), ORIGINAL);
    let admin = pgflow::Admin::connect(&pgflow::Config::new(stage.db.url())).await.unwrap();
    assert_eq!(admin.purge_dlq(None).await.unwrap(), 1);
    stage.end().await;
}
