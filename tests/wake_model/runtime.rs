//! W4, W6-W8 and the ends of a runtime: stop, death, disconnect, reconnect.

use super::claim::{regained, will_see};
use super::gate;
use super::model::Action;
use super::scenario::{Channels, Class, Scenario};
use super::state::{Arm, KEYS, Phase, State, has};
use super::variants::Variant;

/// Steps that runtime `r`, or the server on its behalf, owes. Returns nothing for what may but
/// need not happen.
pub(crate) fn owed(scenario: &Scenario, state: &State, r: usize, actions: &mut Vec<Action>) {
    let runtime = &state.runtimes[r];
    if !runtime.alive {
        // The server ends the sessions of a dead process one at a time, in any order.
        if runtime.session {
            actions.push(Action::EndSession(r));
        }
        let claiming = (0..KEYS).filter(|&k| runtime.gates[k].scan.is_some());
        actions.extend(claiming.map(|k| Action::AbortClaim(r, k)));
        return;
    }
    if !runtime.session {
        actions.push(Action::Reconnect(r));
    } else if !runtime.listening {
        actions.push(Action::Listen(r));
    } else if runtime.ctl {
        actions.push(Action::Ctl(r));
    }
    for k in 0..KEYS {
        if !scenario.serves_key(r, k) {
            continue;
        }
        if runtime.gates[k].notes > 0 {
            actions.push(Action::Deliver(r, k));
        }
        let direct = (0..scenario.lanes.len()).filter(|&lane| has(runtime.gates[k].direct, lane));
        actions.extend(direct.filter(|&lane| scenario.lanes[lane].key == k).map(|lane| Action::DeliverDirect(r, k, lane)));
        gate::actions(scenario, state, r, k, actions);
        if state.keys[k].waiter == Some(r) {
            let free = state.keys[k].holder.is_none() && state.keys[k].shared == 0;
            actions.push(if free { Action::Grant(r, k) } else { Action::LockTimeout(r, k) });
        }
    }
}

/// What may happen to `r`: workers finish, it is stopped, it dies, its listener is cut off.
pub(crate) fn may_happen(scenario: &Scenario, state: &State, r: usize, actions: &mut Vec<Action>) {
    let runtime = &state.runtimes[r];
    if !runtime.alive {
        return;
    }
    if scenario.finishes && runtime.busy_normal > reserved(scenario, state, r, Class::Normal) {
        actions.push(Action::Finish(r, Class::Normal));
    }
    if scenario.finishes && runtime.busy_high > reserved(scenario, state, r, Class::High) {
        actions.push(Action::Finish(r, Class::High));
    }
    if scenario.queues_for_lock && runtime.online() {
        let may_queue = |&k: &usize| {
            runtime.gates[k].phase == Phase::Silent && state.keys[k].waiter.is_none() && state.keys[k].shared != 0
        };
        actions.extend((0..KEYS).filter(may_queue).map(|k| Action::QueueForLock(r, k)));
    }
    if state.budget.stops > 0 && !runtime.stopping {
        actions.push(Action::Stop(r));
    }
    if state.budget.deaths > 0 {
        actions.push(Action::Die(r));
    }
    if state.budget.disconnects > 0 && runtime.session {
        actions.push(Action::Disconnect(r));
    }
}

/// Workers reserved by claims in flight have nothing to finish yet.
fn reserved(scenario: &Scenario, state: &State, r: usize, class: Class) -> u8 {
    let scans = state.runtimes[r].gates.iter().filter_map(|gate| gate.scan);
    let takes = scans.fold(0, |mask, scan| mask | scan.takes);
    let taken = |m: &usize| has(takes, *m) && scenario.lanes[scenario.publishers[*m].lane].class == class;
    u8::try_from((0..state.publishers.len()).filter(taken).count()).unwrap_or(u8::MAX)
}

/// W12: a publisher's note reaches the sentinel. It scans if it wants the lane; else it relays.
pub(crate) fn deliver_direct(scenario: &Scenario, state: &mut State, r: usize, k: usize, lane: usize) {
    let wants = scenario.wants(state, r, lane);
    let drops = scenario.is(Variant::RelayOwnLanesOnly) && !scenario.serves(r, lane);
    let gate = state.gate_mut(r, k);
    gate.direct &= !(1 << lane);
    if wants {
        gate::wake(scenario, state, r, k);
    } else if !drops {
        state.notify(scenario, k, Some(r));
    }
}

/// W6: the second connection got the lock. Those who were refused by the waiter took it for a
/// sentinel, while silent publishers were still in flight: they must hear of it.
pub(crate) fn grant(scenario: &Scenario, state: &mut State, r: usize, k: usize) {
    state.keys[k].waiter = None;
    state.keys[k].holder = Some(r);
    let gate = state.gate_mut(r, k);
    gate.phase = Phase::Arming(Arm::Sentinel);
    // A scan in flight is older than the lock.
    gate.woken = gate.scan.is_some();
    notify_waited(scenario, state, r, k);
}

/// W6: `lock_timeout` fires. The same holds.
pub(crate) fn lock_timeout(scenario: &Scenario, state: &mut State, r: usize, k: usize) {
    state.keys[k].waiter = None;
    notify_waited(scenario, state, r, k);
}

fn notify_waited(scenario: &Scenario, state: &mut State, r: usize, k: usize) {
    if !scenario.is(Variant::WaiterWithoutNotify) {
        state.notify(scenario, k, Some(r));
    }
}

