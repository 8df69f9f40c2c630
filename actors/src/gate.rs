//! An optional gate that learns how sure voters must be (domain §2.5): in place of the fixed 0.85.

use serde::{Deserialize, Serialize};

/// Outcomes looked at before each move. Every window is judged once, so one bad change cannot move the gate twice.
pub const WINDOW_OUTCOMES: u32 = 10;

const START: f64 = 0.85;
const TARGET: f64 = 0.90;
const LOWEST: f64 = 0.75;
const HIGHEST: f64 = 0.95;

/// The gate and the outcomes since its last move.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdaptiveGate {
    confidence: f64,
    outcomes: u32,
    successes: u32,
    last_gap: Option<f64>,
}

impl Default for AdaptiveGate {
    fn default() -> Self {
        Self { confidence: START, outcomes: 0, successes: 0, last_gap: None }
    }
}

impl AdaptiveGate {
    /// The mean confidence needed now, 0.75..0.95.
    pub const fn confidence(&self) -> f64 {
        self.confidence
    }

    /// Was the last judged window within 0.05 of the target success of 0.90?
    pub fn converged(&self) -> bool {
        self.last_gap.is_some_and(|gap| gap.abs() < 0.05)
    }

    /// Takes in the outcome of one approved change; after each tenth, moves the gate: up when too many failed.
    pub fn record(&mut self, succeeded: bool) {
        self.outcomes += 1;
        self.successes += u32::from(succeeded);
        if self.outcomes < WINDOW_OUTCOMES {
            return;
        }
        let gap = f64::from(self.successes) / f64::from(self.outcomes) - TARGET;
        let step = match gap.abs() {
            g if g > 0.10 => 0.06,
            g if g > 0.05 => 0.03,
            _ => 0.0,
        };
        self.confidence = (self.confidence - step * gap.signum()).clamp(LOWEST, HIGHEST);
        self.last_gap = Some(gap);
        self.outcomes = 0;
        self.successes = 0;
    }
}
