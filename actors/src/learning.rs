//! The learning loop (domain §4.4): rules from proven patterns, thresholds per agent type.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::{Duration, OffsetDateTime, Time, UtcOffset};

use crate::json::{Object, three_decimals};
use crate::messages::GENESIS_SOURCE;
use crate::patterns::{CONSENSUS_INSTANCES, PROVEN_SUCCESS, Pattern};
use crate::profile::Profile;

/// Settings of the loop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LearningSettings {
    /// Patterns updated within this time take part.
    pub window: Duration,
    /// Fewest instances behind a pattern.
    pub min_instances: usize,
    /// Lowest success of a pattern.
    pub min_success: f64,
    /// Lower the error threshold of agent types that do well. Off: the documented default of 0.10 is sent.
    pub tighten: bool,
}

impl Default for LearningSettings {
    fn default() -> Self {
        Self {
            window: Duration::hours(24),
            min_instances: CONSENSUS_INSTANCES,
            min_success: PROVEN_SUCCESS,
            tighten: false,
        }
    }
}

/// A rule learned from one pattern.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// The same pattern gives the same id at every run.
    pub rule_id: String,
    /// What it was learned from.
    pub source_type: String,
    /// The sort of pattern.
    pub pattern_type: String,
    /// The pattern.
    pub pattern_content: Object,
    /// Its success.
    pub success_rate: f64,
    /// Who confirmed it.
    pub source_instances: Vec<String>,
    /// Success times the share of instances that confirmed it, 0..1.
    pub confidence: f64,
    /// What to do.
    pub action: String,
    /// When to do it.
    pub conditions: Object,
    /// When it was learned.
    #[serde(with = "crate::json::utc")]
    pub generated_at: OffsetDateTime,
}

/// Rules below this success are never applied.
const APPLICABLE_SUCCESS: f64 = 0.90;

impl Rule {
    /// May it be applied at all?
    pub fn is_applicable(&self) -> bool {
        self.success_rate >= APPLICABLE_SUCCESS
    }
}

/// The documented action for a pattern type.
pub fn action_for(pattern_type: &str) -> &'static str {
    match pattern_type {
        "refactoring" => "auto_refactor",
        "optimization" => "optimize_code",
        "bug_fix" => "apply_fix",
        "documentation" => "auto_document",
        _ => "apply_transformation",
    }
}

/// `success * confirming instances / live instances`, 0..1. Upstream fixed the divisor at 10.
pub fn rule_confidence(success_rate: f64, confirming: usize, live: usize) -> f64 {
    // An instance that confirmed and left since still counts among those that could have.
    let of = live.max(confirming).max(1);
    (success_rate * confirming as f64 / of as f64).clamp(0.0, 1.0)
}

/// What a run found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lesson {
    /// One rule per pattern that passed the gate.
    pub rules: Vec<Rule>,
    /// The thresholds to send, per agent type; see [`changed`].
    pub profiles: BTreeMap<String, Profile>,
    /// Fingerprints of the patterns that passed: they join the Guardian's known-safe changes.
    pub trusted: Vec<String>,
}

/// When the daily loop runs next: at 00:00 UTC, never now.
pub fn next_midnight(now: OffsetDateTime) -> OffsetDateTime {
    now.to_offset(UtcOffset::UTC).replace_time(Time::MIDNIGHT) + Duration::DAY
}

/// Does the loop learn from this pattern?
pub fn passes_gate(pattern: &Pattern, now: OffsetDateTime, settings: &LearningSettings) -> bool {
    pattern.updated_at >= now - settings.window
        && pattern.instances() >= settings.min_instances
        && pattern.success_rate + 1e-9 >= settings.min_success
}

