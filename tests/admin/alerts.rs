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
    assert!(s.admin.raise_alert("shop", "no_stock", "tea", AlertLevel::Warn, "3 left").await.unwrap());
    let since = s.admin.list_alerts().await.unwrap()[0].raised_at.clone();
    assert!(s.admin.raise_alert("shop", "no_stock", "tea", AlertLevel::Page, "none left").await.unwrap());
    let runtime = probing(s.config("a"), 1, &Seen::new()).await;
    eventually(SOON, || async { s.text("SELECT count(*) FROM pgflow_sizes").await == ["1"] }).await;
    let standing = s.admin.list_alerts().await.unwrap();
    let [alert] = standing.as_slice() else { panic!("{standing:?}") };
    assert_eq!((alert.source.as_str(), alert.detail.as_str(), alert.level), ("shop", "none left", AlertLevel::Page));
    assert_eq!(alert.raised_at, since, "it stands since it was raised first");
    assert_eq!(s.doctor_says().await.0, Health::Fail);
    assert!(s.admin.clear_alert("shop", "no_stock", "tea").await.unwrap());
    assert!(!s.admin.clear_alert("shop", "no_stock", "tea").await.unwrap());
    assert_eq!(s.alerts().await, []);
    runtime.stop(SOON).await.unwrap();
}

/// Fear: an alert stands though what raised it was rolled back, or is lost though it was committed; or the log says it again and again.
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_part_of_the_callers_transaction() {
    let s = Scene::new().await;
    let mut theirs = s.db.client().await;
    let raise = async |c: &tokio_postgres::Transaction<'_>, level, detail| {
        s.admin.raise_alert_in(c, "shop", "no_stock", "tea", level, detail).await.unwrap()
    };
    let tx = theirs.transaction().await.unwrap();
    assert!(raise(&tx, AlertLevel::Warn, "3 left").await);
    assert_eq!(s.alerts().await, [], "nobody sees it before the commit");
    tx.rollback().await.unwrap();
    assert_eq!(s.alerts().await, []);
    let tx = theirs.transaction().await.unwrap();
    assert!(raise(&tx, AlertLevel::Warn, "3 left").await);
    assert!(!raise(&tx, AlertLevel::Warn, "2 left").await, "said before, by the same transaction");
    tx.commit().await.unwrap();
    let tx = theirs.transaction().await.unwrap();
    let since = s.admin.list_alerts().await.unwrap()[0].raised_at.clone();
    assert!(raise(&tx, AlertLevel::Page, "none left").await, "louder is news");
    assert!(!raise(&tx, AlertLevel::Page, "none left").await);
    assert!(!raise(&tx, AlertLevel::Warn, "1 left").await, "quieter is none");
    tx.commit().await.unwrap();
    let standing = s.admin.list_alerts().await.unwrap();
    assert_eq!((standing[0].level, &*standing[0].detail, &standing[0].raised_at), (AlertLevel::Warn, "1 left", &since));
    let tx = theirs.transaction().await.unwrap();
    assert!(s.admin.clear_alert_in(&tx, "shop", "no_stock", "tea").await.unwrap());
    assert!(!s.admin.clear_alert_in(&tx, "shop", "no_stock", "tea").await.unwrap(), "it is gone");
    assert_eq!(s.alerts().await.len(), 1, "for others it stands until the commit");
    tx.commit().await.unwrap();
    assert_eq!(s.alerts().await, []);
}

/// Fear: a text that the table does not take aborts the caller's transaction, or is kept by half.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_an_alert_is_refused_before_it_is_sent() {
    let s = Scene::new().await;
    let mut theirs = s.db.client().await;
    let tx = theirs.transaction().await.unwrap();
    let x = |n| "x".repeat(n);
    for (source, alert, subject, detail) in [
        ("pgflow".to_owned(), x(1), x(0), x(0)),
        (x(0), x(1), x(0), x(0)),
        (x(1), x(129), x(0), x(0)),
        (x(1), x(1), x(513), x(0)),
        (x(1), x(1), x(0), x(4_097)),
        (x(1), x(1), x(0), "a\0b".to_owned()),
    ] {
        let raised = s.admin.raise_alert(&source, &alert, &subject, AlertLevel::Warn, &detail).await.unwrap_err();
        assert!(raised.is_input(), "{raised}");
        let raised =
            s.admin.raise_alert_in(&tx, &source, &alert, &subject, AlertLevel::Warn, &detail).await.unwrap_err();
        assert!(raised.is_input(), "{raised}");
    }
    let longest = (x(128), x(512), x(4_096));
    assert!(
        s.admin.raise_alert_in(&tx, &longest.0, &longest.0, &longest.1, AlertLevel::Warn, &longest.2).await.unwrap()
    );
    tx.commit().await.unwrap();
    assert_eq!(s.alerts().await.len(), 1, "what is allowed stands, and nothing else");
}

/// Fear: the leader's log is silent when a warning becomes urgent, or says at every look what was said.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_leader_says_is_news_once() {
    let s = Scene::new().await;
    let set = include_str!("../../sql/queries/set_alerts.sql").replace("{schema}", "public");
    let say = async |level: &str| {
        let [alerts, subjects, levels, details] = ["dead_letters", "mail", level, "many"].map(|word| vec![word]);
        let rows = s.sql.query(&set, &[&"pgflow", &alerts, &subjects, &levels, &details]).await.unwrap();
        rows.iter().map(|row| (row.get::<_, String>("level"), row.get::<_, bool>("raised"))).collect::<Vec<_>>()
    };
    assert_eq!(say("warn").await, [("warn".to_owned(), true)]);
    assert_eq!(say("warn").await, []);
    assert_eq!(say("page").await, [("page".to_owned(), true)]);
    assert_eq!(say("page").await, []);
    assert_eq!(say("warn").await, [], "quieter is no news");
}
