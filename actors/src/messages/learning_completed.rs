//! `learning_loop_completed` (domain §1.11).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Envelope, Payload, queue};
use crate::invalid::Invalid;

/// A run of the learning loop ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LearningLoopCompleted {
    /// Type, version, id.
    #[serde(flatten)]
    pub envelope: Envelope<Self>,
    /// Patterns that passed the gate.
    pub patterns_processed: u64,
    /// Rules made from them.
    pub rules_generated: u64,
    /// Profiles that changed and were sent.
    pub thresholds_updated: u64,
    /// When the run ended.
    #[serde(with = "crate::json::utc")]
    #[schemars(with = "crate::json::Moment")]
    pub timestamp: OffsetDateTime,
}

impl Payload for LearningLoopCompleted {
    const TYPE: &'static str = "learning_loop_completed";
    const QUEUE: &'static str = queue::LEARNING_LOOP_COMPLETED;
    const REQUIRED: &'static [&'static str] =
        &["patterns_processed", "rules_generated", "thresholds_updated", "timestamp"];

    fn envelope(&self) -> &Envelope<Self> {
        &self.envelope
    }

    fn check(&self) -> Result<(), Invalid> {
        Ok(())
    }
}
