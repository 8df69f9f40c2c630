//! W1-W3, W12: one runtime's arming, disarming and handing over of one key.

use super::model::Action;
use super::scenario::Scenario;
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
        (Phase::Arming(Arm::Granted), None) if online => {
            let first = state.candidates(scenario, k, scenario.mask_of(k) & !scenario.wanted(state, r, k), Some(r));
            actions.extend(first.into_iter().map(|first| Action::Hear(r, k, first)));
        }
        (Phase::Arming(Arm::Leaving), None) if online => actions.push(Action::Unlock(r, k)),
        (Phase::Arming(Arm::Unlisted), None) if online => actions.push(Action::Enlist(r, k)),
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
            let on_key = scenario.mask_of(k);
            let first = state.candidates(scenario, k, on_key, Some(r));
            actions.extend(first.into_iter().map(|first| Action::Disarm(r, k, first)));
        }
        (Phase::Arming(Arm::Refused | Arm::Follower) | Phase::Silent, None) if !wants => {
            actions.push(Action::Rest(r, k));
        }
        _ => {}
    }
    if gate.scan.is_none() && online {
        let gone = (gate.duty | gate.enlisted) & !scenario.wanted(state, r, k);
        if gone != 0 && (wants || state.keys[k].holder != Some(r)) {
            let first = state.candidates(scenario, k, gone, Some(r));
            actions.extend(first.into_iter().map(|first| Action::HandOver(r, k, first)));
        }
        if gate.owes_claim != 0 || gate.owes_turn {
            let first = state.candidates(scenario, k, scenario.mask_of(k), None);
            actions.extend(first.into_iter().map(|first| Action::TellOwed(r, k, first)));
        }
    }
}

