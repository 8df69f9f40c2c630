//! W8, W9: the heartbeat.

use super::claim::will_see;
use super::scenario::{Channels, Scenario};
use super::state::{Arm, Gate, Phase, State, has};
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
        let phase = if taken {
            Phase::Arming(Arm::Sentinel)
        } else if probes && state.shared_is_free(k) {
            Phase::Silent
        } else if counted && follows {
            Phase::Awake
        } else if counted {
            Phase::Arming(Arm::Sentinel)
        } else {
            gate.phase
        };
        let excused = gate.orphaned > 0 || hears_nothing(scenario, state, k);
        state.found_by_heartbeat |= phase != gate.phase && lost && !excused;
        let gate = state.gate_mut(r, k);
        gate.phase = phase;
        gate.woken = false;
        gate.orphaned = gate.orphaned.saturating_sub(1);
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

/// W12: the sentinel alone hears publishers, and it is dead, but the server has not noticed.
pub(crate) fn hears_nothing(scenario: &Scenario, state: &State, k: usize) -> bool {
    let dead = |holder: usize| !state.runtimes[holder].alive;
    scenario.channels == Channels::Relayed && state.keys[k].holder.is_some_and(dead)
}

/// Is a notification that leads `r` to message `m` in flight, or owed?
pub(crate) fn announced(scenario: &Scenario, state: &State, r: usize, m: usize) -> bool {
    let lane = scenario.publishers[m].lane;
    let k = scenario.lanes[lane].key;
    let owed = |gate: &Gate| gate.owes_notify;
    let direct = |gate: &Gate| scenario.channels == Channels::Relayed && has(gate.direct, lane);
    state.runtimes[r].ctl
        || state.gate(r, k).notes > 0
        // W6: granted or timed out, the waiter notifies.
        || state.keys[k].waiter.is_some()
        || disarm_owed(scenario, state, k)
        || state.runtimes.iter().any(|other| other.alive && (owed(&other.gates[k]) || direct(&other.gates[k])))
}

/// Is a runtime other than `r` awake, with a free worker for message `m`, and going to see it?
pub(crate) fn others_see(scenario: &Scenario, state: &State, r: usize, m: usize) -> bool {
    let lane = scenario.publishers[m].lane;
    let k = scenario.lanes[lane].key;
    (0..state.runtimes.len()).any(|other| {
        let gate = state.gate(other, k);
        // W12: the sentinel on its way to a disarm or a relay will wake the others.
        let relays = scenario.channels == Channels::Relayed && state.keys[k].holder == Some(other);
        let wants = relays || scenario.wants(state, other, lane);
        other != r && state.runtimes[other].alive && wants && will_see(gate, m)
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
