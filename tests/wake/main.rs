//! The wake-up protocol against a real server. The heartbeat is 30 s: a lost wake is a time-out, not a delay.

#[path = "../support/mod.rs"]
mod support;

mod bursts;
mod demand;
mod herd;
mod idle;
mod relay;
mod sentinels;
mod told;

use std::{sync::Arc, time::Duration};

use pgflow::{Priority, Queue, Runtime, devpg::DevPg};
use support::{TestDb, connect, eventually, probe::*, query_text};

const SOON: Duration = Duration::from_secs(20);

async fn done(client: &tokio_postgres::Client, n: i64) -> bool {
    let row = client.query_one("SELECT count(*) FROM pgflow_history WHERE status = 'done'", &[]).await.unwrap();
    row.get::<_, i64>(0) == n
}

/// Nothing found by a heartbeat; something by a takeover only if a death is admitted.
fn no_wake_lost(runtimes: &[&Runtime], deaths: bool) {
    for r in runtimes {
        assert_eq!(r.found_by_heartbeat(), 0, "{}: a wake was lost", r.instance());
        assert!(deaths || r.found_by_takeover() == 0, "{}: a takeover without a death", r.instance());
    }
}

/// The instance is sentinel of every lane there is: of those addressed to somebody, or of the common ones.
async fn sentinel(client: &tokio_postgres::Client, instance: &str, of: Option<&str>) -> bool {
    let sql = format!(
        "SELECT count(*) > 0 AND bool_and(EXISTS (SELECT 1 FROM pg_locks k JOIN pgflow_instances i ON i.listener_pid = k.pid AND i.name = '{instance}' \
           JOIN pgflow_meta m ON k.classid::bigint = m.space JOIN pg_database d ON d.oid = k.database AND d.datname = current_database() \
           WHERE k.objid::bigint = l.lane_id % 1024 AND k.locktype = 'advisory' AND k.mode = 'ExclusiveLock' AND k.granted)) \
         FROM pgflow_lanes l WHERE coalesce(l.target, '') = '{}'",
        of.unwrap_or_default()
    );
    query_text(client, &sql).await == ["t"]
}

/// Nobody is sentinel of anything.
async fn no_sentinel(client: &tokio_postgres::Client) -> bool {
    let locks = "SELECT count(*) FROM pg_locks k JOIN pgflow_meta m ON k.classid::bigint = m.space AND k.objid::bigint < 1024 \
                 JOIN pg_database d ON d.oid = k.database AND d.datname = current_database() WHERE k.locktype = 'advisory'";
    query_text(client, locks).await == ["0"]
}

/// Publishes `count` messages in bursts of transactions that stay open up to 20 ms after their insert, some of them
/// under REPEATABLE READ with a snapshot from before, some rolled back. Answers how many committed.
async fn bursts(url: String, publisher: i64, count: i64, targets: &'static [Option<&'static str>]) -> i64 {
    let mut client = connect(&url).await;
    let own = pgflow::Publisher::connect(&config(&url, &format!("publisher-{publisher}"))).await.unwrap();
    let mut committed = 0;
    for i in 0..count {
        let (hold_ms, rr, rolls_back, pause) =
            (rand::random_range(0..=20u64), rand::random_bool(0.5), rand::random_bool(0.05), rand::random_bool(0.1));
        let level = if rr {
            tokio_postgres::IsolationLevel::RepeatableRead
        } else {
            tokio_postgres::IsolationLevel::ReadCommitted
        };
        let tx = client.build_transaction().isolation_level(level).start().await.unwrap();
        // The snapshot of a REPEATABLE READ transaction is taken here, before the trigger's look at the lock.
        tx.execute("SELECT 1", &[]).await.unwrap();
        let mut out = Probe::new(publisher * 1_000_000 + i).out();
        if rand::random_bool(0.1) {
            out = out.priority(Priority::High);
        }
        if let Some(target) = targets[usize::try_from(i).unwrap() % targets.len()] {
            out = out.target(target);
        }
        own.send_in(&tx, out).await.unwrap();
        if rand::random_bool(0.5) {
            tokio::time::sleep(Duration::from_millis(hold_ms)).await;
        }
        if rolls_back {
            tx.rollback().await.unwrap();
        } else {
            tx.commit().await.unwrap();
            committed += 1;
        }
        if pause {
            // Long enough for the runtimes to fall asleep: the race is at the edge of sleep.
            tokio::time::sleep(Duration::from_millis(rand::random_range(20..80))).await;
        }
    }
    committed
}

async fn eight_publishers(url: &str, each: i64, targets: &'static [Option<&'static str>]) -> i64 {
    let publishers: Vec<_> = (0..8).map(|p| tokio::spawn(bursts(url.to_owned(), p, each, targets))).collect();
    let mut committed = 0;
    for p in publishers {
        committed += p.await.unwrap();
    }
    committed
}
