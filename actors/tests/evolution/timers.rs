//! What runs by the clock: the daily loop, the batch of measurements, the gate that outcomes move.

use pgflow::admin::Health;
use pgflow_actors::messages::{Envelope, RunLearning};
use pgflow_actors::store;
use pgflow_actors::wire::Wire;
use uuid::Uuid;

use crate::alarms::{until_alert, until_calm};
use crate::stage::{Stage, brisk, calm, proposal};

/// Fear: the daily run is forgotten by a restart, or ordered by each.
#[tokio::test(flavor = "multi_thread")]
async fn the_daily_run_is_ordered_once_and_orders_the_next() {
    let mut stage = Stage::new(0, calm).await;
    let waiting = "SELECT count(*) || ' ' || bool_and(run_at = date_trunc('day', run_at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' \
                   OR abs(extract(epoch FROM run_at - (date_trunc('day', clock_timestamp() AT TIME ZONE 'UTC') + interval '1 day') AT TIME ZONE 'UTC')) < 2) \
                   FROM pgflow_messages WHERE kind = 'run_learning' AND status = 'scheduled'";
    stage.until(waiting, "1 true").await;
    for _ in 0..2 {
        stage.kill_central();
        stage.start_central().await;
    }
    assert_eq!(stage.ask(waiting).await, "1 true");
    // A midnight that passed while central was away: the order is there when it comes back.
    stage.kill_central();
    let passed = RunLearning { envelope: Envelope::new(), run_id: Uuid::now_v7() };
    stage.publisher.publish(&Wire::of(passed)).await.unwrap();
    stage.start_central().await;
    stage.until("SELECT count(*) FROM evolution_learning_runs", "1").await;
    stage.until(waiting, "1 true").await;
    // However the chain broke, it goes on.
    let broken =
        "SELECT count(pgflow_cancel(id)) FROM pgflow_messages WHERE kind = 'run_learning' AND status = 'scheduled'";
    assert_eq!(stage.ask(broken).await, "1");
    stage.client.execute("DELETE FROM pgflow_dedup WHERE dedup_key LIKE 'daily-%'", &[]).await.unwrap();
    stage.until(waiting, "1 true").await;
    stage.end().await;
}

/// Fear: two first outcomes at once count as one.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_outcomes_are_counted_one_by_one() {
    let stage = Stage::new(0, calm).await;
    let mut first = stage.db.client().await;
    let tx = first.transaction().await.unwrap();
    store::record_outcome(&tx, true).await.unwrap();
    let second = stage.db.client().await;
    let counted = tokio::spawn(async move { store::record_outcome(&second, true).await.unwrap() });
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    stage.until(waiting, "1").await;
    tx.commit().await.unwrap();
    counted.await.unwrap();
    assert_eq!(stage.ask("SELECT gate ->> 'outcomes' FROM evolution_gate").await, "2");
    stage.end().await;
}

/// Fear: of a change that was approved and never reported, nobody hears.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_never_reports_is_an_alert() {
    let stage = Stage::new(1, brisk).await;
    let id = stage.submit("s1", &[proposal("a.txt", "stuck\n")]).await[0];
    let words = ["metrics_stale", &id.to_string(), "no report from s1 since it was approved"];
    until_alert(&stage, Health::Warn, &words).await;
    stage.roll_back(id).await;
    stage.until_status(id, "rolled_back").await;
    until_calm(&stage).await;
    stage.end().await;
}

/// Fear: the minute's batch is lost, sent twice, or sent though nothing was measured.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_measured_reaches_central_as_a_batch() {
    let stage = Stage::new(1, |role| {
        let mut settings = calm(role);
        settings.windows.batch = std::time::Duration::from_millis(300);
        settings
    })
    .await;
    let ids = stage.submit("s1", &[proposal("b.txt", "good\n"), proposal("c.txt", "good\n")]).await;
    for id in ids {
        stage.until_status(id, "applied").await;
    }
    let total = "SELECT agent_type || ' ' || sum(count) FROM evolution_agent_metrics WHERE metric = 'memory' GROUP BY agent_type";
    stage.until(total, "BugFixerAgent 2").await;
    assert_eq!(
        stage.ask("SELECT min(avg) || ' ' || max(max) FROM evolution_agent_metrics WHERE metric = 'memory'").await,
        "20.5 20.5"
    );
    stage.until("SELECT count(*) FROM evolution_readings", "0").await;
    stage.until("SELECT count(*) FROM pgflow_messages WHERE kind = 'flush_metrics' AND status <> 'done'", "0").await;
    let sent = stage.ask("SELECT count(*) FROM pgflow_messages WHERE kind = 'metrics_batch'").await;
    assert!(sent == "1" || sent == "2", "{sent}: as many as there were minutes with measurements");
    stage.end().await;
}

/// Fear: the gate that adapts is never asked, never told, or forgotten by a restart.
#[tokio::test(flavor = "multi_thread")]
async fn outcomes_move_the_gate_where_it_may_move() {
    let mut stage = Stage::new(1, |role| {
        let mut settings = brisk(role);
        settings.adaptive_gate = true;
        settings
    })
    .await;
    // Nine outcomes of ten are in, two of them good.
    let nine = r#"INSERT INTO evolution_gate (gate) VALUES ('{"confidence": 0.85, "outcomes": 9, "successes": 2, "last_gap": null}')"#;
    stage.client.execute(nine, &[]).await.unwrap();
    let id = stage.submit("s1", &[proposal("a.txt", "bad\n")]).await[0];
    stage.until_status(id, "rolled_back").await;
    stage.until("SELECT gate ->> 'outcomes' FROM evolution_gate", "0").await;
    assert_eq!(stage.ask("SELECT round((gate ->> 'confidence')::numeric, 2) FROM evolution_gate").await, "0.91");
    stage.kill_central();
    stage.start_central().await;
    // 0.92 would pass 0.85; the voters here are 0.93 sure of a first change, and less after a rollback.
    let next = stage.submit("s1", &[proposal("b.txt", "good\n")]).await[0];
    stage.until("SELECT count(*) FROM evolution_consensus_votes", "2").await;
    let waits = format!("SELECT status FROM evolution_consensus WHERE proposal_id = '{next}'");
    stage.until(&waits, "voting").await;
    stage.end().await;
}
