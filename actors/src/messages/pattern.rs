//! `pattern_discovered` (domain §1.6).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use super::{Envelope, Payload, queue};
use crate::invalid::{Invalid, InvalidKind, agent_type, in_range, present};
use crate::json::Object;

/// An instance found a pattern that works.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PatternDiscovered {
    /// Type, version, id.
    #[serde(flatten)]
    pub envelope: Envelope<Self>,
    /// The finder.
    pub instance_id: String,
    /// What sort of pattern: a lower-case word.
    #[schemars(regex(pattern = "^[a-z][a-z0-9_]{0,62}$"))]
    pub pattern_type: String,
    /// Whose work showed it; routes the learned profile.
    pub agent_type: String,
    /// How often it worked, 0..1.
    #[schemars(range(min = 0, max = 1))]
    pub success_rate: f64,
    /// `description` is required, `name` defaults to its first line; `before` and `after` are code.
    pub code_pattern: Object,
    /// When it was found.
    #[serde(with = "crate::json::utc")]
    #[schemars(with = "crate::json::Moment")]
    pub timestamp: OffsetDateTime,
}

/// Pattern types are words from outside: checked, and never turned into anything that lives for ever.
pub(crate) fn is_pattern_type(word: &str) -> bool {
    let mut chars = word.chars();
    chars.next().is_some_and(|c| c.is_ascii_lowercase())
        && word.len() <= 63
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

impl PatternDiscovered {
    /// The pattern's description.
    pub fn description(&self) -> &str {
        self.code_pattern.get("description").and_then(Value::as_str).unwrap_or_default()
    }

    /// The pattern's name; without one, the first line of its description.
    pub fn name(&self) -> &str {
        let given = self.code_pattern.get("name").and_then(Value::as_str).map(str::trim);
        match given {
            Some(name) if !name.is_empty() => name,
            _ => self.description().trim().lines().next().unwrap_or_default().trim(),
        }
    }
}

impl Payload for PatternDiscovered {
    const TYPE: &'static str = "pattern_discovered";
    const QUEUE: &'static str = queue::PATTERNS_FOR_AGGREGATOR;
    const REQUIRED: &'static [&'static str] =
        &["instance_id", "pattern_type", "agent_type", "success_rate", "code_pattern", "timestamp"];

    fn envelope(&self) -> &Envelope<Self> {
        &self.envelope
    }

    fn ordering_key(&self) -> Option<String> {
        Some(self.pattern_type.clone())
    }

    fn check(&self) -> Result<(), Invalid> {
        present("instance_id", &self.instance_id)?;
        agent_type(&self.agent_type)?;
        if !is_pattern_type(&self.pattern_type) {
            let detail = "pattern_type is not a lower-case word of at most 63 characters";
            return Err(Invalid::new(InvalidKind::InvalidPatternType, detail));
        }
        in_range(InvalidKind::InvalidSuccessRate, "success_rate", self.success_rate, 0.0, 1.0)?;
        if self.description().trim().is_empty() {
            return Err(Invalid::new(InvalidKind::InvalidCodePattern, "code_pattern has no description"));
        }
        Ok(())
    }
}
