//! The low-water marks, under a load that never ends and in a queue at rest: a message that comes back below its lane's mark.

mod support;

use std::{sync::Arc, time::Duration};

use pgflow::{Config, Publisher};
use support::{
    TestDb, eventually,
    probe::{Act, Probe, Seen, config, probing},
    query_text,
};
use tokio_postgres::Client;

/// A claim finds it at once; the net under the rule, a look from the lane's start, comes every 10 s.
const SOON: Duration = Duration::from_secs(4);
/// Starts after which the marks have moved.
const MOVED: usize = 4_000;
/// Messages that wait at all times.
const WAITING: usize = 6_000;

/// Publishes for ever, so that enough wait.
async fn feed(publisher: Publisher, seen: Arc<Seen>) {
    let batch: Vec<Probe> = (0..5_000).map(Probe::new).collect();
    let mut sent = 0;
    loop {
        if sent < seen.count() + WAITING {
            publisher.publish_many(&batch).await.unwrap();
            sent += batch.len();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Fear: a mark passes the place of a publisher that has not committed yet, whose message then waits while others come and go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_commit_is_not_passed() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    query_text(&db.client().await, "SELECT pgflow_create_queue('probe')::text").await;
    let publisher = Publisher::connect(&Config::new(db.url())).await.unwrap();
    let mut late = db.client().await;
    let tx = late.transaction().await.unwrap();
    publisher.publish_in(&tx, &Probe::new(-1)).await.unwrap();
    let runtime = probing(config(&db.url(), "a"), 8, &seen).await;
    let feeding = tokio::spawn(feed(publisher, seen.clone()));
    eventually(Duration::from_secs(60), || async { seen.count() > MOVED }).await;
    tx.commit().await.unwrap();
    eventually(SOON, || async { seen.started(-1).is_some() }).await;
    assert!(!feeding.is_finished(), "the load went on");
    feeding.abort();
    runtime.stop(Duration::ZERO).await.unwrap();
}

/// What happens meanwhile.
#[derive(Clone, Copy, PartialEq)]
enum Others {
    ComeAndGo,
    /// The instance sleeps.
    AreGone,
}

/// The message of a handler that waits is taken from it by `take(id, token, session)`, after so many others that its place is passed.
async fn taken_back(statement: &str, others: Others, take: impl AsyncFnOnce(Client, String, (i64, i64, i32))) {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let runtime = probing(config(&db.url(), "a"), 8, &seen).await;
    let publisher = Publisher::connect(&Config::new(db.url())).await.unwrap();
    let id = publisher.publish(&Probe::act(-1, Act::Wait)).await.unwrap().id().unwrap();
    eventually(SOON, || async { seen.started(-1).is_some() }).await;
    let feeding = tokio::spawn(feed(publisher, seen.clone()));
    eventually(Duration::from_secs(60), || async { seen.count() > MOVED }).await;
    let client = db.client().await;
    if others == Others::AreGone {
        feeding.abort();
        let left = "SELECT count(*)::text FROM pgflow_ready";
        eventually(Duration::from_secs(60), || async {
            query_text(&client, left).await == ["0"] && seen.running() == 1
        })
        .await;
        let armed = "SELECT (count(*) > 0)::text FROM pg_locks k, pgflow_lanes l WHERE k.locktype = 'advisory' AND k.mode = 'ExclusiveLock'
                     AND k.granted AND k.objid::bigint = l.lane_id % 1024 AND class = 0";
        eventually(SOON, || async { query_text(&client, armed).await == ["true"] }).await;
    }
    let claim = "SELECT token, session_id, space FROM pgflow_active, pgflow_meta WHERE id = $1";
    let claim = client.query_one(claim, &[&id]).await.unwrap();
    let (token, session, space): (i64, i32, i32) = (claim.get(0), claim.get(1), claim.get(2));
    let sql = statement.replace("{schema}", "public").replace("{space}", &space.to_string());
    take(client, sql, (id, token, session)).await;
    eventually(SOON, || async { seen.ns().iter().filter(|n| **n == -1).count() == 2 }).await;
    assert!(others == Others::AreGone || !feeding.is_finished(), "the load went on");
    feeding.abort();
    runtime.stop(Duration::ZERO).await.unwrap();
}

/// Fear: a message that is handed back comes to a place below the mark, and a scan from there decides on sleep.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_handed_back_is_not_passed() {
    for others in [Others::ComeAndGo, Others::AreGone] {
        taken_back(include_str!("../sql/queries/hand_back.sql"), others, async |client, sql, (id, token, _)| {
            assert_eq!(client.query(&sql, &[&vec![id], &vec![token]]).await.unwrap().len(), 1);
        })
        .await;
    }
}

/// Fear: the same of one whose instance died.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_rescued_is_not_passed() {
    for others in [Others::ComeAndGo, Others::AreGone] {
        taken_back(include_str!("../sql/queries/rescue.sql"), others, async |client, sql, (id, _, session)| {
            // A lease of nothing has always run out.
            let rescued = client.query(&sql, &[&session, &0_i64, &1_000_i32]).await.unwrap();
            assert!(rescued.iter().any(|row| row.get::<_, i64>(0) == id));
        })
        .await;
    }
}
