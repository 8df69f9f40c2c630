//! How a kind of change is taken back (domain §3.4): the documented table as a start, corrected by experience.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One step of a rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// What to do.
    pub action: String,
    /// To what.
    pub target: String,
}

/// Actions that mean the change's own files, whose bytes are restored.
const REVERTING: [&str; 4] = ["revert_code", "git_revert", "revert_model_config", "revert_cache_config"];

impl Step {
    /// Is it done when the change's files are as before? Others concern caches and processes, which the instance's owner knows.
    pub fn restores_files(&self) -> bool {
        REVERTING.contains(&self.action.as_str())
    }
}

/// The rollback plan of one change type, with what past rollbacks taught.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Strategy {
    /// The change type it is for; `default` for all others.
    pub change_type: String,
    /// Steps in order.
    pub steps: Vec<Step>,
    /// Mean duration seen, seconds.
    pub estimated_duration_seconds: f64,
    /// A person should look afterwards. It never delays a rollback.
    pub manual_review: bool,
    /// Share of rollbacks that worked, 0..1.
    pub success_rate: f64,
    /// How many rollbacks these figures come from.
    pub learned_from: u32,
}

type Row = (&'static str, &'static [(&'static str, &'static str)], f64, bool, f64, u32);

const TABLE: [Row; 4] = [
    (
        "pattern_enhancement",
        &[("revert_code", "agent_prompt"), ("clear_cache", "pattern_cache"), ("restart_agent", "agent_process")],
        15.0,
        false,
        0.96,
        42,
    ),
    (
        "model_optimization",
        &[("revert_model_config", "llm_config"), ("clear_cache", "model_cache")],
        5.0,
        false,
        0.98,
        28,
    ),
    (
        "cache_improvement",
        &[("revert_cache_config", "cache_settings"), ("flush_cache", "all_caches")],
        10.0,
        false,
        0.92,
        19,
    ),
    (
        "code_refactoring",
        &[("git_revert", "codebase"), ("restart_services", "affected_services")],
        30.0,
        true,
        0.85,
        12,
    ),
];

const DEFAULT: Row = ("default", &[("revert_code", "all"), ("restart_agent", "agent_process")], 20.0, true, 0.80, 0);

impl Strategy {
    /// The documented plan for a change type. A proposal's `refactoring` is the table's `code_refactoring`.
    pub fn for_change_type(change_type: &str) -> Self {
        let name = if change_type == "refactoring" { "code_refactoring" } else { change_type };
        let (name, steps, seconds, manual, success, from) = TABLE.iter().find(|row| row.0 == name).unwrap_or(&DEFAULT);
        Self {
            change_type: (*name).to_owned(),
            steps: steps
                .iter()
                .map(|(action, target)| Step { action: (*action).to_owned(), target: (*target).to_owned() })
                .collect(),
            estimated_duration_seconds: *seconds,
            manual_review: *manual,
            success_rate: *success,
            learned_from: *from,
        }
    }

    /// Takes one finished rollback into the figures: running means over `learned_from` cases.
    pub fn learn(&mut self, succeeded: bool, duration_seconds: f64) {
        let from = f64::from(self.learned_from);
        let outcome = if succeeded { 1.0 } else { 0.0 };
        self.success_rate = (self.success_rate * from + outcome) / (from + 1.0);
        if duration_seconds.is_finite() && duration_seconds >= 0.0 {
            self.estimated_duration_seconds =
                (self.estimated_duration_seconds * from + duration_seconds) / (from + 1.0);
        }
        self.learned_from = self.learned_from.saturating_add(1);
    }
}