/// W5, and a full claim: steps that a gate with demand may take at any time.
pub(crate) fn at_will(scenario: &Scenario, state: &State, r: usize, k: usize, actions: &mut Vec<Action>) {
    let gate = state.gate(r, k);
    if gate.scan.is_some() || !state.runtimes[r].online() || !scenario.wants_key(state, r, k) {
        return;
    }
    for first in state.candidates(scenario, k, scenario.mask_of(k), Some(r)) {
        match gate.phase {
            Phase::Arming(Arm::Sentinel) => {
                if scenario.linger {
                    actions.push(Action::Linger(r, k, first));
                }
                if scenario.at_will {
                    actions.push(Action::Disarm(r, k, first));
                }
            }
            Phase::Awake if gate.duty != 0 && scenario.at_will => actions.push(Action::Share(r, k, first)),
            _ => {}
        }
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
    let wanted = scenario.wanted(state, r, k);
    let gate = state.gate_mut(r, k);
    gate.woken = false;
    gate.orphaned = 0;
    gate.phase = Phase::Arming(match granted {
        true if scenario.is(Variant::RowFlagAndXip) => Arm::WaitXip(in_flight),
        true if gate.hears || scenario.is(Variant::HeardLate) => Arm::Sentinel,
        true => Arm::Granted,
        false if scenario.is(Variant::RefusedMeansSentinel) => Arm::Follower,
        false => Arm::Refused,
    });
    if granted {
        gate.duty |= wanted;
        // Unsafe variants that have no step between the lock and the scan.
        gate.hears |= scenario.uses_row_flag() || scenario.is(Variant::LockAndScanInOne);
        if gate.hears && gate.phase == Phase::Arming(Arm::Granted) {
            gate.phase = Phase::Arming(Arm::Sentinel);
        }
    } else {
        gate.scan = None;
        if scenario.is(Variant::RefusedMeansSentinel) {
            gate.enlisted |= wanted;
        }
    }
}

/// W12: LISTEN to the publishers' channel, by whoever has the lock. Between the two nobody heard: what was published then to the
/// lanes that are looked at is found, and of each other lane somebody is told, in a statement after the LISTEN.
pub(crate) fn hear(scenario: &Scenario, state: &mut State, r: usize, k: usize, first: usize) {
    let others = scenario.mask_of(k) & !scenario.wanted(state, r, k);
    let gate = state.gate_mut(r, k);
    gate.hears = true;
    gate.phase = Phase::Arming(Arm::Sentinel);
    if !scenario.is(Variant::HeardUntold) {
        state.tell(scenario, k, others, Some(r), first);
    }
}

/// W2: enlisted first, then the shared try; granted, it is released in the same statement. A follower hears publishers no more. It
/// stays on duty until it has looked and sleeps: the sentinel need not look at what it was told of.
pub(crate) fn try_shared(scenario: &Scenario, state: &mut State, r: usize, k: usize) {
    let granted = state.shared_is_free(k);
    let wanted = scenario.wanted(state, r, k);
    let gate = state.gate_mut(r, k);
    if granted {
        gate.phase = Phase::Silent;
        gate.enlisted |= wanted;
        return;
    }
    gate.phase = Phase::Arming(if scenario.is(Variant::EnlistedLate) { Arm::Unlisted } else { Arm::Follower });
    if !scenario.is(Variant::EnlistedLate) {
        gate.enlisted |= wanted;
    }
    (gate.hears, gate.announced) = (false, 0);
    if scenario.is(Variant::RefusedOffDuty) {
        gate.duty = 0;
    }
}

/// Unsafe variant: enlisted after the shared try was refused.
pub(crate) fn enlist(scenario: &Scenario, state: &mut State, r: usize, k: usize) {
    let wanted = scenario.wanted(state, r, k);
    let gate = state.gate_mut(r, k);
    gate.enlisted |= wanted;
    gate.phase = Phase::Arming(Arm::Follower);
}

/// W3: unlock, then tell one of those enlisted for each lane on the key, in one statement.
pub(crate) fn disarm(scenario: &Scenario, state: &mut State, r: usize, k: usize, first: usize) {
    let gate = state.gate_mut(r, k);
    gate.woken = false;
    (gate.duty, gate.enlisted) = (0, 0);
    let mut told = 0;
    if !scenario.is(Variant::DisarmWithoutNotify) {
        let lanes = if scenario.is(Variant::DisarmTellsOwnLanesOnly) { scenario.instances[r].serves } else { !0 };
        told = state.tell(scenario, k, scenario.mask_of(k) & lanes, Some(r), first);
    }
    // Somebody else will hear publishers. With nobody there, it may be sentinel again soon.
    if told != 0 || scenario.is(Variant::DisarmWithoutNotify) {
        let gate = state.gate_mut(r, k);
        (gate.hears, gate.announced) = (false, 0);
    }
    if scenario.is(Variant::ToldBeforeUnlock) {
        state.gate_mut(r, k).phase = Phase::Arming(Arm::Leaving);
    } else {
        unlock(state, r, k);
    }
}

/// The lock is let go.
pub(crate) fn unlock(state: &mut State, r: usize, k: usize) {
    state.keys[k].flags &= !bit(r);
    if state.keys[k].holder == Some(r) {
        state.keys[k].holder = None;
    }
    state.gate_mut(r, k).phase = Phase::Awake;
}

/// W5: lets the key go to look by itself. It stays on duty for its lanes; somebody is told of the others on the key.
pub(crate) fn linger(scenario: &Scenario, state: &mut State, r: usize, k: usize, first: usize) {
    unlock(state, r, k);
    let own = state.gate(r, k).duty;
    state.gate_mut(r, k).woken = false;
    if !scenario.is(Variant::LingerTellsNobody) {
        state.tell(scenario, k, scenario.mask_of(k) & !own, Some(r), first);
    }
    if scenario.is(Variant::LingerOffDuty) {
        state.gate_mut(r, k).duty = 0;
    }
}

/// W12: the demand for some lanes is gone. It is no longer one of those who may be told of them; where others sleep because of
/// it, one of them is told.
pub(crate) fn hand_over(scenario: &Scenario, state: &mut State, r: usize, k: usize, first: usize) {
    let gone = !scenario.wanted(state, r, k);
    let tells = !scenario.is(Variant::SaturationUntold);
    leave(scenario, state, r, k, gone, first, tells);
}

/// W12: a full claim while awake: there is more than one can take.
pub(crate) fn share(scenario: &Scenario, state: &mut State, r: usize, k: usize, first: usize) {
    leave(scenario, state, r, k, !0, first, true);
}

fn leave(scenario: &Scenario, state: &mut State, r: usize, k: usize, lanes: u8, first: usize, tells: bool) {
    let holds = state.keys[k].holder == Some(r);
    let stops = state.runtimes[r].stopping && !scenario.is(Variant::StopUntold);
    let gate = state.gate_mut(r, k);
    let told = if stops { (gate.duty | gate.enlisted) & lanes } else { gate.duty & lanes };
    gate.duty &= !lanes;
    gate.enlisted &= !lanes;
    if !holds {
        (gate.hears, gate.announced) = (false, 0);
    }
    if tells {
        state.tell(scenario, k, told, Some(r), first);
    }
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
}

/// The scan is over and left nothing in doubt but what `scan` and `woken` say.
pub(crate) fn after_scan(scenario: &Scenario, state: &mut State, r: usize, k: usize, scan: Scan) {
    let wants = scenario.wants_key(state, r, k);
    let wanted = scenario.wanted(state, r, k);
    let wants_left = wanted & scan.left != 0;
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
    if gate.phase == Phase::Following {
        gate.duty &= !wanted;
    }
    if gate.phase == Phase::Armed {
        gate.duty |= wanted;
        gate.hears |= scenario.is(Variant::HeardLate);
    }
}
