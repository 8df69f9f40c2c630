//! Handlers that get ahead of what is written.

use super::*;
use support::query_text;

/// As `settle.rs` has it: most outcomes that may wait.
const WAITING_MAX: usize = 512;
/// What is claimed at most then: those, what two flushes hold, what is under way in one claim, and what was claimed ahead.
const CLAIMED_MAX: usize = WAITING_MAX + 5 * 256;

/// Fear: handlers get ahead of what is written without limit, and a kill has all of that run again; or an urgent message waits for
/// the disk with the rest; or nothing is claimed any more once the outcomes are written.
#[tokio::test(flavor = "multi_thread")]
async fn only_high_is_claimed_while_outcomes_wait_and_all_is_when_they_are_written() {
    let db = TestDb::new().await;
    let (client, mut theirs) = (db.client().await, db.client().await);
    let count = async |what: &str| -> usize {
        query_text(&client, &format!("SELECT count(*) FROM {what}")).await[0].parse().unwrap()
    };
    let seen = Seen::new();
    let mut c = config(&db.url(), "a");
    // Two for the flushes that wait.
    c.control_connections = 6;
    let runtime = probing(c, 8, &seen).await;
    // No settle is written meanwhile: for less than the 10 s after which its statement ends.
    let tx = theirs.transaction().await.unwrap();
    tx.batch_execute("LOCK TABLE pgflow_history IN EXCLUSIVE MODE").await.unwrap();
    let many: Vec<Outgoing> = (0..6_000)
        .map(|n| Probe::new(n).out().priority(if n % 10 == 0 { Priority::Low } else { Priority::Normal }))
        .collect();
    for chunk in many.chunks(2_000) {
        runtime.publisher().send_many(chunk.to_vec()).await.unwrap();
    }
    eventually(SOON, || async { seen.ended() > WAITING_MAX }).await;
    for n in 1..=50 {
        runtime.publisher().send(Probe::new(-n).out().priority(Priority::High)).await.unwrap();
        eventually(SOON, || async { seen.started(-n).is_some() }).await;
    }
    let held = count("pgflow_ready").await;
    assert!(held >= 6_000 - CLAIMED_MAX, "went on with normal and low: {held} are left");
    tx.rollback().await.unwrap();
    eventually(Duration::from_secs(60), || async { count("pgflow_history WHERE status = 'done'").await == 6_050 })
        .await;
    assert_eq!(seen.count(), 6_050, "once each");
    assert_eq!(runtime.found_by_heartbeat(), 0);
    runtime.stop(SOON).await.unwrap();
}
