//! Changes that do not happen after all hide no message from a runtime that goes to sleep. The heartbeat is 30 s.

use std::time::Duration;

use crate::{
    SOON, Scene,
    support::{
        eventually,
        probe::{Act, Probe, Seen, probing},
    },
};

/// A runtime that wants to sleep has long done so.
const ASLEEP: Duration = Duration::from_millis(300);

/// A worker is busy with 1, 2 waits behind it, and `change` is open over 2 while the worker comes free and looks. Then it is
/// rolled back, and nobody tells.
async fn rolled_back(change: &str) {
    let s = Scene::new().await;
    let seen = Seen::new();
    let runtime = probing(s.config("a"), 1, &seen).await;
    s.publisher.publish(&Probe::act(1, Act::Wait)).await.unwrap();
    eventually(SOON, || async { seen.count() == 1 }).await;
    let id = s.publisher.publish(&Probe::new(2)).await.unwrap().id().unwrap();
    let mut theirs = s.db.client().await;
    let tx = theirs.transaction().await.unwrap();
    tx.batch_execute(&change.replace("$1", &id.to_string())).await.unwrap();
    seen.open();
    eventually(SOON, || async { seen.ended() == 1 }).await;
    tokio::time::sleep(ASLEEP).await;
    tx.rollback().await.unwrap();
    eventually(SOON, || async { seen.started(2).is_some() }).await;
    assert_eq!(runtime.found_by_heartbeat(), 0);
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a runtime falls asleep past a row that an open cancel has locked, and the cancel is rolled back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_that_is_rolled_back_hides_nothing() {
    rolled_back("SELECT pgflow_cancel($1)").await;
}

/// Fear: the same of a queue that is deleted, and is not. (The delete must not know that a worker is busy.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_that_is_rolled_back_hides_nothing() {
    rolled_back("DELETE FROM pgflow_active; SELECT pgflow_delete_queue('probe', true)").await;
}

/// Fear: a delete locks what waits, and is refused only then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_delete_locks_no_message() {
    let s = Scene::new().await;
    let seen = Seen::new();
    let runtime = probing(s.config("a"), 1, &seen).await;
    s.publisher.publish(&Probe::act(1, Act::Wait)).await.unwrap();
    s.publisher.send(Probe::new(2).out().delay(Duration::from_secs(3600))).await.unwrap();
    s.until(&["1:processing", "2:scheduled"]).await;
    let mut theirs = s.db.client().await;
    let tx = theirs.transaction().await.unwrap();
    tx.execute("SELECT FROM pgflow_scheduled FOR UPDATE", &[]).await.unwrap();
    let refused =
        tokio::time::timeout(SOON, s.admin.delete_queue_cancelling("probe")).await.expect("it waits for nobody");
    assert!(refused.unwrap_err().to_string().contains("1 running"));
    tx.rollback().await.unwrap();
    seen.open();
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a delete takes keys in another order than publishers, and deadlocks with one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_takes_keys_in_the_order_of_publishers() {
    let s = Scene::new().await;
    // As they lie in the table: not in their order.
    for (n, key) in ["z", "a"].into_iter().enumerate() {
        s.publisher.send(Probe::new(i64::try_from(n).unwrap()).out().dedup_key(key)).await.unwrap();
    }
    let mut theirs = s.db.client().await;
    let tx = theirs.transaction().await.unwrap();
    let again = async |key: &str| s.publisher.send_in(&tx, Probe::new(9).out().dedup_key(key)).await;
    again("a").await.unwrap();
    let admin = s.admin.clone();
    let deleting = tokio::spawn(async move { admin.delete_queue_cancelling("probe").await });
    let blocked =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually(SOON, || async { s.text(blocked).await == ["1"] }).await;
    again("z").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(deleting.await.unwrap().unwrap(), 2);
}

/// Fear: after a change that broke off nobody looks again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_that_fails_has_everybody_look_again() {
    let s = Scene::new().await;
    let seen = Seen::new();
    let runtime = probing(s.config("a"), 1, &seen).await;
    s.admin.pause_queue("probe").await.unwrap();
    let id = s.publisher.publish(&Probe::new(1)).await.unwrap().id().unwrap();
    s.publisher.publish(&Probe::new(2)).await.unwrap();
    tokio::time::sleep(ASLEEP).await;
    // Nobody is told of this resume: whoever starts the messages has been told by the cancel.
    let breaks = "UPDATE pgflow_queues SET paused = false; \
        CREATE FUNCTION breaks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'disk full'; END $$; \
        CREATE TRIGGER breaks BEFORE INSERT ON pgflow_history FOR EACH ROW WHEN (NEW.status = 'cancelled') EXECUTE FUNCTION breaks()";
    s.sql.batch_execute(breaks).await.unwrap();
    tokio::time::sleep(ASLEEP).await;
    assert_eq!(seen.count(), 0);
    let e = s.admin.cancel_message(id).await.unwrap_err();
    assert!(e.to_string().contains("disk full"), "{e}");
    eventually(SOON, || async { seen.count() == 2 }).await;
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}
