//! A hundred at once (domain §6.7).

use std::collections::BTreeSet;
use std::sync::Arc;

use pgflow::{Admin, Config};
use pgflow_actors::submit;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::stage::{Stage, calm, proposal};

/// Fear: under load a proposal is lost, voted on twice, or executed twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_concurrent_proposals_are_all_applied_once() {
    let stage = Stage::new(3, |role| {
        let mut settings = calm(role);
        settings.consensus.min_votes = 3;
        settings.consensus.window = time::Duration::seconds(120);
        settings
    })
    .await;
    let stage = Arc::new(stage);
    let mut submits = JoinSet::new();
    for n in 0..100_usize {
        let stage = Arc::clone(&stage);
        submits.spawn(async move {
            let line = proposal(&format!("n{n}.txt"), &format!("content {n}\n"));
            let instance = ["s1", "s2", "s3"][n % 3];
            let line = submit::read_line(&line.to_string(), instance).unwrap();
            let mut client = stage.db.client().await;
            submit::submit(&stage.transport, &mut client, instance, vec![line]).await.unwrap()[0]
        });
    }
    let ids: BTreeSet<Uuid> = submits.join_all().await.into_iter().collect();
    let Ok(stage) = Arc::try_unwrap(stage) else { panic!("all have submitted") };
    assert_eq!(ids.len(), 100);
    stage.until("SELECT count(*) FROM evolution_proposals WHERE status = 'applied'", "100").await;
    stage.until("SELECT count(*) FROM pgflow_messages WHERE status NOT IN ('done', 'scheduled')", "0").await;
    for (kind, count) in [
        ("proposal_for_consensus", "100"),
        ("voting_request", "300"),
        ("consensus_vote", "300"),
        ("consensus_result", "100"),
        ("execute_proposal", "100"),
        ("execution_metrics", "100"),
    ] {
        let done = format!("SELECT count(*) FROM pgflow_messages WHERE kind = '{kind}' AND status = 'done'");
        assert_eq!(stage.ask(&done).await, count, "{kind}");
    }
    for n in 0..100 {
        let instance = ["s1", "s2", "s3"][n % 3];
        assert_eq!(stage.bytes(instance, &format!("n{n}.txt")).unwrap(), format!("content {n}\n").as_bytes());
    }
    stage.end().await;
}

/// Fear: votes that arrive together are each counted as if the other were still to come, and nobody decides.
#[tokio::test(flavor = "multi_thread")]
async fn votes_that_arrive_together_are_all_counted() {
    const PROPOSALS: usize = 20;
    let stage = Stage::new(3, |role| {
        let mut settings = calm(role);
        settings.consensus.min_votes = 3;
        settings.consensus.window = time::Duration::hours(1);
        settings
    })
    .await;
    let admin = Admin::connect(&Config::new(stage.db.url())).await.unwrap();
    admin.pause_queue("consensus_votes_queue").await.unwrap();
    let lines: Vec<_> = (0..PROPOSALS).map(|n| proposal(&format!("n{n}.txt"), "new\n")).collect();
    stage.submit("s1", &lines).await;
    stage.until("SELECT count(*) FROM pgflow_messages WHERE kind = 'consensus_vote'", "60").await;
    admin.resume_queue("consensus_votes_queue").await.unwrap();
    stage.until("SELECT count(*) FROM evolution_proposals WHERE status = 'applied'", "20").await;
    stage.end().await;
}
