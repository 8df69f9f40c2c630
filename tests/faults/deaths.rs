//! Cells in which processes die: F1, F2, F3, F15.

use std::time::{Duration, Instant};

use pgflow::Priority;

use super::{
    cell::Cell,
    report::Recovery,
    traffic::{Act, Load},
};
use crate::support::{eventually, query_text};

/// Longest time from a kill to what it interrupted running elsewhere, on a machine that has much else to do.
const RESCUE_US_MAX: i64 = 5_000_000;

/// Fear: an instance that is killed again and again takes messages or effects with it, or nobody takes over.
#[tokio::test(flavor = "multi_thread")]
async fn f1_one_instance_killed_again_and_again() {
    let Some(mut cell) = Cell::shared("F1", "kill -9 one instance, repeated").await else { return };
    cell.start(3).await;
    while cell.loading() {
        cell.kill_one().await;
        cell.snapshot().await;
        cell.pause(1_300).await;
    }
    let facts = cell.finish().await;
    let recovery = Recovery::of(&facts);
    assert!(recovery.rescued.iter().all(|us| *us < RESCUE_US_MAX), "rescued late: {:?} µs", recovery.rescued);
}

/// Fear: with every instance killed at once nobody is left who knows what they had claimed.
#[tokio::test(flavor = "multi_thread")]
async fn f2_all_instances_killed_at_once() {
    let Some(mut cell) = Cell::shared("F2", "kill -9 all instances").await else { return };
    cell.start(3).await;
    while cell.loading() {
        cell.pause(1_200).await;
        for mut victim in std::mem::take(&mut cell.instances) {
            cell.note("kill", Some(&victim.name));
            victim.kill();
        }
        cell.snapshot().await;
        for i in 0..3 {
            cell.start_instance(i == 0, 0, None).await;
        }
    }
    cell.finish().await;
}

/// Fear: a process that is stopped past its lease wakes up and settles what others are at work on, or writes its effects
/// beside theirs.
#[tokio::test(flavor = "multi_thread")]
async fn f3_an_instance_stopped_past_its_lease() {
    let Some(mut cell) = Cell::shared("F3", "SIGSTOP past the lease, then SIGCONT").await else { return };
    cell.lease_ms = 10_000;
    cell.start(3).await;
    let sql = cell.client().await;
    let zombie = &cell.instances[1];
    let long = |whose: &str| {
        format!(
            "SELECT count(*) > 0 FROM pgflow_active JOIN pgflow_instances USING (session_id)
             WHERE convert_from(body, 'UTF8') LIKE '%\"hold_ms\":1500%' AND {whose}"
        )
    };
    let (has, taken_over) = (long(&format!("name = '{}'", zombie.name)), long("attempt = 2"));
    // Long ones: the zombie is in the middle of some when it is stopped, and another is when it wakes. As many as it takes: the others may
    // be quicker.
    let mut n = 0;
    while n < 12 || query_text(&sql, &has).await != ["t"] {
        cell.send_load(Load::new(LONG + n, Act::Effect, 1_500), Priority::Normal).await;
        n += 1;
        assert!(n < 500, "the zombie never gets one");
    }
    cell.note("stop", Some(&zombie.name));
    let mut woken_at_the_latest = zombie.freeze(30);
    eventually(SOON, || async { query_text(&sql, &taken_over).await == ["t"] }).await;
    zombie.thaw();
    cell.snapshot().await;
    let facts = cell.finish().await;
    woken_at_the_latest.kill().expect("our own shell");
    woken_at_the_latest.wait().expect("our own shell");
    assert!(facts.dump.tries.iter().any(|t| t.event == "process_died"), "nothing was taken over");
}

/// Fear: a poisonous message takes its worker, its queue or every instance with it.
#[tokio::test(flavor = "multi_thread")]
async fn f15_poison() {
    let Some(mut cell) = Cell::shared("F15", "panic, hang, blocked thread, abort, 10 MB, no JSON").await else {
        return;
    };
    cell.start(3).await;
    let poison = [Act::Panic, Act::Hang, Act::Abort, Act::Spin, Act::Panic];
    for (n, act) in (0..).zip(poison) {
        cell.note("poison", None);
        cell.send_load(Load::new(POISON + n, act, 0), Priority::Normal).await;
    }
    // Over the limit of a body: refused before anything is written.
    let big = Load { padding: "x".repeat(10_000_000), ..Load::new(POISON + 50, Act::Plain, 0) };
    cell.send_load(big, Priority::Normal).await;
    let sql = cell.client().await;
    for body in ["'{'", r"'\xff'::bytea"] {
        cell.note("no JSON", None);
        let broken = format!(
            "INSERT INTO pgflow_ready (lane_id, kind, body) SELECT lane_id, 'load', {body} FROM pgflow_lanes JOIN pgflow_queues USING (queue_id)
             WHERE name = 'load' AND class = 0 AND target IS NULL"
        );
        sql.batch_execute(&broken).await.expect("past every check, as another program's row may come");
    }
    // Whoever runs the aborting one dies: started anew, as anybody's init would.
    let dead = "SELECT (SELECT count(*) FROM pgflow_dlq WHERE error_kind = 'process_died') > 0
                AND (SELECT count(*) FROM pgflow_dlq WHERE error_kind = 'invalid_format') = 2";
    let limit = Instant::now() + SOON;
    while query_text(&sql, dead).await != ["t"] || cell.loading() {
        assert!(Instant::now() < limit, "the poison is not in the DLQ");
        cell.replace_dead().await;
        cell.pause(50).await;
    }
    cell.finish().await;
}

/// A task of its own for the uids of what is poisonous.
const POISON: i64 = 900_000_000;
/// And for what takes long.
const LONG: i64 = 600_000_000;
const SOON: Duration = Duration::from_secs(60);
