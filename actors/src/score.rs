//! The order of the proposal queue (domain §5.2).

use time::Duration;

/// What a proposal's score is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scoring {
    /// Expected benefit, 0..10.
    pub impact: f64,
    /// How often this agent type's changes succeed, 0..1.
    pub success_rate: f64,
    /// Relative cost, 1..10.
    pub cost: f64,
    /// Expected danger, 0..10.
    pub risk: f64,
}

impl Default for Scoring {
    fn default() -> Self {
        Self { impact: 5.0, success_rate: 0.5, cost: 5.0, risk: 5.0 }
    }
}

/// Smallest divisor: a free and safe change does not score infinitely.
const DIVISOR_MIN: f64 = 0.1;

/// A day of waiting raises a score by this share.
const GAIN_PER_DAY: f64 = 0.1;

/// `impact * success / max(cost * risk, 0.1)`, raised by a tenth per day of waiting; never negative, never NaN.
pub fn priority(scoring: Scoring, waiting: Duration) -> f64 {
    let base = scoring.impact * scoring.success_rate / (scoring.cost * scoring.risk).max(DIVISOR_MIN);
    let days = (waiting.as_seconds_f64() / 86_400.0).max(0.0);
    (base * (1.0 + days * GAIN_PER_DAY)).max(0.0)
}

/// How many outcomes [`agent_success`] looks back.
pub const OUTCOMES_MAX: usize = 100;

/// Share of applied among the newest [`OUTCOMES_MAX`] outcomes (`true` = applied, newest first); 0.5 without any.
pub fn agent_success(newest_first: impl IntoIterator<Item = bool>) -> f64 {
    let (mut applied, mut all) = (0_u32, 0_u32);
    for outcome in newest_first.into_iter().take(OUTCOMES_MAX) {
        applied += u32::from(outcome);
        all += 1;
    }
    if all == 0 { 0.5 } else { f64::from(applied) / f64::from(all) }
}
