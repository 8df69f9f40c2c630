//! Upstream's defects (domain §7) that only show across processes; the others are in tests/domain/defects.rs.

use pgflow_actors::messages::{ConsensusVote, Envelope, Vote};
use pgflow_actors::queue::get_proposal;
use pgflow_actors::wire::Wire;
use time::OffsetDateTime;

use crate::stage::{Stage, brisk, calm, proposal};

/// `get_proposal` answered a bare record on a cache miss: there is no cache, and one shape.
#[tokio::test(flavor = "multi_thread")]
async fn get_proposal_answers_the_same_before_and_after_a_restart() {
    let mut stage = Stage::new(1, calm).await;
    let id = stage.submit("s1", &[proposal("a.txt", "good\n")]).await[0];
    stage.until_status(id, "applied").await;
    let before = get_proposal(&stage.client, id).await.unwrap();
    stage.kill_instance("s1");
    let after = get_proposal(&stage.client, id).await.unwrap();
    assert_eq!((before.status, before.metrics_before), (after.status, after.metrics_before));
    stage.start_instance("s1").await;
    stage.end().await;
}

/// `mark_applied` read a key `metrics` that was never there: both readings are kept with the state.
#[tokio::test(flavor = "multi_thread")]
async fn an_applied_proposal_has_its_metrics() {
    let stage = Stage::new(1, calm).await;
    let id = stage.submit("s1", &[proposal("a.txt", "good\n")]).await[0];
    stage.until_status(id, "applied").await;
    let kept = "SELECT (metrics_before ->> 'execution_count') || ' ' || (metrics_after ->> 'execution_count') FROM evolution_proposals";
    assert_eq!(stage.ask(kept).await, "40 80");
    stage.end().await;
}

/// Votes after a decision executed the change once more.
#[tokio::test(flavor = "multi_thread")]
async fn a_vote_after_the_decision_changes_nothing() {
    let stage = Stage::new(1, calm).await;
    let id = stage.submit("s1", &[proposal("a.txt", "good\n")]).await[0];
    stage.until_status(id, "applied").await;
    let late = |vote, confidence| ConsensusVote {
        envelope: Envelope::new(),
        proposal_id: id,
        instance_id: "latecomer".to_owned(),
        vote,
        confidence: Some(confidence),
        reason: "I was away for a while".to_owned(),
        timestamp: OffsetDateTime::now_utc(),
    };
    for vote in [late(Vote::Approve, 0.99), late(Vote::Reject, 0.99)] {
        stage.publisher.publish(&Wire::of(vote)).await.unwrap();
    }
    stage.until("SELECT count(*) FROM pgflow_messages WHERE kind = 'consensus_vote' AND status = 'done'", "3").await;
    assert_eq!(stage.ask("SELECT count(*) FROM evolution_consensus_votes").await, "1");
    let caused = "SELECT count(*) FROM pgflow_messages WHERE kind IN ('consensus_result', 'execute_proposal')";
    assert_eq!(stage.ask(caused).await, "2");
    assert_eq!(stage.status(id).await, "applied");
    stage.end().await;
}

/// The acknowledge call was a stub that always said ok, so that every message would be read again; and it popped some
/// message, not the one it named.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_that_message_and_is_not_read_again() {
    let mut stage = Stage::new(1, brisk).await;
    let ids = stage.submit("s1", &[proposal("a.txt", "good\n"), proposal("b.txt", "good\n")]).await;
    for id in ids {
        stage.until_status(id, "applied").await;
    }
    stage.until("SELECT count(*) FROM evolution_approved_changes WHERE status = 'succeeded'", "2").await;
    let runs = "SELECT count(*) || ' ' || count(DISTINCT id) || ' ' || max(retry_count) FROM pgflow_messages WHERE kind = 'execute_proposal' AND status = 'done'";
    assert_eq!(stage.ask(runs).await, "2 2 0");
    stage.kill_instance("s1");
    stage.kill_central();
    stage.start_central().await;
    stage.start_instance("s1").await;
    stage.until("SELECT count(*) FROM pgflow_messages WHERE status NOT IN ('done', 'scheduled')", "0").await;
    assert_eq!(stage.ask(runs).await, "2 2 0", "a restart reads nothing again");
    stage.end().await;
}