/// One run over the known patterns.
pub fn learn(known: &[Pattern], live_instances: usize, now: OffsetDateTime, settings: &LearningSettings) -> Lesson {
    let proven: Vec<&Pattern> = known.iter().filter(|p| passes_gate(p, now, settings)).collect();
    Lesson {
        rules: proven.iter().map(|p| rule(p, live_instances, now)).collect(),
        profiles: profiles(&proven, now, settings),
        trusted: proven.iter().map(|p| p.fingerprint.clone()).collect(),
    }
}

fn rule(pattern: &Pattern, live_instances: usize, now: OffsetDateTime) -> Rule {
    let mut conditions = Object::new();
    conditions.insert("pattern_type".into(), pattern.pattern_type.clone().into());
    conditions.insert("min_success_rate".into(), APPLICABLE_SUCCESS.into());
    Rule {
        rule_id: format!("{}:{}", pattern.pattern_type, pattern.fingerprint),
        source_type: "pattern".to_owned(),
        pattern_type: pattern.pattern_type.clone(),
        pattern_content: pattern.code_pattern.clone(),
        success_rate: pattern.success_rate,
        source_instances: pattern.usage.keys().cloned().collect(),
        confidence: rule_confidence(pattern.success_rate, pattern.instances(), live_instances),
        action: action_for(&pattern.pattern_type).to_owned(),
        conditions,
        generated_at: now,
    }
}

/// Learned per pattern, sent per agent type: the agents named by the pattern's reports.
fn profiles(proven: &[&Pattern], now: OffsetDateTime, settings: &LearningSettings) -> BTreeMap<String, Profile> {
    let mut by_agent: BTreeMap<&str, (Vec<f64>, BTreeSet<&str>)> = BTreeMap::new();
    for pattern in proven {
        let mut counted = BTreeSet::new();
        for (instance, usage) in &pattern.usage {
            for agent in &usage.agent_types {
                let (rates, instances) = by_agent.entry(agent).or_default();
                instances.insert(instance);
                if counted.insert(agent.as_str()) {
                    rates.push(pattern.success_rate);
                }
            }
        }
    }
    by_agent
        .into_iter()
        .filter(|(_, (_, instances))| instances.len() >= settings.min_instances)
        .map(|(agent, (rates, instances))| {
            let success = rates.iter().sum::<f64>() / rates.len() as f64;
            let mut profile = learned_profile(success, settings.tighten);
            profile.other.insert("instance_count".into(), instances.len().into());
            let stamp = now
                .to_offset(UtcOffset::UTC)
                .format(&time::format_description::well_known::Rfc3339)
                .unwrap_or_default();
            profile.other.insert("updated_at".into(), Value::String(stamp));
            profile.other.insert("source".into(), GENESIS_SOURCE.into());
            (agent.to_owned(), profile)
        })
        .collect()
}

/// The thresholds learned from a mean success: with `tighten`, twice the failures seen are tolerated, 0.01..0.10.
pub fn learned_profile(success: f64, tighten: bool) -> Profile {
    let error_threshold = if tighten { (2.0 * (1.0 - success)).clamp(0.01, 0.10) } else { 0.10 };
    Profile {
        success_rate: Some(three_decimals(success)),
        error_threshold: Some((error_threshold * 10_000.0).round() / 10_000.0),
        latency_threshold: Some(3000.0),
        cost_threshold: Some(0.10),
        ..Profile::default()
    }
}

/// Smallest difference worth a message.
const CHANGE_ABOVE: f64 = 0.001;

/// Does `new` differ from what was last sent by enough to send it? Time-stamps and counts alone do not.
pub fn changed(last_sent: Option<&Profile>, new: &Profile) -> bool {
    let Some(last) = last_sent else { return true };
    let differs = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() > CHANGE_ABOVE + 1e-9,
        (None, None) => false,
        _ => true,
    };
    differs(last.success_rate, new.success_rate)
        || differs(last.error_threshold, new.error_threshold)
        || differs(last.latency_threshold, new.latency_threshold)
        || differs(last.cost_threshold, new.cost_threshold)
}
