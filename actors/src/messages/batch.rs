//! `metrics_batch` (domain §5.3): what an instance measured in a minute, on the queue of the metrics.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Envelope, Payload, queue};
use crate::batch::Agents;
use crate::invalid::{Invalid, present};

/// An instance's measurements, agent by agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricsBatch {
    /// Type, version, id.
    #[serde(flatten)]
    pub envelope: Envelope<Self>,
    /// Where they were measured.
    pub instance_id: String,
    /// Per agent type, per metric.
    pub agents: Agents,
    /// The oldest measurement.
    #[serde(with = "crate::json::utc")]
    #[schemars(with = "crate::json::Moment")]
    pub from: OffsetDateTime,
    /// When the batch was made.
    #[serde(with = "crate::json::utc")]
    #[schemars(with = "crate::json::Moment")]
    pub timestamp: OffsetDateTime,
}

impl Payload for MetricsBatch {
    const TYPE: &'static str = "metrics_batch";
    const QUEUE: &'static str = queue::METRICS_TO_GUARDIAN;
    const REQUIRED: &'static [&'static str] = &["instance_id", "agents", "from", "timestamp"];

    fn envelope(&self) -> &Envelope<Self> {
        &self.envelope
    }

    fn check(&self) -> Result<(), Invalid> {
        present("instance_id", &self.instance_id)
    }
}
