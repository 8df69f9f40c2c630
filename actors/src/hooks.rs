//! What an agent may be told and asked (domain §3.2, AgentBehavior): all of it optional, but its name.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::json::Object;
use crate::messages::Limit;
use crate::profile::Profile;

/// An approved change.
#[derive(Debug, Clone, PartialEq)]
pub struct Approved {
    /// The change.
    pub change_id: Uuid,
    /// Who voted for it; nobody, if it was so like a known one that nobody was asked.
    pub approved_by: Vec<String>,
    /// The mean confidence.
    pub consensus_score: f64,
}

/// A change that was taken back.
#[derive(Debug, Clone, PartialEq)]
pub struct TakenBack {
    /// The change.
    pub change_id: Uuid,
    /// Why.
    pub reason: String,
    /// What was broken.
    pub limit: Limit,
}

/// An agent type of an instance. Calls must be quick, and may be repeated: a message may be handled twice.
pub trait Agent: Send + Sync + 'static {
    /// Which, e.g. `BugFixerAgent`.
    fn agent_type(&self) -> &str;

    /// A change of its was sent to central.
    fn on_change_proposed(&self, _change_id: Uuid, _change: &Object, _metadata: &Object) {}

    /// A change of its was approved, and will be executed.
    fn on_change_approved(&self, _: &Approved) {}

    /// A change of its was taken back; everything is as before.
    fn on_rollback_triggered(&self, _: &TakenBack) {}

    /// A change of its proved itself and was reported as a pattern.
    fn on_pattern_learned(&self, _pattern_type: &str, _pattern: &Object) {}

    /// Limits of its own for a change. Like any profile they can only tighten.
    fn safety_profile(&self, _change: &Object) -> Option<Profile> {
        None
    }
}

/// The agents of an instance.
#[derive(Clone, Default)]
pub struct Agents {
    by_type: HashMap<String, Arc<dyn Agent>>,
}

impl Agents {
    /// Adds an agent; the last one of a type is the one.
    #[must_use]
    pub fn with(mut self, agent: impl Agent) -> Self {
        self.by_type.insert(agent.agent_type().to_owned(), Arc::new(agent));
        self
    }

    /// The agent of a type, if it wants to know.
    pub(crate) fn of(&self, agent_type: &str) -> Option<&dyn Agent> {
        self.by_type.get(agent_type).map(AsRef::as_ref)
    }
}
