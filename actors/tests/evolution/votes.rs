//! The end of the voting time: what was published by then counts, whenever it is handled, and nothing else does.

use pgflow::{Admin, Config};
use pgflow_actors::messages::{ConsensusVote, Envelope, Vote};
use pgflow_actors::settings::{Role, Settings};
use pgflow_actors::store;
use pgflow_actors::wire::Wire;

use crate::stage::{Stage, calm, proposal};

fn two_seconds(role: Role) -> Settings {
    let mut settings = calm(role);
    settings.consensus.min_votes = 3;
    settings.consensus.window = time::Duration::seconds(2);
    settings
}

const PASSED: &str = "SELECT clock_timestamp() > deadline FROM evolution_consensus";
const UNCOUNTED: &str = "SELECT count(*) FROM pgflow_messages WHERE kind = 'consensus_vote' AND status <> 'done'";
const STATUS: &str = "SELECT status FROM evolution_consensus";

/// Fear: votes that were cast in time and wait in their queue are shut out by the deadline, which overtakes them.
#[tokio::test(flavor = "multi_thread")]
async fn a_vote_that_waits_in_its_queue_at_the_deadline_counts() {
    let stage = Stage::new(3, two_seconds).await;
    let admin = Admin::connect(&Config::new(stage.db.url())).await.unwrap();
    admin.pause_queue("consensus_votes_queue").await.unwrap();
    let id = stage.submit("s1", &[proposal("a.txt", "better\n")]).await[0];
    stage.until(UNCOUNTED, "3").await;
    assert_eq!(stage.ask(PASSED).await, "f", "they are in time");
    // The deadline has been handled, and not decided.
    stage.until("SELECT count(*) > 1 FROM pgflow_attempts WHERE event = 'snoozed'", "t").await;
    assert_eq!((stage.ask(PASSED).await, stage.ask(STATUS).await), ("t".to_owned(), "voting".to_owned()));
    admin.resume_queue("consensus_votes_queue").await.unwrap();
    stage.until_status(id, "applied").await;
    assert_eq!(stage.ask("SELECT rationale FROM evolution_consensus").await, "approved 3/3, mean 0.93");
    stage.end().await;
}

/// Fear: a vote is counted though the time was over, if only it says that it is older, or nobody has decided yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_vote_that_is_published_after_the_deadline_is_refused() {
    let stage = Stage::new(2, two_seconds).await;
    let admin = Admin::connect(&Config::new(stage.db.url())).await.unwrap();
    admin.pause_queue("consensus_deadlines_queue").await.unwrap();
    let id = stage.submit("s1", &[proposal("a.txt", "better\n")]).await[0];
    stage.until("SELECT count(*) FROM evolution_consensus_votes", "2").await;
    let begun = time::OffsetDateTime::now_utc();
    stage.until(PASSED, "t").await;
    let vote = ConsensusVote {
        envelope: Envelope::new(),
        proposal_id: id,
        instance_id: "latecomer".to_owned(),
        vote: Vote::Approve,
        confidence: Some(0.99),
        reason: "I say that I voted earlier".to_owned(),
        timestamp: begun,
    };
    stage.publisher.publish(&Wire::of(vote)).await.unwrap();
    stage.until("SELECT count(*) FROM pgflow_messages WHERE kind = 'consensus_vote' AND status = 'done'", "3").await;
    assert_eq!(stage.ask(STATUS).await, "voting", "nobody has decided yet");
    assert_eq!(stage.ask("SELECT count(*) FROM evolution_consensus_votes").await, "2");
    admin.resume_queue("consensus_deadlines_queue").await.unwrap();
    stage.until_status(id, "consensus_failed").await;
    assert_eq!(stage.ask("SELECT rationale FROM evolution_consensus").await, "timeout: 2 of 3 votes");
    stage.end().await;
}

/// Fear: votes that come after the decision are noted as under way for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_vote_that_comes_after_the_decision_leaves_nothing() {
    let stage = Stage::new(1, calm).await;
    let id = stage.submit("s1", &[proposal("a.txt", "better\n")]).await[0];
    stage.until_status(id, "applied").await;
    store::note_vote(&stage.client, id, "latecomer").await.unwrap();
    let vote = ConsensusVote {
        envelope: Envelope::new(),
        proposal_id: id,
        instance_id: "latecomer".to_owned(),
        vote: Vote::Approve,
        confidence: Some(0.99),
        reason: "I was busy until now".to_owned(),
        timestamp: time::OffsetDateTime::now_utc(),
    };
    stage.publisher.publish(&Wire::of(vote)).await.unwrap();
    stage.until("SELECT count(*) FROM evolution_votes_cast", "0").await;
    stage.end().await;
}
