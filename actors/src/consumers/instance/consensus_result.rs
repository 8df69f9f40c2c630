//! `consensus_result` (domain §1.4): an approval orders the execution, a rejection ends the proposal.

use std::sync::Arc;

use pgflow::Failure;

use super::{Own, release_target};
use crate::consumers::{ALREADY_PROCESSED, Consume, Context};
use crate::events::{CONSENSUS_APPROVED, CONSENSUS_REJECTED, tell};
use crate::hooks::Approved;
use crate::messages::{ConsensusResult, Vote};
use crate::producers::instance::order_execution;
use crate::proposal::{OnResult, State, on_result};
use crate::store;

pub(crate) struct ConsensusResults(pub(crate) Arc<Own>);

impl Consume for ConsensusResults {
    type Payload = ConsensusResult;

    async fn consume(&mut self, result: ConsensusResult, cx: &Context<'_>) -> Result<&'static str, Failure> {
        let id = result.proposal_id;
        self.0.is_mine(&result.instance_id)?;
        let tx = cx.transaction().await?;
        let Some(proposal) = store::lock_proposal(tx, id).await? else {
            return Err(Failure::retry(format!("proposal_not_found: {id}")));
        };
        let next = match on_result(proposal.status, &result.status) {
            OnResult::Execute => State::ConsensusReached,
            OnResult::Fail => State::ConsensusFailed,
            OnResult::AlreadyProcessed => return Ok(ALREADY_PROCESSED),
            OnResult::NotSent => return Err(Failure::retry(format!("proposal {id} was never sent"))),
        };
        let rationale = result.decision_rationale.as_deref();
        if !store::enter_decided(tx, id, next, &result.votes, &result.status, rationale).await? {
            return Ok(ALREADY_PROCESSED);
        }
        let why = rationale.unwrap_or("no reason given");
        if next == State::ConsensusReached {
            order_execution(cx.transport(), tx, &proposal, None).await?;
            if let Some(agent) = self.0.agents.of(&proposal.agent_type) {
                let in_favour = result.votes.iter().filter(|(_, ballot)| ballot.vote() == Vote::Approve);
                agent.on_change_approved(&Approved {
                    change_id: id,
                    approved_by: in_favour.map(|(instance, _)| instance.clone()).collect(),
                    consensus_score: result.confidence,
                });
            }
            tell!(CONSENSUS_APPROVED, proposal_id = %id, confidence = result.confidence, "consensus reached: {why}");
        } else {
            release_target(cx, tx, &proposal).await?;
            tell!(CONSENSUS_REJECTED, proposal_id = %id, confidence = result.confidence, "consensus failed: {why}");
        }
        Ok("processed")
    }
}
