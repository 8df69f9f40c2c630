//! `consensus_vote` (domain §2.2, §2.3): counted once an instance, decided at every vote.

use std::sync::Arc;

use pgflow::Failure;
use time::{Duration, OffsetDateTime};

use super::{Own, try_to_decide};
use crate::consensus::Status;
use crate::consumers::{Consume, Context};
use crate::messages::ConsensusVote;
use crate::store;
use crate::voting::{CastVote, admit};

pub(crate) struct Votes(pub(crate) Arc<Own>);

impl Consume for Votes {
    type Payload = ConsensusVote;

    async fn consume(&mut self, message: ConsensusVote, cx: &Context<'_>) -> Result<&'static str, Failure> {
        let id = message.proposal_id;
        let tx = cx.transaction().await?;
        let Some(open) = store::lock_consensus(tx, id).await? else {
            return Err(Failure::retry(format!("unknown_proposal: {id}")));
        };
        let vote = CastVote::from(&message);
        let mut votes = store::votes_on(tx, id).await?;
        if let Err(refusal) = admit(&votes, &vote, open.status != Status::Voting) {
            store::forget_vote(tx, id, &vote.instance_id).await?;
            return Ok(refusal.tag());
        }
        // What counts is when it was published, by the database's clock: it may have waited, and its voter's clock may be wrong.
        let published = OffsetDateTime::from(cx.incoming().created_at);
        if published > open.deadline {
            return Ok("too_late");
        }
        store::insert_vote(tx, id, &vote).await?;
        tracing::info!(
            target: "evolution",
            proposal_id = %id,
            instance_id = vote.instance_id,
            vote = vote.vote.tag(),
            confidence = vote.confidence,
            "vote counted"
        );
        // The deadline itself is the business of its own message, which waits for votes that are on their way.
        let now = published.min(open.deadline - Duration::MILLISECOND);
        votes.push(vote);
        try_to_decide(cx, tx, &self.0, (id, &open), votes, now).await?;
        Ok("vote_recorded")
    }
}
