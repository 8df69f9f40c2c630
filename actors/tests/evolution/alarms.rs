//! Alerts across processes: raised by what the queues show, cleared when it is over.

use pgflow_actors::store;

use crate::stage::{Stage, calm};

/// Fear: an alert is raised anew at every look, or stays when its cause is gone.
#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_raise_an_alert_once_until_they_are_gone() {
    let stage = Stage::new(0, calm).await;
    let bad = "SELECT count(pgflow_publish('metrics_to_guardian_queue', '{\"type\": \"execution_metrics\"}')) FROM generate_series(1, 11)";
    stage.ask(bad).await;
    stage.until("SELECT count(*) FROM pgflow_dlq", "11").await;
    let open = "SELECT string_agg(kind || ' ' || severity || ' ' || detail::text, '; ') FROM evolution_alerts WHERE cleared_at IS NULL";
    stage.until(open, "dead_letters warn \"11 dead letters: `pgflow dlq list`\"").await;
    let looks = stage.ask("SELECT count(*) FROM pgflow_messages WHERE kind = 'check_health' AND status = 'done'").await;
    let more =
        format!("SELECT count(*) >= {looks} + 2 FROM pgflow_messages WHERE kind = 'check_health' AND status = 'done'");
    stage.until(&more, "t").await;
    assert_eq!(stage.ask("SELECT count(*) FROM evolution_alerts").await, "1");
    assert_eq!(store::open_alerts(&stage.client).await.unwrap()[0].subject, "all");
    let admin = pgflow::Admin::connect(&pgflow::Config::new(stage.db.url())).await.unwrap();
    admin.purge_dlq(None).await.unwrap();
    stage.until("SELECT cleared_at IS NOT NULL FROM evolution_alerts", "t").await;
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
