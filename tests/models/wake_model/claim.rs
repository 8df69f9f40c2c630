//! The scan, which is the claim itself: snapshot, read with SKIP LOCKED, commit or fail.

use super::gate;
use super::scenario::{Class, Scenario};
use super::state::{Arm, Gate, Phase, Runtime, Scan, State, Tx, bit, has};
use super::variants::Variant;

/// The statement starts: its snapshot is taken.
pub(crate) fn snapshot(scenario: &Scenario, state: &mut State, r: usize, k: usize) {
    let served = |m: &usize| scenario.key_of(*m) == k && scenario.serves(r, scenario.publishers[*m].lane);
    let visible = state.snapshot();
    let rows = (0..state.publishers.len()).filter(|&m| has(visible, m)).filter(served);
    let sees = rows.fold(0, |mask, m| mask | bit(m));
    let gate = state.gate_mut(r, k);
    gate.scan = Some(Scan { sees, locked: 0, takes: 0, read: false, left: 0 });
    if gate.phase == Phase::Arming(Arm::Sentinel) {
        gate.orphaned = 0;
    }
    if scenario.is(Variant::WakeClearedAtScan) {
        gate.woken = false;
    }
    if scenario.is(Variant::LockAndScanInOne) && gate.phase == Phase::Awake {
        gate.phase = Phase::Arming(Arm::OneStatement);
    }
}

/// The statement reads, high lanes first: rows locked by others are skipped, as many of the rest
/// are taken as there are free workers. Taking nothing ends the scan at once.
pub(crate) fn read(scenario: &Scenario, state: &mut State, r: usize, k: usize) {
    let Some(mut scan) = state.gate(r, k).scan else { return };
    scan.read = true;
    let others = state.locked_rows();
    for class in [Class::High, Class::Normal] {
        for m in 0..state.publishers.len() {
            let lane = scenario.publishers[m].lane;
            let open = has(scan.sees, m) && state.publishers[m] == Tx::Committed && !has(others, m);
            if !open || scenario.lanes[lane].class != class {
                continue;
            }
            let takes = scenario.wants(state, r, lane);
            if takes {
                scan.takes |= bit(m);
                occupy(scenario, &mut state.runtimes[r], r, class);
            } else {
                scan.left |= bit(lane);
            }
            if takes || scenario.is(Variant::ClaimLocksMoreThanItTakes) {
                scan.locked |= bit(m);
            }
        }
    }
    state.gate_mut(r, k).scan = Some(scan);
    if scan.locked == 0 {
        gate::after_scan(scenario, state, r, k, scan);
    }
}

/// The claim commits: its rows are gone from `ready`, the rest of what it locked is free.
pub(crate) fn commits(scenario: &Scenario, state: &mut State, r: usize, k: usize) {
    let Some(scan) = state.gate(r, k).scan else { return };
    for m in 0..state.publishers.len() {
        if has(scan.takes, m) {
            state.publishers[m] = Tx::Claimed;
        }
    }
    gate::after_scan(scenario, state, r, k, scan);
}

/// The claim's transaction rolls back: rows that others may have skipped are claimable again and
/// no trigger says so. Its runtime scans again itself, and notifies the key, since it may lose its
/// demand before it gets to.
pub(crate) fn fails(scenario: &Scenario, state: &mut State, r: usize, k: usize) {
    let Some(scan) = state.gate(r, k).scan else { return };
    state.budget.claim_failures -= 1;
    let before = scenario.demand(state, r);
    for m in 0..state.publishers.len() {
        if has(scan.takes, m) {
            vacate(&mut state.runtimes[r], scenario.lanes[scenario.publishers[m].lane].class);
        }
    }
    if scenario.is(Variant::FailedClaimSleeps) {
        gate::after_scan(scenario, state, r, k, Scan { left: 0, ..scan });
        return;
    }
    let gate = state.gate_mut(r, k);
    gate.scan = None;
    gate.woken = false;
    let lanes = scenario.instances[r].serves & scenario.mask_of(k);
    if !scenario.is(Variant::FailedClaimOnlyRescans) {
        gate.owes_claim |= lanes;
    }
    gate.duty |= lanes;
    gate.phase = match gate.phase {
        Phase::Arming(Arm::Sentinel | Arm::WaitXip(_)) => Phase::Arming(Arm::Sentinel),
        Phase::Silent => Phase::Silent,
        _ => Phase::Awake,
    };
    regained(scenario, state, r, before);
}

/// A worker of `r` has finished.
pub(crate) fn finish(scenario: &Scenario, state: &mut State, r: usize, class: Class) {
    let before = scenario.demand(state, r);
    match class {
        Class::High => state.runtimes[r].busy_high -= 1,
        Class::Normal => state.runtimes[r].busy_normal -= 1,
    }
    regained(scenario, state, r, before);
}

/// Lanes that `r` wants and did not want `before` must be scanned, also where the key stayed
/// armed for another lane: its last scan did not look at these.
pub(crate) fn regained(scenario: &Scenario, state: &mut State, r: usize, before: u8) {
    if scenario.is(Variant::RegainedDemandWithoutScan) {
        return;
    }
    let news = scenario.demand(state, r) & !before;
    for k in 0..state.keys.len() {
        if scenario.lanes_of(k).any(|lane| has(news, lane)) {
            gate::wake(scenario, state, r, k);
        }
    }
}

/// Is the gate, as it stands, going to look at message `m` once more?
pub(crate) fn will_see(gate: &Gate, m: usize) -> bool {
    match (gate.phase, gate.scan) {
        (Phase::Armed | Phase::Following, _) => false,
        (Phase::Awake | Phase::Silent, _) | (Phase::Arming(_), None) => true,
        (Phase::Arming(_), Some(scan)) => gate.woken || (has(scan.sees, m) && !scan.read) || scan.left != 0,
    }
}

/// High-only workers first, so that normal ones stay free for whatever comes.
fn occupy(scenario: &Scenario, runtime: &mut Runtime, r: usize, class: Class) {
    if class == Class::High && runtime.busy_high < scenario.instances[r].high_slots {
        runtime.busy_high += 1;
    } else {
        runtime.busy_normal += 1;
    }
}

/// The reverse of `occupy`.
fn vacate(runtime: &mut Runtime, class: Class) {
    if class == Class::High && runtime.busy_high > 0 {
        runtime.busy_high -= 1;
    } else {
        runtime.busy_normal -= 1;
    }
}
