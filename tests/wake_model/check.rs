//! Runs the checker and says how much it looked at.

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use super::properties;
use super::scenario::Scenario;
use super::state::State;
use super::model::Action;

const THREADS: usize = 2;

/// The design's rules hold in every reachable state of `scenario`. Returns which of the situations
/// worth reaching were reached.
pub(crate) fn verify(scenario: Scenario) -> Vec<&'static str> {
    let name = scenario.name;
    let start = Instant::now();
    let checker = scenario.checker().threads(THREADS).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let states = checker.unique_state_count();
    println!("{name}: holds, {states} states, depth {}, {:.1?}", checker.max_depth(), start.elapsed());
    let found = checker.discoveries();
    for property in properties::all() {
        if let (true, Some(path)) = (property.expectation.discovery_is_failure(), found.get(property.name)) {
            panic!("{name}: {}\n{}", property.name, trace(path.clone().into_vec()));
        }
    }
    found.into_keys().collect()
}

/// A rule is broken in `scenario`, and the checker finds out that `property` fails.
pub(crate) fn refute(scenario: Scenario, property: &'static str) {
    let name = scenario.name;
    let variant = scenario.variant;
    let start = Instant::now();
    let checker = scenario.checker().threads(THREADS).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let states = checker.unique_state_count();
    let Some(path) = checker.discovery(property) else {
        panic!("{name}: {variant:?} not refuted in {states} states");
    };
    println!("{name}: {variant:?} refuted, {states} states, {:.1?}\n{}", start.elapsed(), trace(path.into_vec()));
}

fn trace(path: Vec<(State, Option<Action>)>) -> String {
    let actions: Vec<String> = path.iter().filter_map(|(_, action)| *action).map(|a| format!("{a:?}")).collect();
    format!("  {}", actions.join(" → "))
}
