//! What happens to a new proposal (domain §2.1): approved by likeness, or put to the vote under which rule.

use crate::consensus::{ConsensusSettings, Rule};
use crate::profile::Profile;

/// The way a proposal takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intake {
    /// Nobody is asked.
    AutoApprove,
    /// The instances are asked.
    Vote {
        /// Under this rule.
        rule: Rule,
        /// Nothing like it is known to be safe: say so in the log.
        unfamiliar: bool,
    },
}

/// Risk above which instances are always asked, and the two-thirds rule holds even with tiers.
const HIGH_RISK_ABOVE: f64 = 8.0;
/// Risk below which tiers ask nobody.
const LOW_RISK_BELOW: f64 = 5.0;

/// Chooses the way by similarity to known-safe changes and, if switched on, by risk.
///
/// What is as risky as an instance executes only after a vote is always voted on, and so is what one of its `profiles` (its own, its
/// agent type's built-in and learned ones) says so of, by `force_consensus` or `needs_consensus`.
pub fn route(similarity: f64, risk_score: f64, profiles: &[Profile], settings: &ConsensusSettings) -> Intake {
    let asks = |profile: &Profile| profile.force_consensus == Some(true) || profile.needs_consensus == Some(true);
    let insists = risk_score > HIGH_RISK_ABOVE || profiles.iter().any(asks);
    // NaN counts as unlike everything.
    let unfamiliar = similarity.is_nan() || similarity < settings.unfamiliar_below;
    let rule =
        if settings.risk_tiers && risk_score <= HIGH_RISK_ABOVE { Rule::SimpleMajority } else { Rule::TwoThirds };
    let known_safe = similarity >= settings.auto_approve_from;
    let harmless = settings.risk_tiers && risk_score < LOW_RISK_BELOW;
    if !insists && !unfamiliar && (known_safe || harmless) {
        return Intake::AutoApprove;
    }
    Intake::Vote { rule, unfamiliar }
}