/// ctl: reads what is paused, in a new statement, and scans what it has regained.
pub(crate) fn ctl(scenario: &Scenario, state: &mut State, r: usize) {
    let before = scenario.demand(state, r);
    state.runtimes[r].ctl = false;
    state.runtimes[r].paused_view = state.paused;
    regained(scenario, state, r, before);
}

/// A pause or a resume is committed.
pub(crate) fn toggle_pause(scenario: &Scenario, state: &mut State) {
    state.budget.pauses -= 1;
    state.paused = !state.paused;
    if state.paused || !scenario.is(Variant::ResumeWithoutNotify) {
        state.notify_ctl();
    }
}

/// W7: a new session. Nothing that the gates knew counts; a claim in flight goes on on its own
/// connection and, from here on, is one made while awake.
pub(crate) fn reconnect(state: &mut State, r: usize) {
    state.runtimes[r].session = true;
    for gate in &mut state.runtimes[r].gates {
        gate.phase = Phase::Awake;
        gate.woken = false;
    }
}

/// W7: LISTEN, then (later statements) read what is paused and scan.
pub(crate) fn listen(scenario: &Scenario, state: &mut State, r: usize) {
    let before = scenario.demand(state, r);
    state.runtimes[r].listening = true;
    state.runtimes[r].paused_view = state.paused;
    regained(scenario, state, r, before);
}

/// The server rolls back the claim of a dead process.
pub(crate) fn abort_claim(scenario: &Scenario, state: &mut State, r: usize, k: usize) {
    let locked = state.gate(r, k).scan.is_some_and(|scan| scan.locked != 0);
    state.gate_mut(r, k).scan = None;
    if locked && !scenario.is(Variant::ClaimerDeathUnexcused) {
        state.orphan(r, |other| other.gates[k].orphan_claim = true);
    }
}

/// The process dies; what it still owed dies with it.
pub(crate) fn die(scenario: &Scenario, state: &mut State, r: usize) {
    state.budget.deaths -= 1;
    state.runtimes[r].alive = false;
    for k in 0..KEYS {
        if std::mem::take(&mut state.gate_mut(r, k).owes_notify) && !scenario.is(Variant::ClaimerDeathUnexcused) {
            state.orphan(r, |other| other.gates[k].orphan_claim = true);
        }
    }
}

/// W8, W9: what the heartbeat of `r` does for its sleeping gates. A follower goes through W1 and
/// W2 again: takes over a free lock, or learns that silent publishers are in flight under no
/// sentinel. Then the count of claimable rows: the net below the protocol, which must stay dry.
pub(crate) fn heartbeat(scenario: &Scenario, state: &mut State, r: usize) {
    for k in 0..KEYS {
        let gate = *state.gate(r, k);
        let asleep = matches!(gate.phase, Phase::Armed | Phase::Following);
        if !asleep || !scenario.wants_key(state, r, k) {
            continue;
        }
        let stranded = stranded(scenario, state, r, k);
        let taken = gate.phase == Phase::Following && state.try_exclusive(k, r);
        let probe = gate.phase == Phase::Following && !scenario.is(Variant::TakeoverWithoutProbe);
        let silent = !taken && probe && state.shared_is_free(k);
        let (phase, excused) = if taken {
            (Phase::Arming(Arm::Sentinel), gate.orphan_holder || gate.orphan_claim)
        } else if silent {
            (Phase::Silent, gate.orphan_holder || gate.orphan_claim)
        } else if stranded.is_some() && gate.phase == Phase::Armed {
            (Phase::Arming(Arm::Sentinel), gate.orphan_claim)
        } else if stranded.is_some() {
            (Phase::Awake, gate.orphan_claim)
        } else {
            (gate.phase, true)
        };
        state.found_by_heartbeat |= stranded == Some(true) && !excused;
        let gate = state.gate_mut(r, k);
        gate.phase = phase;
        gate.woken = false;
        gate.orphan_holder = false;
        gate.orphan_claim = false;
        if taken && !scenario.is(Variant::TakeoverWithoutNotify) {
            state.notify(scenario, k, Some(r));
        }
    }
}

/// Is there a claimable message which `r` wants on key `k`, and is nothing else going to find it?
fn stranded(scenario: &Scenario, state: &State, r: usize, k: usize) -> Option<bool> {
    let wanted = |m: &usize| {
        let lane = scenario.publishers[*m].lane;
        scenario.lanes[lane].key == k && scenario.wants(state, r, lane) && state.claimable(*m)
    };
    let found: Vec<usize> = (0..state.publishers.len()).filter(wanted).collect();
    let unexplained = found.iter().any(|&m| !announced(scenario, state, r, m) && !others_see(scenario, state, r, m));
    (!found.is_empty()).then_some(unexplained)
}

/// Is a notification that leads `r` to message `m` in flight, or owed?
pub(crate) fn announced(scenario: &Scenario, state: &State, r: usize, m: usize) -> bool {
    let lane = scenario.publishers[m].lane;
    let k = scenario.lanes[lane].key;
    let owed = |gate: &super::state::Gate| gate.owes_notify;
    let direct = |gate: &super::state::Gate| scenario.channels == Channels::Relayed && has(gate.direct, lane);
    state.runtimes[r].ctl
        || state.gate(r, k).notes > 0
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
