//! `execution_metrics` (domain §1.5).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Envelope, Payload, queue};
use crate::batch::values_of;
use crate::invalid::{Invalid, InvalidKind, present};
use crate::metrics::Metrics;
use crate::proposal::State;

/// An instance reports what a change did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExecutionMetrics {
    /// Type, version, id.
    #[serde(flatten)]
    pub envelope: Envelope<Self>,
    /// The change.
    pub proposal_id: Uuid,
    /// Where it runs.
    pub instance_id: String,
    /// Whose change it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<String>,
    /// Before the change.
    pub metrics_before: Metrics,
    /// After it.
    pub metrics_after: Metrics,
    /// The proposal's state when this was written, e.g. `applied`; `rolled_back` closes the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Metrics that passed their limits and are held against another change in the same workspace: metric and change.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shadowed: BTreeMap<String, Uuid>,
    /// When the report was written.
    #[serde(with = "crate::json::utc")]
    #[schemars(with = "crate::json::Moment")]
    pub timestamp: OffsetDateTime,
}

impl Payload for ExecutionMetrics {
    const TYPE: &'static str = "execution_metrics";
    const QUEUE: &'static str = queue::METRICS_TO_GUARDIAN;
    const REQUIRED: &'static [&'static str] =
        &["proposal_id", "instance_id", "metrics_before", "metrics_after", "timestamp"];

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
        self.metrics_before.validate()?;
        self.metrics_after.validate()?;
        // Of a change in place, nothing measured would pass for nothing wrong.
        if self.status.as_deref() == Some(State::Applied.tag()) && values_of(&self.metrics_after).is_empty() {
            return Err(Invalid::new(InvalidKind::InvalidMetrics, "metrics_after holds no metric that is known"));
        }
        Ok(())
    }
}
