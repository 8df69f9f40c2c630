//! Alerts: raised and cleared by the leader, or by an application, and seen by whoever asks.

use pgflow::admin::{AlertLevel, Health};

use super::*;
use crate::support::probe::{Act, Probe, Seen, probing};

impl Scene {
    async fn alerts(&self) -> Vec<(String, String, AlertLevel)> {
        let standing = self.admin.list_alerts().await.unwrap();
        standing.into_iter().map(|a| (a.alert, a.subject, a.level)).collect()
    }

    async fn doctor_says(&self) -> (Health, String) {
        let findings = self.admin.doctor().await.unwrap();
        let alerts = findings.into_iter().find(|f| f.check == "alerts").unwrap();
        (alerts.health, alerts.detail)
    }
}

/// Fear: dead letters pile up and nobody is told; or an alert outlives its cause, or the leader that raised it.
#[tokio::test(flavor = "multi_thread")]
async fn the_leader_raises_and_a_later_one_clears() {
    let s = Scene::new().await;
    let leads = async |name: &str| {
        let mut c = s.config(name);
        c.heartbeat_ms = 100;
        probing(c, 2, &Seen::new()).await
    };
    let first = leads("first").await;
    for n in 0..11 {
        s.publisher.publish(&Probe::act(n, Act::Dead)).await.unwrap();
    }
    eventually(SOON, || async { s.text("SELECT count(*) FROM pgflow_dlq").await == ["11"] }).await;
    first.stop(SOON).await.unwrap();
    // Each new leader looks at once.
    let second = leads("second").await;
    let raised = [("dead_letters".to_owned(), "probe".to_owned(), AlertLevel::Warn)];
    eventually(SOON, || async { s.alerts().await == raised }).await;
    let (health, detail) = s.doctor_says().await;
    assert!(health == Health::Warn && detail.contains("11 dead letters"), "{detail}");
    second.stop(SOON).await.unwrap();
    s.admin.purge_dlq(Some("probe")).await.unwrap();
    let third = leads("third").await;
    eventually(SOON, || async { s.alerts().await.is_empty() }).await;
    assert_eq!(s.doctor_says().await, (Health::Ok, "none".to_owned()));
    third.stop(SOON).await.unwrap();
}

/// Fear: an application's alert is lost, cleared by pgflow's leader, or hides among its own.
#[tokio::test(flavor = "multi_thread")]
async fn an_application_raises_its_own() {
    let s = Scene::new().await;
    s.admin.raise_alert("shop", "no_stock", "tea", AlertLevel::Warn, "3 left").await.unwrap();
    let since = s.admin.list_alerts().await.unwrap()[0].raised_at.clone();
    s.admin.raise_alert("shop", "no_stock", "tea", AlertLevel::Page, "none left").await.unwrap();
    let runtime = probing(s.config("a"), 1, &Seen::new()).await;
    eventually(SOON, || async { s.text("SELECT count(*) FROM pgflow_sizes").await == ["1"] }).await;
    let standing = s.admin.list_alerts().await.unwrap();
    let [alert] = standing.as_slice() else { panic!("{standing:?}") };
    assert_eq!((alert.source.as_str(), alert.detail.as_str(), alert.level), ("shop", "none left", AlertLevel::Page));
    assert_eq!(alert.raised_at, since, "it stands since it was raised first");
    assert_eq!(s.doctor_says().await.0, Health::Fail);
    s.admin.clear_alert("shop", "no_stock", "tea").await.unwrap();
    s.admin.clear_alert("shop", "no_stock", "tea").await.unwrap();
    assert_eq!(s.alerts().await, []);
    runtime.stop(SOON).await.unwrap();
    for (source, alert, subject, detail) in
        [("pgflow", "a", "", ""), ("", "a", "", ""), ("s", &*"x".repeat(129), "", ""), ("s", "a", &"x".repeat(513), "")]
    {
        let refused = s.admin.raise_alert(source, alert, subject, AlertLevel::Warn, detail).await.unwrap_err();
        assert!(refused.is_input(), "{refused}");
    }
    assert_eq!(s.alerts().await, [], "nothing half done");
}
