//! W4, W6-W8 and the ends of a runtime: stop, death, disconnect, reconnect.

use super::claim::regained;
use super::gate;
use super::model::Action;
use super::scenario::{Class, Scenario};
use super::state::{KEYS, Phase, State, bit, has};
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
        for lane in scenario.lanes_of(k) {
            if has(runtime.gates[k].told, lane) {
                actions.push(Action::Told(r, k, lane));
            }
            if has(runtime.gates[k].announced, lane) {
                let first = state.candidates(scenario, k, bit(lane), Some(r));
                actions.extend(first.into_iter().map(|first| Action::Announced(r, k, lane, first)));
            }
        }
        gate::actions(scenario, state, r, k, actions);
        if state.keys[k].waiter == Some(r) {
            actions.push(Action::TurnOver(r, k));
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
    for k in (0..KEYS).filter(|&k| scenario.serves_key(r, k)) {
        gate::at_will(scenario, state, r, k, actions);
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

/// W12: a publisher's note is heard. Whoever wants the lane looks. A sentinel, or who is taken for one (W6), and does not, tells
/// somebody of it. Who holds the lock no longer has told when it let it go, and need not: it LISTENs no more.
pub(crate) fn announced(scenario: &Scenario, state: &mut State, r: usize, k: usize, lane: usize, first: usize) {
    count_wake(scenario, state);
    let wants = scenario.wants(state, r, lane);
    let drops = (scenario.is(Variant::RelayOwnLanesOnly) && !scenario.serves(r, lane))
        || (scenario.is(Variant::UnwantedDropped) && scenario.serves(r, lane));
    let holds = [state.keys[k].holder, state.keys[k].waiter].contains(&Some(r)) || scenario.uses_row_flag();
    let gate = state.gate_mut(r, k);
    gate.announced &= !bit(lane);
    if wants {
        gate.duty |= bit(lane);
        gate::wake(scenario, state, r, k);
    } else if !holds {
        (gate.hears, gate.announced) = (false, 0);
    } else if !drops {
        state.tell(scenario, k, bit(lane), Some(r), first);
    }
}

/// W12: one of those who were enlisted for a lane is told of it. It is on duty for the lane: it looks and arms, or hands over. Who
/// stops hears nothing any more: when it leaves the lists it tells somebody in any case.
pub(crate) fn told(scenario: &Scenario, state: &mut State, r: usize, k: usize, lane: usize) {
    count_wake(scenario, state);
    let wants = scenario.wants(state, r, lane);
    let heeds = !state.runtimes[r].stopping;
    let gate = state.gate_mut(r, k);
    gate.told &= !bit(lane);
    if wants || heeds {
        gate.duty |= bit(lane);
    }
    if wants {
        gate::wake(scenario, state, r, k);
    }
}

fn count_wake(scenario: &Scenario, state: &mut State) {
    if let Some(max) = scenario.wakes_max {
        state.wakes = (state.wakes + 1).min(max + 1);
    }
}

/// W6: the turn is over: granted, and let go with its statement, or given up. Those who were refused by the waiter took it for
/// a sentinel, while silent publishers were still in flight: a later statement tells one of them for every lane.
pub(crate) fn turn_over(scenario: &Scenario, state: &mut State, r: usize, k: usize) {
    state.keys[k].waiter = None;
    state.gate_mut(r, k).owes_turn = !scenario.is(Variant::WaiterWithoutNotify);
}

/// What a failed claim owes: its lanes are announced as a publisher would. What a turn owes: one of those enlisted for each lane
/// is told, on a connection of its own: its own listener is one of the others.
pub(crate) fn tell_owed(scenario: &Scenario, state: &mut State, r: usize, k: usize, first: usize) {
    let gate = state.gate_mut(r, k);
    let (lanes, turn) = (std::mem::take(&mut gate.owes_claim), std::mem::take(&mut gate.owes_turn));
    for lane in scenario.lanes_of(k).filter(|&lane| has(lanes, lane)) {
        state.announce(scenario, lane, Some(r));
    }
    if turn {
        state.tell(scenario, k, scenario.mask_of(k), None, first);
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
/// connection and, from here on, is one made while awake. What it had been told of was lost: it is on duty for all it serves.
pub(crate) fn reconnect(scenario: &Scenario, state: &mut State, r: usize) {
    state.runtimes[r].session = true;
    for (k, gate) in state.runtimes[r].gates.iter_mut().enumerate() {
        gate.phase = Phase::Awake;
        gate.woken = false;
        gate.duty = scenario.instances[r].serves & scenario.mask_of(k);
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
        let owed = std::mem::take(&mut state.gate_mut(r, k).owes_claim) != 0;
        if owed && !scenario.is(Variant::ClaimerDeathUnexcused) {
            state.orphan(scenario, r, k);
        }
    }
}
