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

/// Risk above which the two-thirds rule holds even with tiers.
const HIGH_RISK_ABOVE: f64 = 8.0;
/// Risk below which tiers ask nobody.
const LOW_RISK_BELOW: f64 = 5.0;

/// Chooses the way by similarity to known-safe changes and, if switched on, by risk.
///
/// A profile with `force_consensus` or `needs_consensus` is always voted on.
pub fn route(similarity: f64, risk_score: f64, profile: &Profile, settings: &ConsensusSettings) -> Intake {
    let insists = profile.force_consensus == Some(true) || profile.needs_consensus == Some(true);
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
