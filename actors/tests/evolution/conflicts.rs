//! Several changes at once: one open change a target, the best score first.

use crate::stage::{Stage, brisk, calm, hopeless, proposal};
use crate::support::query_text;

/// Fear: two changes to one file run into each other, or the second is lost (domain §7.16: it waits).
#[tokio::test(flavor = "multi_thread")]
async fn a_second_change_to_a_target_waits_for_the_first() {
    let stage = Stage::new(1, brisk).await;
    let (mut better, worse) = (proposal("a.txt", "first\n"), proposal("a.txt", "second\n"));
    better["impact_score"] = 10.0.into();
    let ids = stage.submit("s1", &[worse, better]).await;
    stage.until_status(ids[1], "applied").await;
    stage.until_status(ids[0], "applied").await;
    let sent_after = "SELECT b.consensus_sent_at >= a.kept_at FROM evolution_proposals a, evolution_proposals b \
                      WHERE a.impact_score = 10 AND b.impact_score = 8";
    assert_eq!(stage.ask(sent_after).await, "t");
    assert_eq!(stage.bytes("s1", "a.txt").unwrap(), b"second\n");
    stage.end().await;
}

/// Fear: whoever waits for a change that never comes to be waits for ever.
#[tokio::test(flavor = "multi_thread")]
async fn the_target_is_free_after_a_rejection_a_failure_and_a_rollback() {
    let stage = Stage::new(1, brisk).await;
    let lines =
        [hopeless("a.txt"), proposal("a.txt", "broken\n"), proposal("a.txt", "bad\n"), proposal("a.txt", "last\n")];
    let mut ids = Vec::new();
    for (n, mut line) in lines.into_iter().enumerate() {
        // Or the record of the first ones would count against the last.
        line["agent_type"] = format!("Agent{n}").into();
        ids.extend(stage.submit("s1", &[line]).await);
    }
    stage.until_status(ids[0], "consensus_failed").await;
    stage.until_status(ids[1], "failed").await;
    stage.until_status(ids[2], "rolled_back").await;
    stage.until_status(ids[3], "applied").await;
    assert_eq!(stage.bytes("s1", "a.txt").unwrap(), b"last\n");
    stage.end().await;
}

/// Fear: a proposal that comes between the end of the change that held its target and that end's commit is sent by nobody.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_change_has_the_queue_looked_through_though_nobody_waits_yet() {
    let stage = Stage::new(1, calm).await;
    let id = stage.submit("s1", &[hopeless("a.txt")]).await[0];
    stage.until_status(id, "consensus_failed").await;
    // At the start, at the submission, at the end.
    stage.until("SELECT count(*) FROM pgflow_messages WHERE kind = 'send_proposals' AND status = 'done'", "3").await;
    stage.end().await;
}

/// Fear: the queue sends in order of arrival.
#[tokio::test(flavor = "multi_thread")]
async fn the_best_score_is_sent_first() {
    let stage = Stage::new(1, calm).await;
    let lines: Vec<_> = (1..=9)
        .map(|n| {
            let mut line = proposal(&format!("{n}.txt"), "new\n");
            line["impact_score"] = f64::from(n).into();
            line
        })
        .collect();
    let ids = stage.submit("s1", &lines).await;
    for id in &ids {
        stage.until_status(*id, "applied").await;
    }
    let order =
        query_text(&stage.client, "SELECT impact_score::int::text FROM evolution_proposals ORDER BY consensus_sent_at")
            .await;
    assert_eq!(order.join(""), "987654321");
    stage.end().await;
}
