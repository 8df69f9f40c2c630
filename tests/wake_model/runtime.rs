//! W4, W6-W8 and the ends of a runtime: stop, death, disconnect, reconnect.

use super::claim::regained;
use super::gate;
use super::model::Action;
use super::scenario::{Class, Scenario};
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
        actions
            .extend(direct.filter(|&lane| scenario.lanes[lane].key == k).map(|lane| Action::DeliverDirect(r, k, lane)));
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
        state.orphan(scenario, r, k);
    }
}

/// The process dies; what it still owed dies with it.
pub(crate) fn die(scenario: &Scenario, state: &mut State, r: usize) {
    state.budget.deaths -= 1;
    state.runtimes[r].alive = false;
    for k in 0..KEYS {
        if std::mem::take(&mut state.gate_mut(r, k).owes_notify) && !scenario.is(Variant::ClaimerDeathUnexcused) {
            state.orphan(scenario, r, k);
        }
    }
}
