//! Walks through every state of a model, and says how much it looked at. For the models alone, which need no database.

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

/// What can be walked through by several threads, and shown.
pub(crate) trait World:
    Model<State: Hash + Debug + Clone + PartialEq + Send + Sync, Action: Debug + Clone + PartialEq> + Send + Sync + 'static
{
}

impl<M> World for M where
    M: Model<State: Hash + Debug + Clone + PartialEq + Send + Sync, Action: Debug + Clone + PartialEq>
        + Send
        + Sync
        + 'static
{
}

/// No property fails in any reachable state of `model`, and every situation of `reached` occurs in
/// it: a model in which nothing happens proves nothing.
pub(crate) fn holds<M: World>(name: &str, model: M, reached: &[&'static str]) {
    let start = Instant::now();
    let properties = model.properties();
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("holds    {name}: {states} states, depth {depth}, {:.1?}", start.elapsed());
    let found = checker.discoveries();
    for property in properties {
        let fails = property.expectation.discovery_is_failure();
        if let (true, Some(path)) = (fails, found.get(property.name)) {
            panic!("{name}: not true that {}: {}", property.name, steps(path.clone().into_actions()));
        }
    }
    for situation in reached {
        assert!(found.contains_key(situation), "{name}: never reached: {situation}");
    }
}

/// `property` fails in some reachable state of `model`; prints the shortest way there.
pub(crate) fn fails<M: World>(name: &str, model: M, property: &'static str) {
    let start = Instant::now();
    let wanted = HasDiscoveries::AllOf([property].into());
    let checker = model.checker().finish_when(wanted).spawn_bfs().join();
    let states = checker.unique_state_count();
    let Some(path) = checker.discovery(property) else {
        panic!("{name}: not refuted by {property:?} in {states} states");
    };
    println!("refuted  {name}: {states} states, {:.1?}", start.elapsed());
    println!("         {}", steps(path.into_actions()));
}

fn steps(actions: Vec<impl Debug>) -> String {
    actions.iter().map(|action| format!("{action:?}")).collect::<Vec<_>>().join(" → ")
}
