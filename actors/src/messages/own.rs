//! Messages a role sends to itself, so that a restart forgets neither work nor a timer.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Envelope, Payload, queue};
use crate::invalid::{Invalid, present};

/// An instance executes an approved proposal. Published with the change of state to `consensus_reached`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecuteProposal {
    /// Type, version, id.
    #[serde(flatten)]
    pub envelope: Envelope<Self>,
    /// The proposal.
    pub proposal_id: Uuid,
    /// The instance that owns the workspace.
    pub instance_id: String,
    /// When it was ordered.
    #[serde(with = "crate::json::utc")]
    pub timestamp: OffsetDateTime,
}

impl Payload for ExecuteProposal {
    const TYPE: &'static str = "execute_proposal";
    const QUEUE: &'static str = queue::PROPOSALS_FOR_EXECUTION;
    const REQUIRED: &'static [&'static str] = &["proposal_id", "instance_id", "timestamp"];

    fn envelope(&self) -> &Envelope<Self> {
        &self.envelope
    }

    fn check(&self) -> Result<(), Invalid> {
        present("instance_id", &self.instance_id)
    }
}

/// The voting time of a proposal is over: decide with the votes that are there. Published with a delay at intake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsensusDeadline {
    /// Type, version, id.
    #[serde(flatten)]
    pub envelope: Envelope<Self>,
    /// The proposal.
    pub proposal_id: Uuid,
    /// The last moment of the vote.
    #[serde(with = "crate::json::utc")]
    pub deadline: OffsetDateTime,
}

impl Payload for ConsensusDeadline {
    const TYPE: &'static str = "consensus_deadline";
    const QUEUE: &'static str = queue::CONSENSUS_DEADLINES;
    const REQUIRED: &'static [&'static str] = &["proposal_id", "deadline"];

    fn envelope(&self) -> &Envelope<Self> {
        &self.envelope
    }

    fn check(&self) -> Result<(), Invalid> {
        Ok(())
    }
}

/// An instance reads the metrics of an applied change once more. Each handling publishes the next, until the window closes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObserveChange {
    /// Type, version, id.
    #[serde(flatten)]
    pub envelope: Envelope<Self>,
    /// The change.
    pub proposal_id: Uuid,
    /// Where it is applied.
    pub instance_id: String,
    /// When the observation window closes.
    #[serde(with = "crate::json::utc")]
    pub until: OffsetDateTime,
}

impl Payload for ObserveChange {
    const TYPE: &'static str = "observe_change";
    const QUEUE: &'static str = queue::OBSERVATIONS;
    const REQUIRED: &'static [&'static str] = &["proposal_id", "instance_id", "until"];

    fn envelope(&self) -> &Envelope<Self> {
        &self.envelope
    }

    fn check(&self) -> Result<(), Invalid> {
        present("instance_id", &self.instance_id)
    }
}
