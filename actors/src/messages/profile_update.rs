//! `safety_profile_update` (domain §1.8).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Envelope, Payload, queue};
use crate::invalid::{Invalid, agent_type, present};
use crate::profile::Profile;

/// The `instance_id` that means every instance.
pub const BROADCAST: &str = "broadcast";

/// The documented `source` of learned profiles.
pub const GENESIS_SOURCE: &str = "genesis_learning_loop";

/// Central sends the thresholds it learned for an agent type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SafetyProfileUpdate {
    /// Type, version, id.
    #[serde(flatten)]
    pub envelope: Envelope<Self>,
    /// An instance, or [`BROADCAST`].
    pub instance_id: String,
    /// Whose profile.
    pub agent_type: String,
    /// Who learned it.
    #[serde(default = "genesis")]
    pub source: String,
    /// The thresholds.
    pub safety_profile: Profile,
    /// When they were learned.
    #[serde(with = "crate::json::utc")]
    #[schemars(with = "crate::json::Moment")]
    pub timestamp: OffsetDateTime,
}

fn genesis() -> String {
    GENESIS_SOURCE.to_owned()
}

impl SafetyProfileUpdate {
    /// Is it meant for every instance?
    pub fn is_broadcast(&self) -> bool {
        self.instance_id == BROADCAST
    }
}

impl Payload for SafetyProfileUpdate {
    const TYPE: &'static str = "safety_profile_update";
    const QUEUE: &'static str = queue::GUARDIAN_SAFETY_PROFILES;
    const REQUIRED: &'static [&'static str] = &["instance_id", "agent_type", "safety_profile", "timestamp"];

    fn envelope(&self) -> &Envelope<Self> {
        &self.envelope
    }

    fn ordering_key(&self) -> Option<String> {
        Some(self.agent_type.clone())
    }

    fn check(&self) -> Result<(), Invalid> {
        present("instance_id", &self.instance_id)?;
        agent_type(&self.agent_type)?;
        self.safety_profile.validate()
    }
}
