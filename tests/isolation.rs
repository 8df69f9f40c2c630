//! Two of everything: schemas in one database, runtimes in one process.

mod support;

use std::time::Duration;

use pgflow::Queue;
use support::{TestDb, eventually, probe::*, query_text};

const SOON: Duration = Duration::from_secs(20);

/// Fear: two schemas in one database share a lock, a channel or an instance name, and disturb each other.
#[tokio::test(flavor = "multi_thread")]
async fn two_schemas_in_one_database_do_not_meet() {
    let db = TestDb::new().await;
    let mut client = db.client().await;
    pgflow::migrate::migrate(&mut client, "other").await.unwrap();
    let (here, there) = (Seen::new(), Seen::new());
    let a = probing(config(&db.url(), "same name"), 2, &here).await;
    let b = probing(config(&db.url(), "same name").schema("other"), 2, &there).await;
    for n in 0..50 {
        a.publisher().publish(&Probe::new(n)).await.unwrap();
        b.publisher().publish(&Probe::new(1_000 + n)).await.unwrap();
    }
    eventually(SOON, || async { here.count() == 50 && there.count() == 50 }).await;
    assert!(here.ns().iter().all(|n| *n < 1_000) && there.ns().iter().all(|n| *n >= 1_000));
    // Death in one schema is no death in the other.
    drop(b);
    a.publisher().publish(&Probe::new(51)).await.unwrap();
    eventually(SOON, || async { here.count() == 51 }).await;
    assert_eq!(query_text(&client, "SELECT count(*)::text FROM other.pgflow_messages").await, ["50"]);
    a.stop(SOON).await.unwrap();
}

/// Fear: process-wide names or state let two runtimes in one process collide.
#[tokio::test(flavor = "multi_thread")]
async fn many_runtimes_in_one_process_share_the_work() {
    let db = TestDb::new().await;
    let seen = Seen::new();
    let mut runtimes = Vec::new();
    for i in 0..4 {
        runtimes.push(probing_queue(config(&db.url(), &format!("r{i}")), Queue::new("probe").workers(2), &seen).await);
    }
    let many: Vec<Probe> = (0..400).map(Probe::new).collect();
    runtimes[0].publisher().publish_many(&many).await.unwrap();
    let client = db.client().await;
    let done = || async { query_text(&client, "SELECT count(*)::text FROM pgflow_history").await == ["400"] };
    eventually(SOON, done).await;
    let mut ns = seen.ns();
    ns.sort_unstable();
    assert_eq!(ns, (0..400).collect::<Vec<_>>(), "each once");
    for r in runtimes {
        assert_eq!(r.found_by_heartbeat(), 0);
        r.stop(SOON).await.unwrap();
    }
}
