//! The model's scenarios, checked.

use super::scenario::Scenario;
use super::variants::Variant;
use crate::explorer::{fails, holds};

/// The scenario's rules are safe: see `holds`.
pub(crate) fn verify(scenario: Scenario, reached: &[&'static str]) {
    holds(scenario.name, scenario, reached);
}

/// With `variant` in place of the design, `property` fails in `scenario`.
pub(crate) fn refute(scenario: Scenario, variant: Variant, property: &'static str) {
    let scenario = scenario.with(|s| s.variant = variant);
    fails(&format!("{}, {variant:?}", scenario.name), scenario, property);
}
