//! W1-W3: one runtime's arming and disarming of one key.

use super::model::Action;
use super::scenario::{Channels, OnWake, Scenario};
use super::state::{Arm, Phase, Scan, State, Tx, bit, has};
use super::variants::Variant;

/// Steps that the gate of `r` on `k` owes.
pub(crate) fn actions(scenario: &Scenario, state: &State, r: usize, k: usize, actions: &mut Vec<Action>) {
    let gate = state.gate(r, k);
    let wants = scenario.wants_key(state, r, k);
    let online = state.runtimes[r].online();
    let may_arm = online || (scenario.is(Variant::ScanBeforeListen) && state.runtimes[r].session);
    match (gate.phase, gate.scan) {
        (_, Some(scan)) => match (gate.phase, scan.read) {
            (Phase::Arming(Arm::OneStatement), _) => actions.push(Action::TryLock(r, k)),
            (_, false) => actions.push(Action::Read(r, k)),
            (_, true) => {
                actions.push(Action::ClaimCommits(r, k));
                if state.budget.claim_failures > 0 {
                    actions.push(Action::ClaimFails(r, k));
                }
            }
        },
        (Phase::Awake, None) if wants && may_arm => {
            if scenario.is(Variant::LockAndScanInOne) {
                actions.push(Action::Snapshot(r, k));
            } else {
                actions.push(Action::TryLock(r, k));
                if scenario.linger {
                    actions.push(Action::Snapshot(r, k));
                }
            }
        }
        (Phase::Awake, None) => {}
        (Phase::Arming(Arm::Refused), None) if wants && may_arm => actions.push(Action::TryShared(r, k)),
        (Phase::Arming(Arm::WaitXip(waits)), None) if wants => {
            let open = |p| has(waits, p) && matches!(state.publishers[p], Tx::Open { .. });
            if !(0..state.publishers.len()).any(open) {
                actions.push(Action::Snapshot(r, k));
            }
        }
        (Phase::Silent | Phase::Arming(Arm::Sentinel | Arm::Follower), None) if wants && may_arm => {
            actions.push(Action::Snapshot(r, k));
        }
        (Phase::Arming(Arm::Sentinel | Arm::WaitXip(_)) | Phase::Armed, None) if !wants && online => {
            actions.push(Action::Disarm(r, k));
        }
        (Phase::Arming(Arm::Refused | Arm::Follower) | Phase::Silent, None) if !wants => {
            actions.push(Action::Rest(r, k));
        }
        _ => {}
    }
    let sentinel_at_rest = gate.phase == Phase::Arming(Arm::Sentinel) && gate.scan.is_none();
    if scenario.on_wake == OnWake::Either && sentinel_at_rest && wants && online {
        actions.push(Action::Disarm(r, k));
    }
    if gate.owes_notify && online {
        actions.push(Action::NotifyOwed(r, k));
    }
}

/// W1: `pg_try_advisory_lock`, in a statement of its own. What woke the gate before is covered by
/// the scan that follows; what comes from here on is not.
pub(crate) fn try_lock(scenario: &Scenario, state: &mut State, r: usize, k: usize) {
    let in_flight = (0..state.publishers.len()).filter(|&p| matches!(state.publishers[p], Tx::Open { .. }));
    let in_flight = in_flight.fold(0, |mask, p| mask | bit(p));
    let granted = if scenario.uses_row_flag() {
        state.keys[k].flags |= bit(r);
        true
    } else {
        state.try_exclusive(k, r)
    };
    let gate = state.gate_mut(r, k);
    gate.woken = false;
    gate.orphaned = 0;
    gate.phase = Phase::Arming(match granted {
        true if scenario.is(Variant::RowFlagAndXip) => Arm::WaitXip(in_flight),
        true => Arm::Sentinel,
        false if scenario.is(Variant::RefusedMeansSentinel) => Arm::Follower,
        false => Arm::Refused,
    });
    if !granted {
        gate.scan = None;
    }
}

/// W2: the shared try; granted, it is released in the same statement.
pub(crate) fn try_shared(state: &mut State, r: usize, k: usize) {
    let granted = state.shared_is_free(k);
    state.gate_mut(r, k).phase = if granted { Phase::Silent } else { Phase::Arming(Arm::Follower) };
}

/// W3: unlock and notify in one statement. The follower who hears it arms in its turn.
pub(crate) fn disarm(scenario: &Scenario, state: &mut State, r: usize, k: usize) {
    state.keys[k].flags &= !bit(r);
    if state.keys[k].holder == Some(r) {
        state.keys[k].holder = None;
    }
    if !scenario.is(Variant::DisarmWithoutNotify) {
        state.notify(scenario, k, Some(r));
    }
    if let Some(max) = scenario.disarms_max {
        state.disarms = (state.disarms + 1).min(max + 1);
    }
    let gate = state.gate_mut(r, k);
    gate.phase = Phase::Awake;
    gate.woken = false;
    // It no longer listens to publishers; the notify above sends every other to scan.
    gate.direct = 0;
}

/// Demand is gone before anything was held.
pub(crate) fn rest(state: &mut State, r: usize, k: usize) {
    state.gate_mut(r, k).phase = Phase::Awake;
}

/// A notification arrives, or slots of a lane on this key become free: whatever the gate last
/// saw no longer counts. The sentinel keeps its lock and scans again; a follower cannot know that
/// its sentinel is still there, so it starts again at W1.
pub(crate) fn wake(scenario: &Scenario, state: &mut State, r: usize, k: usize) {
    let gate = state.gate_mut(r, k);
    match gate.phase {
        Phase::Armed => {
            gate.phase = Phase::Arming(Arm::Sentinel);
            gate.woken = false;
        }
        Phase::Following if scenario.is(Variant::FollowerOnlyRescans) => {
            gate.phase = Phase::Arming(Arm::Follower);
            gate.woken = false;
        }
        Phase::Following => gate.phase = Phase::Awake,
        Phase::Arming(_) if !scenario.is(Variant::WakeDroppedWhileAwake) => gate.woken = true,
        // Whoever is awake arms before it sleeps.
        Phase::Arming(_) | Phase::Awake | Phase::Silent => {}
    }
    if gate.phase == Phase::Arming(Arm::Sentinel) && scenario.on_wake == OnWake::Disarm && gate.scan.is_none() {
        disarm(scenario, state, r, k);
    }
}

/// The scan is over and left nothing in doubt but what `scan` and `woken` say.
pub(crate) fn after_scan(scenario: &Scenario, state: &mut State, r: usize, k: usize, scan: Scan) {
    let wants = scenario.wants_key(state, r, k);
    let wants_left = scenario.demand(state, r) & scan.left != 0;
    let queued = state.keys[k].waiter == Some(r);
    let gate = state.gate_mut(r, k);
    gate.scan = None;
    let again = gate.woken || wants_left;
    gate.phase = match gate.phase {
        Phase::Arming(Arm::Sentinel | Arm::WaitXip(_)) if again || !wants => Phase::Arming(Arm::Sentinel),
        Phase::Arming(Arm::Sentinel | Arm::WaitXip(_)) => Phase::Armed,
        Phase::Arming(Arm::Follower) if again || !wants => Phase::Awake,
        Phase::Arming(Arm::Follower) => Phase::Following,
        Phase::Silent if queued => Phase::Silent,
        _ => Phase::Awake,
    };
    gate.woken = false;
    // W12: "took a full claim" is one of the three moments to relay.
    if scenario.channels == Channels::Relayed && scan.left != 0 && state.keys[k].holder == Some(r) {
        state.gate_mut(r, k).owes_notify = true;
    }
}
