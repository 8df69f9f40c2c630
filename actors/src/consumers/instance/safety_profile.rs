//! `safety_profile_update` (domain §1.8): merged into what this instance holds for the agent type.

use std::sync::Arc;

use pgflow::Failure;

use super::Own;
use crate::consumers::{ALREADY_PROCESSED, Consume, Context};
use crate::events::{PROFILE_UPDATED, tell};
use crate::messages::SafetyProfileUpdate;
use crate::store::{self, LearnedProfile};

pub(crate) struct SafetyProfiles(pub(crate) Arc<Own>);

impl Consume for SafetyProfiles {
    type Payload = SafetyProfileUpdate;

    async fn consume(&mut self, update: SafetyProfileUpdate, cx: &Context<'_>) -> Result<&'static str, Failure> {
        let own = &self.0;
        if !update.is_broadcast() {
            own.is_mine(&update.instance_id)?;
        }
        let tx = cx.transaction().await?;
        let held = store::safety_profile(tx, &own.id, &update.agent_type).await?.unwrap_or_default();
        let learned = LearnedProfile {
            profile: held.merged(&update.safety_profile),
            agent_type: update.agent_type,
            source: update.source,
            learned_at: update.timestamp,
        };
        if !store::save_safety_profile(tx, &own.id, &learned).await? {
            return Ok(ALREADY_PROCESSED);
        }
        tell!(PROFILE_UPDATED, agent_type = learned.agent_type, source = learned.source, "safety profile updated");
        Ok("updated")
    }
}
