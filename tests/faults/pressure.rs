//! Cells in which nobody fails, but somebody is in the way: F12, F13, F16, F18.

use std::{path::PathBuf, time::Duration};

use pgflow::Priority;
use rand::RngExt as _;

use super::{
    cell::{Cell, asked, skip},
    history::now_us,
    traffic::{Act, Load},
};
use crate::support::query_text;

/// Fear: an old transaction, or a publisher that stays open, makes claims slow, or lets others sleep past messages.
#[tokio::test(flavor = "multi_thread")]
async fn f12_old_transactions() {
    let Some(mut cell) = Cell::shared("F12", "pinned xmin, idle writer, open publisher").await else { return };
    let (reader, writer, publisher) = (cell.client().await, cell.client().await, cell.client().await);
    cell.start(3).await;
    cell.note("old snapshot", None);
    reader
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pgflow_messages")
        .await
        .expect("a snapshot");
    writer
        .batch_execute("BEGIN; CREATE TABLE theirs (); INSERT INTO theirs DEFAULT VALUES")
        .await
        .expect("an open writer");
    cell.note("open publisher", None);
    publisher
        .batch_execute("BEGIN; SELECT pgflow_publish('load', '{\"uid\": 1}', 'load')")
        .await
        .expect("an open publisher");
    while cell.loading() {
        cell.pause(500).await;
        cell.snapshot().await;
    }
    // Never sent in the end: it must leave nothing behind.
    publisher.batch_execute("ROLLBACK").await.expect("rolled back");
    cell.finish().await;
    drop((reader, writer));
}

/// Fear: an instance whose clock is an hour wrong retries too early, too late, or takes the others for dead.
#[tokio::test(flavor = "multi_thread")]
async fn f13_a_wrong_clock() {
    const FAULT: &str = "one instance an hour ahead, one an hour behind";
    let Some(asked) = asked("F13") else { return };
    let folders =
        ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/usr/lib64", "/opt/homebrew/lib"];
    let found =
        folders.iter().map(|dir| PathBuf::from(dir).join("faketime/libfaketime.so.1")).find(|file| file.exists());
    let Some(library) = found else { return skip(&asked, "F13", FAULT, "libfaketime is not installed") };
    let Some(mut cell) = Cell::shared("F13", FAULT).await else { return };
    let begun = now_us();
    cell.start_instance(true, 0, None).await;
    for (time, ahead_s) in [("+3600", 3_600), ("-3600", -3_600)] {
        cell.note("wrong clock", None);
        cell.start_instance(false, ahead_s * 1_000_000, Some((&library, time))).await;
    }
    cell.live(3).await;
    cell.publish().await;
    while cell.loading() {
        cell.pause(500).await;
        cell.snapshot().await;
    }
    let facts = cell.finish().await;
    // Lines are set right by what the clock was told to be ahead: were it not, they would lie an hour off.
    assert!(facts.lines.iter().all(|line| (begun..now_us()).contains(&line.at)), "the clocks were not wrong as asked");
}

/// Fear: who may connect to the database can stop the queues by forged notifications, or by the locks that wakes go by.
#[tokio::test(flavor = "multi_thread")]
async fn f16_a_hostile_client() {
    // A full notify queue is within reach only where its size is a setting (Postgres 17).
    let small = [("max_notify_queue_pages", "64")];
    let newer = crate::support::cluster().major() >= 17;
    let Some(mut cell) = Cell::own(
        "F16",
        "forged NOTIFY, hostile advisory locks, full notify queue",
        false,
        if newer { &small } else { &[] },
    )
    .await
    else {
        return;
    };
    cell.start(3).await;
    let (sql, holder) = (cell.client().await, cell.client().await);
    let flood = "SELECT count(pg_notify('pgflow_' || space || '_' || (i % 8), (i % 8)::text || repeat(' ', i % 7)))
                 FROM pgflow_meta, generate_series(1, 3000) i";
    let locks = ["pg_advisory_lock_shared", "pg_advisory_lock"];
    while cell.loading() {
        let lock = locks[cell.rng.random_range(0..2)];
        cell.note(lock, None);
        // Of every key: whoever holds one exclusively waits behind nobody for ever.
        holder.batch_execute("SET lock_timeout = '200 ms'").await.expect("a limit");
        let take = format!("SELECT {lock}(space, lane_id % 1024) FROM pgflow_meta, pgflow_lanes");
        let _ = holder.simple_query(&take).await;
        for _ in 0..5 {
            cell.note("forged notifications", None);
            let _ = sql.simple_query(flood).await;
            cell.pause(100).await;
        }
        holder.batch_execute("SELECT pg_advisory_unlock_all()").await.expect("unlocked");
        cell.pause(300).await;
    }
    if newer {
        cell.note("full notify queue", None);
        fill_the_notify_queue(&cell).await;
    }
    cell.finish().await;
}

/// Somebody LISTENs and never ends his transaction: the queue fills, and no publish that must notify can commit.
async fn fill_the_notify_queue(cell: &Cell) {
    let (sleeper, sql) = (cell.client().await, cell.client().await);
    sleeper.batch_execute("LISTEN anything; BEGIN; SELECT 1").await.expect("a sleeper");
    let fill = "SELECT count(pg_notify('full', repeat('x', 7000) || i)) FROM generate_series(1, 20) i";
    let full = async { while sql.simple_query(fill).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(20), full).await.expect("the queue fills");
    for n in 0..5 {
        cell.send_load(Load::new(800_000_000 + n, Act::Effect, 0), Priority::Normal).await;
        cell.pause(100).await;
    }
    sleeper.batch_execute("ROLLBACK").await.expect("the sleeper goes");
    drop(sleeper);
}

/// Fear: a statement that the server aborts (a deadlock, a serialization failure, its time over) loses a claim or an outcome.
#[tokio::test(flavor = "multi_thread")]
async fn f18_aborted_statements() {
    let Some(mut cell) = Cell::shared("F18", "deadlocks, serialization failures, cancelled statements injected").await
    else {
        return;
    };
    let sql = cell.client().await;
    // Turned on and off by what the function says: DDL on a table in use waits for its locks, and may deadlock itself.
    let inject = async |often: f64| {
        let text = format!(
            "CREATE OR REPLACE FUNCTION inject() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               IF random() < {often} THEN
                 RAISE EXCEPTION 'injected' USING ERRCODE = (ARRAY['40P01', '40001', '57014'])[1 + floor(random() * 3)];
               END IF;
               RETURN NEW;
             END $$"
        );
        sql.batch_execute(&text).await.expect("a function");
    };
    inject(0.0).await;
    for table in ["pgflow_active", "pgflow_ready", "pgflow_history", "pgflow_scheduled", "pgflow_attempts"] {
        let text = format!("CREATE TRIGGER inject BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION inject()");
        sql.batch_execute(&text).await.expect("a trigger");
    }
    cell.start(3).await;
    cell.note("injected errors", None);
    inject(0.03).await;
    let mut most = 0_u32;
    while cell.loading() {
        // One statement in one backend has no time at all.
        cell.note("cancelled", None);
        let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'pgflow %'
                      AND datname = current_database() AND state = 'active' LIMIT 2";
        query_text(&sql, cancel).await;
        most += 1;
        cell.pause(20).await;
    }
    assert!(most > 10, "hardly anything was cancelled");
    inject(0.0).await;
    cell.finish().await;
}
