//! `consensus_result` (domain §1.4).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Envelope, Payload, Vote, queue};
use crate::invalid::{Invalid, InvalidKind, in_range, present};

/// The decision as it travels. An unknown word decodes, so that it is refused as `unknown_status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Do it.
    Approved,
    /// Do not.
    Rejected,
    /// Neither; never passes validation.
    #[serde(untagged)]
    #[schemars(skip)]
    Unknown(String),
}

/// One entry of `votes`: the bare word, or the vote with its confidence and reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Ballot {
    /// `"approve"`.
    Word(Vote),
    /// `{"vote": "approve", …}`.
    Detail(BallotDetail),
}

impl Ballot {
    /// For or against.
    pub const fn vote(&self) -> Vote {
        match self {
            Self::Word(vote) => *vote,
            Self::Detail(detail) => detail.vote,
        }
    }
}

/// A vote in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BallotDetail {
    /// For or against.
    pub vote: Vote,
    /// How sure, 0..1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Central tells the proposer what was decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConsensusResult {
    /// Type, version, id.
    #[serde(flatten)]
    pub envelope: Envelope<Self>,
    /// The proposal.
    pub proposal_id: Uuid,
    /// The proposer, to whom this is addressed.
    pub instance_id: String,
    /// Approved or rejected.
    pub status: Verdict,
    /// Who voted what.
    #[serde(default)]
    pub votes: BTreeMap<String, Ballot>,
    /// Mean confidence, 0..1.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub confidence: f64,
    /// Why it was decided so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision_rationale: Option<String>,
    /// When it was decided.
    #[serde(with = "crate::json::utc")]
    #[schemars(with = "crate::json::Moment")]
    pub timestamp: OffsetDateTime,
}

impl Payload for ConsensusResult {
    const TYPE: &'static str = "consensus_result";
    const QUEUE: &'static str = queue::CONSENSUS_RESULTS;
    const REQUIRED: &'static [&'static str] = &["proposal_id", "instance_id", "status", "timestamp"];

    fn envelope(&self) -> &Envelope<Self> {
        &self.envelope
    }

    fn proposal(&self) -> Option<Uuid> {
        Some(self.proposal_id)
    }

    fn check(&self) -> Result<(), Invalid> {
        present("instance_id", &self.instance_id)?;
        if let Verdict::Unknown(word) = &self.status {
            return Err(Invalid::new(InvalidKind::UnknownStatus, format!("status is `{word}`")));
        }
        in_range(InvalidKind::InvalidConfidence, "confidence", self.confidence, 0.0, 1.0)
    }
}
