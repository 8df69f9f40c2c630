//! `voting_request`: this instance's own opinion, by its own record (domain §2.5).

use std::sync::Arc;

use pgflow::Failure;

use super::Own;
use crate::change::change_type;
use crate::consumers::{Consume, Context};
use crate::messages::VotingRequest;
use crate::producers::instance::cast_vote;
use crate::store;
use crate::voter::Question;

pub(crate) struct Voting(pub(crate) Arc<Own>);

impl Consume for Voting {
    type Payload = VotingRequest;

    async fn consume(&mut self, request: VotingRequest, cx: &Context<'_>) -> Result<&'static str, Failure> {
        let own = &self.0;
        let tx = cx.transaction().await?;
        let change_type = change_type(None, &request.code_change).tag();
        let record = store::agent_record(tx, &own.id, &request.agent_type);
        let (record, trusted_pattern) = tokio::try_join!(record, store::has_trusted_pattern(tx, change_type))?;
        let question = Question {
            record,
            trusted_pattern,
            agent_type: request.agent_type.clone(),
            risk_score: request.risk_score,
            success_rate: request.safety_profile.success_rate,
        };
        let opinion = own.voter.opinion(&question);
        tracing::info!(
            target: "evolution",
            proposal_id = %request.proposal_id,
            vote = opinion.vote.tag(),
            confidence = opinion.confidence,
            "vote cast: {}",
            opinion.reason
        );
        cast_vote(cx.transport(), tx, &own.id, &request, opinion).await?;
        Ok("voted")
    }
}
