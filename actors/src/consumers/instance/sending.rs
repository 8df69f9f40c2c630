//! The proposal queue: sends what waits, best score first, one open change a target (domain §5.1, §7.16).
//!
//! A proposal whose target is held waits in `pending`; the end of the change that holds it publishes this message again.

use std::sync::Arc;

use pgflow::Failure;

use super::Own;
use crate::consumers::{Consume, Context};
use crate::messages::SendProposals;
use crate::producers::instance::{propose_for_consensus, send_proposals};
use crate::store;

/// Most proposals of one transaction.
const BATCH_MAX: i64 = 100;

pub(crate) struct Sending(pub(crate) Arc<Own>);

impl Consume for Sending {
    type Payload = SendProposals;

    async fn consume(&mut self, message: SendProposals, cx: &Context<'_>) -> Result<&'static str, Failure> {
        self.0.is_mine(&message.instance_id)?;
        // Of many submissions at once the first word sends all: the others find nothing, and cost no transaction.
        let client = self.0.database.client().await?;
        if !store::waits_to_be_sent(&*client, &self.0.id).await? {
            return Ok("sent");
        }
        let tx = cx.transaction().await?;
        let proposals = store::send_next_proposals(tx, &self.0.id, BATCH_MAX).await?;
        if proposals.is_empty() {
            return Ok("sent");
        }
        propose_for_consensus(cx.transport(), tx, &proposals).await?;
        for proposal in &proposals {
            if let Some(agent) = self.0.agents.of(&proposal.agent_type) {
                agent.on_change_proposed(proposal.proposal_id, &proposal.code_change, &proposal.metadata);
            }
        }
        if i64::try_from(proposals.len()).is_ok_and(|sent| sent < BATCH_MAX) {
            return Ok("sent");
        }
        // There may be more.
        send_proposals(cx.transport(), tx, &self.0.id).await?;
        Ok("sent")
    }
}
