//! The law of states, as the database keeps it.

use std::collections::BTreeMap;

use pgflow_actors::messages::Verdict;
use pgflow_actors::proposal::State;
use pgflow_actors::store::{self, Run};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::stage::{Stage, calm, proposal};
use crate::support::query_text;

/// Fear: a state is entered from where it must not be: a second execution, a resurrection, a rollback of nothing.
#[tokio::test(flavor = "multi_thread")]
async fn every_edge_that_is_not_documented_is_refused() {
    let stage = Stage::new(0, calm).await;
    let id = stage.submit("s1", &[proposal("a.txt", "x\n")]).await[0];
    let client = &stage.client;
    let put = async |state: State| {
        let set = "UPDATE evolution_proposals SET status = $1, rollback_requested_at = NULL, kept_at = NULL WHERE proposal_id = $2";
        client.execute(set, &[&state, &id]).await.unwrap();
    };
    let enter = async |next: State| match next {
        State::Pending => false,
        State::SentForConsensus => store::send_proposal(client, id).await.unwrap().is_some(),
        State::ConsensusReached => {
            store::enter_decided(client, id, next, &BTreeMap::new(), &Verdict::Approved, None).await.unwrap()
        }
        State::ConsensusFailed => {
            store::enter_decided(client, id, next, &BTreeMap::new(), &Verdict::Rejected, None).await.unwrap()
        }
        State::Executing => store::enter_executing(client, id).await.unwrap().is_some(),
        State::Applied => store::enter_applied(client, id, &Run::default(), OffsetDateTime::now_utc()).await.unwrap(),
        State::Failed => store::enter_failed(client, id, "why", &Run::default()).await.unwrap(),
        State::RolledBack => {
            store::request_rollback(client, id, "s1").await.unwrap();
            store::enter_rolled_back(client, id, "why").await.unwrap()
        }
    };
    for from in State::ALL {
        for next in State::ALL {
            put(*from).await;
            // A run that was cut short begins again; a failed change has nothing in place.
            let allowed = match (from, next) {
                (State::Executing, State::Executing) => true,
                (State::Failed, State::RolledBack) => false,
                _ => from.may_become(*next),
            };
            assert_eq!(enter(*next).await, allowed, "{from} to {next}");
            let now = query_text(client, "SELECT status FROM evolution_proposals").await;
            assert_eq!(now, [if allowed { next.tag() } else { from.tag() }], "{from} to {next}");
        }
    }
    assert_eq!(refused_by_rollback(&stage, id).await, [false, false]);
    stage.end().await;
}

/// Once a rollback was asked for, no execution begins or ends well.
async fn refused_by_rollback(stage: &Stage, id: Uuid) -> [bool; 2] {
    let set = "UPDATE evolution_proposals SET status = 'executing', rollback_requested_at = clock_timestamp()";
    stage.client.execute(set, &[]).await.unwrap();
    [
        store::enter_executing(&stage.client, id).await.unwrap().is_some(),
        store::enter_applied(&stage.client, id, &Run::default(), OffsetDateTime::now_utc()).await.unwrap(),
    ]
}
