//! Safety profiles (domain §3.2): four vocabularies in one struct, every field optional, unknown keys kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::invalid::{Invalid, InvalidKind, in_range};
use crate::json::Object;
use crate::tag::tagged;

tagged! {
    /// A three-step scale.
    pub enum Level {
        /// The least.
        Low = "low",
        /// The middle.
        Medium = "medium",
        /// The most.
        High = "high",
    }
}

tagged! {
    /// Whom a change reaches.
    pub enum BlastRadius {
        /// One agent.
        SingleAgent = "single_agent",
        /// A group of agents.
        AgentGroup = "agent_group",
        /// Every agent.
        AllAgents = "all_agents",
    }
}

tagged! {
    /// How a change can be taken back.
    pub enum Reversibility {
        /// By the program.
        Automatic = "automatic",
        /// By a person.
        Manual = "manual",
        /// Not at all.
        Irreversible = "irreversible",
    }
}

/// A safety profile, whichever of the four places it comes from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Profile {
    /// Observed success, 0..1 (proposal: default 0.5). A record of the past, not a threshold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<f64>,
    /// Relative cost of the change, 1..10 (proposal: default 5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_factor: Option<f64>,
    /// The proposer insists on a vote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force_consensus: Option<bool>,
    /// Highest tolerated error rate, 0 up to but not 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_threshold: Option<f64>,
    /// Changes by this agent type need a vote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs_consensus: Option<bool>,
    /// Largest radius an agent type may touch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_blast_radius: Option<Level>,
    /// Roll back without asking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_rollback: Option<bool>,
    /// Highest tolerated growth of the error count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_error_count: Option<u64>,
    /// How long a change is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observation_window_seconds: Option<u64>,
    /// Risk at registration with the Guardian.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub risk_level: Option<Level>,
    /// Reach at registration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blast_radius: Option<BlastRadius>,
    /// Reversibility at registration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reversibility: Option<Reversibility>,
    /// Share of the changed code under test, 0..1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_coverage: Option<f64>,
    /// Success of similar changes, 0..1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similar_changes_success_rate: Option<f64>,
    /// Highest tolerated p95 latency, milliseconds.
    #[serde(serialize_with = "crate::json::whole::serialize", skip_serializing_if = "Option::is_none")]
    pub latency_threshold: Option<f64>,
    /// Highest tolerated growth of memory, in MB like the metric it limits.
    #[serde(serialize_with = "crate::json::whole::serialize", skip_serializing_if = "Option::is_none")]
    pub memory_threshold: Option<f64>,
    /// Highest tolerated cost, US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_threshold: Option<f64>,
    /// Keys this program does not know.
    #[serde(flatten)]
    pub other: Object,
}

impl Profile {
    /// No field at all, not even an unknown one.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads a profile from JSON with the documented error tags, then checks its ranges.
    pub fn parse(object: &Object) -> Result<Self, Invalid> {
        let wrong = |key: &str, fits: fn(&Value) -> bool| object.get(key).is_some_and(|v| !v.is_null() && !fits(v));
        if wrong("error_threshold", Value::is_number) {
            return Err(Invalid::new(InvalidKind::InvalidErrorThreshold, "error_threshold is not a number"));
        }
        if wrong("needs_consensus", Value::is_boolean) {
            return Err(Invalid::new(InvalidKind::InvalidNeedsConsensus, "needs_consensus is not a boolean"));
        }
        if wrong("max_blast_radius", |v| v.as_str().and_then(Level::from_tag).is_some()) {
            return Err(Invalid::new(
                InvalidKind::InvalidMaxBlastRadius,
                "max_blast_radius is not low, medium or high",
            ));
        }
        let profile: Self = serde_json::from_value(Value::Object(object.clone()))
            .map_err(|e| Invalid::new(InvalidKind::InvalidProfile, e.to_string()))?;
        profile.validate()?;
        Ok(profile)
    }

    /// Refuses values out of range.
    pub fn validate(&self) -> Result<(), Invalid> {
        if let Some(t) = self.error_threshold
            && !(0.0..1.0).contains(&t)
        {
            let detail = format!("error_threshold is {t}, must be at least 0 and below 1");
            return Err(Invalid::new(InvalidKind::ErrorThresholdOutOfRange, detail));
        }
        let range = |name: &str, value: Option<f64>, low: f64, high: f64| match value {
            Some(v) => in_range(InvalidKind::InvalidProfile, name, v, low, high),
            None => Ok(()),
        };
        range("success_rate", self.success_rate, 0.0, 1.0)?;
        range("cost_factor", self.cost_factor, 1.0, 10.0)?;
        range("test_coverage", self.test_coverage, 0.0, 1.0)?;
        range("similar_changes_success_rate", self.similar_changes_success_rate, 0.0, 1.0)?;
        range("latency_threshold", self.latency_threshold, 0.0, f64::MAX)?;
        range("memory_threshold", self.memory_threshold, 0.0, f64::MAX)?;
        range("cost_threshold", self.cost_threshold, 0.0, f64::MAX)
    }

    /// Checks a profile meant for an agent type's row: the three fields required there must be given.
    pub fn validate_for_agent(&self) -> Result<(), Invalid> {
        let missing = [
            ("error_threshold", self.error_threshold.is_none(), InvalidKind::InvalidErrorThreshold),
            ("needs_consensus", self.needs_consensus.is_none(), InvalidKind::InvalidNeedsConsensus),
            ("max_blast_radius", self.max_blast_radius.is_none(), InvalidKind::InvalidMaxBlastRadius),
        ];
        if let Some((field, _, kind)) = missing.into_iter().find(|(_, absent, _)| *absent) {
            return Err(Invalid::new(kind, format!("{field} is required for an agent type")));
        }
        self.validate()
    }

    /// This profile with every field that `newer` gives replaced: how an instance takes in a learned profile.
    pub fn merged(&self, newer: &Self) -> Self {
        let mut other = self.other.clone();
        other.extend(newer.other.clone());
        Self {
            success_rate: newer.success_rate.or(self.success_rate),
            cost_factor: newer.cost_factor.or(self.cost_factor),
            force_consensus: newer.force_consensus.or(self.force_consensus),
            error_threshold: newer.error_threshold.or(self.error_threshold),
            needs_consensus: newer.needs_consensus.or(self.needs_consensus),
            max_blast_radius: newer.max_blast_radius.or(self.max_blast_radius),
            auto_rollback: newer.auto_rollback.or(self.auto_rollback),
            max_error_count: newer.max_error_count.or(self.max_error_count),
            observation_window_seconds: newer.observation_window_seconds.or(self.observation_window_seconds),
            risk_level: newer.risk_level.or(self.risk_level),
            blast_radius: newer.blast_radius.or(self.blast_radius),
            reversibility: newer.reversibility.or(self.reversibility),
            test_coverage: newer.test_coverage.or(self.test_coverage),
            similar_changes_success_rate: newer.similar_changes_success_rate.or(self.similar_changes_success_rate),
            latency_threshold: newer.latency_threshold.or(self.latency_threshold),
            memory_threshold: newer.memory_threshold.or(self.memory_threshold),
            cost_threshold: newer.cost_threshold.or(self.cost_threshold),
            other,
        }
    }
}
