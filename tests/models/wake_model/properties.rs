//! What must hold in every state, and what must be reached for a scenario to mean anything.

use stateright::Property;

use super::claim::will_see;
use super::heartbeat;
use super::heartbeat::{announced, dying, others_see};
use super::scenario::Scenario;
use super::state::{Phase, State, Tx};

pub(crate) const NO_LOST_WAKE: &str = "W3: no runtime sleeps past a message";
pub(crate) const NOTHING_LEFT: &str = "at rest, no message is left to a runtime that wants it";
pub(crate) const HEARTBEAT_DRY: &str = "W9: a heartbeat finds nothing that a wake should have found";
pub(crate) const EXCLUSIVE: &str = "W1: a sentinel excludes silent publishers";
pub(crate) const NO_HERD: &str = "W12: notifications are bounded";

pub(crate) const SILENT_PUBLISH: &str = "some publisher commits silently";
pub(crate) const NOTIFIED_PUBLISH: &str = "some publisher notifies";
pub(crate) const ALL_CLAIMED: &str = "every message is claimed";
pub(crate) const SEEN_SILENT: &str = "some gate is Silent";
pub(crate) const SEEN_FOLLOWING: &str = "some gate is Following";
pub(crate) const SEEN_ARMED: &str = "some gate is Armed";

pub(crate) fn all() -> Vec<Property<Scenario>> {
    vec![
        Property::always(NO_LOST_WAKE, no_lost_wake),
        Property::always(NOTHING_LEFT, nothing_left_at_rest),
        Property::always(HEARTBEAT_DRY, |_, state: &State| !state.found_by_heartbeat),
        Property::always(EXCLUSIVE, |_, state: &State| {
            state.keys.iter().all(|lock| lock.holder.is_none() || lock.shared == 0)
        }),
        Property::always(NO_HERD, |scenario: &Scenario, state: &State| {
            scenario.wakes_max.is_none_or(|max| state.wakes <= max)
        }),
        Property::sometimes(SILENT_PUBLISH, |_, state: &State| {
            let silent = |lock: &super::state::KeyLock| (0..8).any(|p| super::state::has(lock.shared, p));
            state.keys.iter().any(silent) && state.publishers.contains(&Tx::Committed)
        }),
        Property::sometimes(NOTIFIED_PUBLISH, |_, state: &State| {
            state.publishers.contains(&Tx::Open { silent: false })
        }),
        Property::sometimes(ALL_CLAIMED, |_, state: &State| state.publishers.iter().all(|tx| *tx == Tx::Claimed)),
        Property::sometimes(SEEN_SILENT, |_, state: &State| any_gate(state, Phase::Silent)),
        Property::sometimes(SEEN_FOLLOWING, |_, state: &State| any_gate(state, Phase::Following)),
        Property::sometimes(SEEN_ARMED, |_, state: &State| any_gate(state, Phase::Armed)),
    ]
}

fn any_gate(state: &State, phase: Phase) -> bool {
    state.runtimes.iter().flat_map(|runtime| &runtime.gates).any(|gate| gate.phase == phase)
}

/// Every pair of a claimable message and a runtime with a free worker for it satisfies `holds`.
fn for_each_waiting(scenario: &Scenario, state: &State, holds: impl Fn(usize, usize) -> bool) -> bool {
    (0..state.publishers.len()).filter(|&m| state.claimable(m)).all(|m| {
        let lane = scenario.publishers[m].lane;
        (0..state.runtimes.len()).filter(|&r| scenario.ought_to_want(state, r, lane)).all(|r| holds(r, m))
    })
}

/// The invariant of W3. A claimable message and a runtime that has a free worker for it: the
/// runtime is going to look at it; or a notification to it is in flight; or another runtime is
/// going to take it; or the runtime is cut off and will start over at W7; or somebody died, and
/// the runtime has had no heartbeat since.
fn no_lost_wake(scenario: &Scenario, state: &State) -> bool {
    for_each_waiting(scenario, state, |r, m| {
        let lane = scenario.publishers[m].lane;
        let gate = state.gate(r, scenario.lanes[lane].key);
        (scenario.wants(state, r, lane) && will_see(gate, m))
            || announced(scenario, state, r, m)
            || others_see(scenario, state, r, m)
            || excused(scenario, state, r, m)
    })
}

fn excused(scenario: &Scenario, state: &State, r: usize, m: usize) -> bool {
    let k = scenario.key_of(m);
    let gate = state.gate(r, k);
    !state.runtimes[r].online() || gate.orphaned > 0 || dying(state, k)
}

/// When nothing is owed any more, no claimable message is left beside a free worker for it. It is
/// weaker than the invariant and does not lean on what the invariant counts as "in flight".
/// With heartbeats, not even a death excuses what they no longer find.
fn nothing_left_at_rest(scenario: &Scenario, state: &State) -> bool {
    let fails = !for_each_waiting(scenario, state, |r, m| !scenario.heartbeats && excused(scenario, state, r, m));
    let at_rest = || scenario.owed(state).is_empty();
    let beats = || scenario.heartbeats && (0..state.runtimes.len()).any(|r| heartbeat::is_due(scenario, state, r));
    !(fails && at_rest() && !beats())
}
