//! How votes travel (domain §2.5), an extension: the seed's six queues carry none.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::proposal::{check_scores, middle};
use super::{Envelope, Payload, ProposalForConsensus, queue};
use crate::invalid::{Invalid, InvalidKind, agent_type, in_range, present};
use crate::json::Object;
use crate::profile::Profile;
use crate::tag::tagged;

tagged! {
    /// What a voter says. There is no abstention: not voting is one.
    pub enum Vote {
        /// In favour.
        Approve = "approve",
        /// Against.
        Reject = "reject",
    }
}

/// Fewest characters in the reason of a vote.
pub const REASON_MIN_CHARS: usize = 10;

/// Central asks every instance to vote: the proposal, and until when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VotingRequest {
    /// Type, version, id.
    #[serde(flatten)]
    pub envelope: Envelope<Self>,
    /// The proposal.
    pub proposal_id: Uuid,
    /// The proposer, who votes too.
    pub instance_id: String,
    /// Who thought of it.
    pub agent_type: String,
    /// The change itself.
    pub code_change: Object,
    /// Expected benefit, 0..10.
    #[serde(default = "middle")]
    #[schemars(range(min = 0, max = 10))]
    pub impact_score: f64,
    /// Expected danger, 0..10.
    #[serde(default = "middle")]
    #[schemars(range(min = 0, max = 10))]
    pub risk_score: f64,
    /// The proposer's figures.
    #[serde(default)]
    pub safety_profile: Profile,
    /// Votes after this moment do not count.
    #[serde(with = "crate::json::utc")]
    #[schemars(with = "crate::json::Moment")]
    pub deadline: OffsetDateTime,
    /// When the request was made.
    #[serde(with = "crate::json::utc")]
    #[schemars(with = "crate::json::Moment")]
    pub timestamp: OffsetDateTime,
}

impl VotingRequest {
    /// The request for a proposal.
    pub fn about(proposal: &ProposalForConsensus, now: OffsetDateTime, deadline: OffsetDateTime) -> Self {
        Self {
            envelope: Envelope::new(),
            proposal_id: proposal.proposal_id,
            instance_id: proposal.instance_id.clone(),
            agent_type: proposal.agent_type.clone(),
            code_change: proposal.code_change.clone(),
            impact_score: proposal.impact_score,
            risk_score: proposal.risk_score,
            safety_profile: proposal.safety_profile.clone(),
            deadline,
            timestamp: now,
        }
    }
}

impl Payload for VotingRequest {
    const TYPE: &'static str = "voting_request";
    const QUEUE: &'static str = queue::VOTING_REQUESTS;
    const REQUIRED: &'static [&'static str] =
        &["proposal_id", "instance_id", "code_change", "agent_type", "deadline", "timestamp"];

    fn envelope(&self) -> &Envelope<Self> {
        &self.envelope
    }

    fn proposal(&self) -> Option<Uuid> {
        Some(self.proposal_id)
    }

    fn check(&self) -> Result<(), Invalid> {
        present("instance_id", &self.instance_id)?;
        agent_type(&self.agent_type)?;
        check_scores(self.impact_score, self.risk_score)?;
        self.safety_profile.validate()
    }
}

/// One instance's vote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConsensusVote {
    /// Type, version, id.
    #[serde(flatten)]
    pub envelope: Envelope<Self>,
    /// The proposal voted on.
    pub proposal_id: Uuid,
    /// The voter.
    pub instance_id: String,
    /// For or against.
    pub vote: Vote,
    /// How sure the voter is, 0..1; absent falls back on the length of the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub confidence: Option<f64>,
    /// Why.
    #[schemars(length(min = 10))]
    pub reason: String,
    /// When it was cast.
    #[serde(with = "crate::json::utc")]
    #[schemars(with = "crate::json::Moment")]
    pub timestamp: OffsetDateTime,
}

impl Payload for ConsensusVote {
    const TYPE: &'static str = "consensus_vote";
    const QUEUE: &'static str = queue::CONSENSUS_VOTES;
    const REQUIRED: &'static [&'static str] = &["proposal_id", "instance_id", "vote", "reason", "timestamp"];

    fn envelope(&self) -> &Envelope<Self> {
        &self.envelope
    }

    fn proposal(&self) -> Option<Uuid> {
        Some(self.proposal_id)
    }

    fn ordering_key(&self) -> Option<String> {
        Some(self.proposal_id.to_string())
    }

    fn check(&self) -> Result<(), Invalid> {
        present("instance_id", &self.instance_id)?;
        if let Some(confidence) = self.confidence {
            in_range(InvalidKind::InvalidConfidence, "confidence", confidence, 0.0, 1.0)?;
        }
        if self.reason.trim().chars().count() < REASON_MIN_CHARS {
            let detail = format!("reason has fewer than {REASON_MIN_CHARS} characters");
            return Err(Invalid::new(InvalidKind::InvalidReason, detail));
        }
        Ok(())
    }
}
