//! W8, W9: the heartbeat.

use super::claim::will_see;
use super::scenario::Scenario;
use super::state::{Arm, Phase, State, has};
use super::variants::Variant;

/// The one statement starts: its snapshot is older than all that it does.
pub(crate) fn starts(state: &mut State, r: usize) {
    state.runtimes[r].beat = Some(state.snapshot());
}

/// What it does for the sleeping gates of `r`. A follower goes through W1 and W2 again: it takes
/// over a free lock, or learns that silent publishers are in flight under no sentinel. Then the
/// count of claimable rows, by a plain read which locks none: the net below the protocol, which
/// must stay dry.
pub(crate) fn ends(scenario: &Scenario, state: &mut State, r: usize) {
    let Some(sees) = state.runtimes[r].beat.take() else { return };
    for k in 0..state.keys.len() {
        let gate = *state.gate(r, k);
        let asleep = matches!(gate.phase, Phase::Armed | Phase::Following);
        if !asleep || !scenario.wants_key(state, r, k) {
            continue;
        }
        let lost = stranded(scenario, state, r, k);
        let follows = gate.phase == Phase::Following;
        let taken = follows && state.try_exclusive(k, r);
        let probes = follows && !scenario.is(Variant::TakeoverWithoutProbe);
        let counted = !scenario.is(Variant::HeartbeatWithoutCount) && counts(scenario, state, r, k, sees);
        let hears = gate.hears;
        let phase = if taken {
            Phase::Arming(if hears { Arm::Sentinel } else { Arm::Granted })
        } else if probes && state.shared_is_free(k) {
            Phase::Silent
        } else if counted && follows {
            Phase::Awake
        } else if counted {
            Phase::Arming(Arm::Sentinel)
        } else {
            gate.phase
        };
        let excused = gate.orphaned > 0 || dying(state, k);
        let wanted = scenario.wanted(state, r, k);
        state.found_by_heartbeat |= phase != gate.phase && lost && !excused;
        let gate = state.gate_mut(r, k);
        gate.phase = phase;
        gate.woken = false;
        gate.orphaned = gate.orphaned.saturating_sub(1);
        if taken {
            gate.duty |= wanted;
        }
    }
}

/// Does the snapshot hold a row that `r` wants on `k`? A claim in flight may be taking it.
fn counts(scenario: &Scenario, state: &State, r: usize, k: usize, sees: u8) -> bool {
    let wanted = |&m: &usize| scenario.key_of(m) == k && scenario.wants(state, r, scenario.publishers[m].lane);
    (0..state.publishers.len()).filter(|&m| has(sees, m)).any(|m| wanted(&m))
}

/// Is there a claimable message which `r` wants on key `k`, and is nothing else going to find it?
fn stranded(scenario: &Scenario, state: &State, r: usize, k: usize) -> bool {
    let wanted = |&m: &usize| scenario.key_of(m) == k && scenario.wants(state, r, scenario.publishers[m].lane);
    (0..state.publishers.len())
        .filter(|&m| state.claimable(m))
        .filter(wanted)
        .any(|m| !announced(scenario, state, r, m) && !others_see(scenario, state, r, m))
}

/// W12: somebody on whom sleepers count is dead, but the server has not noticed.
pub(crate) fn dying(state: &State, k: usize) -> bool {
    (0..state.runtimes.len()).any(|r| !state.runtimes[r].alive && state.runtimes[r].session && state.counts_on(r, k))
}

/// Is a notification that leads `r`, or another with a free worker, to message `m` in flight, or owed?
pub(crate) fn announced(scenario: &Scenario, state: &State, r: usize, m: usize) -> bool {
    let lane = scenario.publishers[m].lane;
    let k = scenario.lanes[lane].key;
    let on_its_way = |other: usize| {
        let gate = state.gate(other, k);
        let heeds = state.keys[k].holder == Some(other) || scenario.wants(state, other, lane);
        let stops = state.runtimes[other].stopping && has(gate.enlisted, lane);
        let hands_over = (has(gate.duty, lane) || stops) && !scenario.wants(state, other, lane);
        // Once it LISTENs, the new sentinel tells of what it does not look at.
        let hears_soon = gate.phase == Phase::Arming(Arm::Granted);
        hears_soon
            || (has(gate.told, lane) && !state.runtimes[other].stopping)
            || (has(gate.announced, lane) && heeds)
            || hands_over
            || has(gate.owes_claim, lane)
            || gate.owes_turn
    };
    state.runtimes[r].ctl
        // W6: when its turn is over, one is told.
        || state.keys[k].waiter.is_some()
        || disarm_owed(scenario, state, k)
        || (0..state.runtimes.len()).any(|other| state.runtimes[other].alive && on_its_way(other))
}

/// Is a runtime other than `r` awake, with a free worker for message `m`, and going to see it?
pub(crate) fn others_see(scenario: &Scenario, state: &State, r: usize, m: usize) -> bool {
    let lane = scenario.publishers[m].lane;
    let k = scenario.lanes[lane].key;
    (0..state.runtimes.len()).any(|other| {
        let wants = scenario.wants(state, other, lane);
        other != r && state.runtimes[other].alive && wants && will_see(state.gate(other, k), m)
    })
}

/// W3: does the sentinel of `k` want nothing any more? Then its disarm notifies.
fn disarm_owed(scenario: &Scenario, state: &State, k: usize) -> bool {
    let holder = state.keys[k].holder;
    holder.is_some_and(|r| state.runtimes[r].online() && !scenario.wants_key(state, r, k))
}

/// Would a heartbeat of `r`, from its snapshot to its end, change anything?
pub(crate) fn is_due(scenario: &Scenario, state: &State, r: usize) -> bool {
    let mut before = state.clone();
    before.runtimes[r].beat = None;
    let mut after = before.clone();
    starts(&mut after, r);
    ends(scenario, &mut after, r);
    state.runtimes[r].online() && before != after
}
