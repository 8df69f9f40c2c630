//! `proposal_for_consensus` (domain §2.1): register with Guardian, then approve by likeness or open the vote.

use std::sync::Arc;

use pgflow::Failure;
use serde_json::Value;

use super::{Own, admit};
use crate::agents::built_in;
use crate::consensus::{Decision, Rule, Status};
use crate::consumers::{ALREADY_PROCESSED, Consume, Context};
use crate::events::{PROPOSAL_RECEIVED, tell};
use crate::intake::{Intake as Way, route};
use crate::json::{Object, three_decimals};
use crate::messages::ProposalForConsensus;
use crate::producers::central::{open_vote, send_consensus_result};
use crate::profile::Profile;
use crate::store::{self, NewVote};

pub(crate) struct Intake(pub(crate) Arc<Own>);

impl Consume for Intake {
    type Payload = ProposalForConsensus;

    async fn consume(&mut self, proposal: ProposalForConsensus, cx: &Context<'_>) -> Result<&'static str, Failure> {
        let settings = &self.0.settings.consensus;
        let id = proposal.proposal_id;
        let tx = cx.transaction().await?;
        let likeness = self.0.known_safe.likeness(tx, &proposal.code_change).await?;
        let learned = store::learned_profile(tx, &proposal.agent_type).await?;
        let profiles = [Some(proposal.safety_profile.clone()), built_in(&proposal.agent_type), learned];
        let profiles: Vec<Profile> = profiles.into_iter().flatten().collect();
        let way = route(likeness, proposal.risk_score, &profiles, settings);
        let (status, rule) = match way {
            Way::AutoApprove => (Status::AutoApproved, Rule::TwoThirds),
            Way::Vote { rule, .. } => (Status::Voting, rule),
        };
        let approved = status == Status::AutoApproved;
        let rationale = approved.then(|| format!("auto-approved, {likeness:.2} like a change known to be safe"));
        let new = NewVote { status, rule, similarity: likeness, rationale: rationale.clone(), window: settings.window };
        let change_type = change_word(&proposal.code_change);
        let Some(deadline) = store::insert_consensus(tx, &proposal, &change_type, &new).await? else {
            return Ok(ALREADY_PROCESSED);
        };
        tell!(
            PROPOSAL_RECEIVED,
            proposal_id = %id,
            instance_id = proposal.instance_id,
            agent_type = proposal.agent_type,
            impact = proposal.impact_score,
            risk = proposal.risk_score,
            "proposal received"
        );
        match way {
            Way::AutoApprove => {
                admit(cx, tx, &self.0, id, true).await?;
                let rationale = rationale.unwrap_or_default();
                let decision = Decision { status, confidence: three_decimals(likeness), rationale };
                send_consensus_result(cx.transport(), tx, (&proposal.instance_id, id), &[], &decision).await?;
            }
            Way::Vote { unfamiliar, .. } => {
                let window = settings.window.try_into().unwrap_or_default();
                let asked = open_vote(cx.transport(), tx, &proposal, deadline, window).await?;
                let known = if unfamiliar { "unlike anything known" } else { "familiar" };
                tracing::info!(target: "evolution", proposal_id = %id, asked, "vote opened, {known} ({likeness:.2})");
            }
        }
        Ok("proposal_recorded")
    }
}

/// What a change calls its own type, by which its rollback is planned.
fn change_word(change: &Object) -> String {
    let word = change.get("type").and_then(Value::as_str).filter(|w| !w.is_empty() && w.len() <= 63);
    word.unwrap_or("generic").to_owned()
}
