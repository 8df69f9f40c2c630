//! `proposal_for_consensus` (domain §1.3).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Envelope, Payload, queue};
use crate::invalid::{Invalid, InvalidKind, agent_type, in_range, present};
use crate::json::Object;
use crate::profile::Profile;

/// An instance asks central for consent to a change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProposalForConsensus {
    /// Type, version, id.
    #[serde(flatten)]
    pub envelope: Envelope<Self>,
    /// The proposal.
    pub proposal_id: Uuid,
    /// The proposer.
    pub instance_id: String,
    /// Who thought of it, e.g. `BugFixerAgent`.
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
    /// The proposer's figures and wishes.
    #[serde(default)]
    pub safety_profile: Profile,
    /// When it was proposed.
    #[serde(with = "crate::json::utc")]
    #[schemars(with = "crate::json::Moment")]
    pub timestamp: OffsetDateTime,
}

pub(super) const fn middle() -> f64 {
    5.0
}

pub(super) fn check_scores(impact: f64, risk: f64) -> Result<(), Invalid> {
    in_range(InvalidKind::InvalidImpactScore, "impact_score", impact, 0.0, 10.0)?;
    in_range(InvalidKind::InvalidRiskScore, "risk_score", risk, 0.0, 10.0)
}

impl Payload for ProposalForConsensus {
    const TYPE: &'static str = "proposal_for_consensus";
    const QUEUE: &'static str = queue::PROPOSALS_FOR_CONSENSUS;
    const REQUIRED: &'static [&'static str] = &["proposal_id", "instance_id", "code_change", "agent_type", "timestamp"];

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
