//! Messages a role sends to itself, so that a restart forgets neither work nor a timer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Envelope, Payload, queue};
use crate::invalid::{Invalid, present};

/// An instance executes an approved proposal. Published with the change of state to `consensus_reached`; and by central once an order
/// is dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExecuteProposal {
    /// Type, version, id.
    #[serde(flatten)]
    pub envelope: Envelope<Self>,
    /// The proposal.
    pub proposal_id: Uuid,
    /// The instance that owns the workspace.
    pub instance_id: String,
    /// Why the order before this one died: nothing is executed, what that left is taken back, and the proposal fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub died: Option<String>,
    /// When it was ordered.
    #[serde(with = "crate::json::utc")]
    #[schemars(with = "crate::json::Moment")]
    pub timestamp: OffsetDateTime,
}

impl Payload for ExecuteProposal {
    const TYPE: &'static str = "execute_proposal";
    const QUEUE: &'static str = queue::PROPOSALS_FOR_EXECUTION;
    const REQUIRED: &'static [&'static str] = &["proposal_id", "instance_id", "timestamp"];

    fn envelope(&self) -> &Envelope<Self> {
        &self.envelope
    }

    fn proposal(&self) -> Option<Uuid> {
        Some(self.proposal_id)
    }

    fn check(&self) -> Result<(), Invalid> {
        present("instance_id", &self.instance_id)
    }
}

/// The voting time of a proposal is over: decide with the votes that are there. Published with a delay at intake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsensusDeadline {
    /// Type, version, id.
    #[serde(flatten)]
    pub envelope: Envelope<Self>,
    /// The proposal.
    pub proposal_id: Uuid,
    /// The last moment of the vote.
    #[serde(with = "crate::json::utc")]
    #[schemars(with = "crate::json::Moment")]
    pub deadline: OffsetDateTime,
}

impl Payload for ConsensusDeadline {
    const TYPE: &'static str = "consensus_deadline";
    const QUEUE: &'static str = queue::CONSENSUS_DEADLINES;
    const REQUIRED: &'static [&'static str] = &["proposal_id", "deadline"];

    fn envelope(&self) -> &Envelope<Self> {
        &self.envelope
    }

    fn proposal(&self) -> Option<Uuid> {
        Some(self.proposal_id)
    }

    fn check(&self) -> Result<(), Invalid> {
        Ok(())
    }
}

/// An instance reads the metrics of an applied change once more. Each handling publishes the next, until the window closes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    #[schemars(with = "crate::json::Moment")]
    pub until: OffsetDateTime,
}

impl Payload for ObserveChange {
    const TYPE: &'static str = "observe_change";
    const QUEUE: &'static str = queue::OBSERVATIONS;
    const REQUIRED: &'static [&'static str] = &["proposal_id", "instance_id", "until"];

    fn envelope(&self) -> &Envelope<Self> {
        &self.envelope
    }

    fn proposal(&self) -> Option<Uuid> {
        Some(self.proposal_id)
    }

    fn check(&self) -> Result<(), Invalid> {
        present("instance_id", &self.instance_id)
    }
}

/// An instance sends what waits in its proposal queue, best score first. Published whenever something may have become
/// sendable: a submission, or the end of a change that held a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SendProposals {
    /// Type, version, id.
    #[serde(flatten)]
    pub envelope: Envelope<Self>,
    /// Whose queue.
    pub instance_id: String,
}

impl Payload for SendProposals {
    const TYPE: &'static str = "send_proposals";
    const QUEUE: &'static str = queue::PROPOSALS_TO_SEND;
    const REQUIRED: &'static [&'static str] = &["instance_id"];

    fn envelope(&self) -> &Envelope<Self> {
        &self.envelope
    }

    fn check(&self) -> Result<(), Invalid> {
        present("instance_id", &self.instance_id)
    }
}

/// Central looks after an approved change: silence raises an alert, a clean end of the window closes it. Each handling
/// publishes the next, until the change is closed. The first report begins one chain, and ends the one that waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WatchChange {
    /// Type, version, id.
    #[serde(flatten)]
    pub envelope: Envelope<Self>,
    /// The change.
    pub proposal_id: Uuid,
    /// It is the first report that is waited for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub awaits_first: bool,
}

impl Payload for WatchChange {
    const TYPE: &'static str = "watch_change";
    const QUEUE: &'static str = queue::CHANGE_WATCHES;
    const REQUIRED: &'static [&'static str] = &["proposal_id"];

    fn envelope(&self) -> &Envelope<Self> {
        &self.envelope
    }

    fn proposal(&self) -> Option<Uuid> {
        Some(self.proposal_id)
    }

    fn check(&self) -> Result<(), Invalid> {
        Ok(())
    }
}

/// Central looks for what dead letters were to do. Each handling publishes the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckHealth {
    /// Type, version, id.
    #[serde(flatten)]
    pub envelope: Envelope<Self>,
    /// When it was due, by the clock of whoever ordered it; the next one is due later than that.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<crate::json::Moment>")]
    pub due: Option<OffsetDateTime>,
}

impl Payload for CheckHealth {
    const TYPE: &'static str = "check_health";
    const QUEUE: &'static str = queue::HEALTH_CHECKS;
    const REQUIRED: &'static [&'static str] = &[];

    fn envelope(&self) -> &Envelope<Self> {
        &self.envelope
    }

    fn check(&self) -> Result<(), Invalid> {
        Ok(())
    }
}

/// An instance sends what it measured since the last batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FlushMetrics {
    /// Type, version, id.
    #[serde(flatten)]
    pub envelope: Envelope<Self>,
    /// Whose.
    pub instance_id: String,
}

impl Payload for FlushMetrics {
    const TYPE: &'static str = "flush_metrics";
    const QUEUE: &'static str = queue::METRICS_TO_SEND;
    const REQUIRED: &'static [&'static str] = &["instance_id"];

    fn envelope(&self) -> &Envelope<Self> {
        &self.envelope
    }

    fn check(&self) -> Result<(), Invalid> {
        present("instance_id", &self.instance_id)
    }
}

/// Central runs the learning loop once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunLearning {
    /// Type, version, id.
    #[serde(flatten)]
    pub envelope: Envelope<Self>,
    /// The run, by which its figures are found.
    pub run_id: Uuid,
}

impl Payload for RunLearning {
    const TYPE: &'static str = "run_learning";
    const QUEUE: &'static str = queue::LEARNING_RUNS;
    const REQUIRED: &'static [&'static str] = &["run_id"];

    fn envelope(&self) -> &Envelope<Self> {
        &self.envelope
    }

    fn check(&self) -> Result<(), Invalid> {
        Ok(())
    }
}
