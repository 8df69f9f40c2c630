//! Publishers: begin, insert with the trigger's check, commit or roll back.

use super::model::Action;
use super::scenario::{Isolation, Scenario};
use super::state::{KEYS, Mask, State, Tx, bit, has};
use super::variants::Variant;

/// What publisher `p` may do next. Nothing here is owed: a transaction may stay open for ever;
/// only a commit that has begun is finished.
pub(crate) fn actions(scenario: &Scenario, state: &State, p: usize, actions: &mut Vec<Action>) {
    let spec = scenario.publishers[p];
    match state.publishers[p] {
        // Like publishers start in order: any other order is the same but for names.
        Tx::Idle if p > 0 && scenario.publishers[p - 1] == spec && state.publishers[p - 1] == Tx::Idle => {}
        Tx::Idle if spec.isolation == Isolation::RepeatableRead => actions.push(Action::Begin(p)),
        Tx::Idle | Tx::Begun { .. } => actions.push(Action::Insert(p)),
        Tx::Open { .. } => {
            actions.push(Action::Commit(p));
            if spec.may_roll_back {
                actions.push(Action::Rollback(p));
            }
        }
        Tx::Unlocked => actions.push(Action::EndCommit(p)),
        Tx::Committed | Tx::Claimed if holds_shared(scenario, state, p) => {
            actions.push(Action::EndCommit(p));
        }
        Tx::Committed | Tx::RolledBack | Tx::Claimed => {}
    }
}

/// REPEATABLE READ: the snapshot is taken now, whatever is armed later.
pub(crate) fn begin(state: &mut State, p: usize) {
    state.publishers[p] = Tx::Begun { saw: armed_flags(state) };
}

/// The insert and its trigger. Advisory locks are not MVCC: the check sees the present whatever
/// the snapshot. A row flag is seen as the snapshot has it.
pub(crate) fn insert(scenario: &Scenario, state: &mut State, p: usize) {
    let k = scenario.key_of(p);
    let silent = if scenario.uses_row_flag() {
        let saw = match state.publishers[p] {
            Tx::Begun { saw } => saw,
            _ => armed_flags(state),
        };
        !has(saw, k)
    } else if state.shared_is_free(k) {
        state.keys[k].shared |= bit(p);
        true
    } else {
        false
    };
    state.publishers[p] = Tx::Open { silent };
}

/// The commit becomes visible (and queues its notification), before the lock is released.
pub(crate) fn commit(scenario: &Scenario, state: &mut State, p: usize) {
    let lane = scenario.publishers[p].lane;
    let silent = state.publishers[p] == Tx::Open { silent: true };
    if !silent {
        state.announce(scenario, lane, None);
    }
    state.publishers[p] = if silent && scenario.is(Variant::UnlockBeforeVisible) {
        release(scenario, state, p);
        Tx::Unlocked
    } else {
        Tx::Committed
    };
}

/// The second half of a silent commit: locks go last. A claim may have taken the row meanwhile.
pub(crate) fn end_commit(scenario: &Scenario, state: &mut State, p: usize) {
    release(scenario, state, p);
    if state.publishers[p] == Tx::Unlocked {
        state.publishers[p] = Tx::Committed;
    }
}

/// No row, no notification, no lock.
pub(crate) fn roll_back(scenario: &Scenario, state: &mut State, p: usize) {
    release(scenario, state, p);
    state.publishers[p] = Tx::RolledBack;
}

/// The transaction's end frees its shared lock.
fn release(scenario: &Scenario, state: &mut State, p: usize) {
    state.keys[scenario.key_of(p)].shared &= !bit(p);
}

fn holds_shared(scenario: &Scenario, state: &State, p: usize) -> bool {
    has(state.keys[scenario.key_of(p)].shared, p)
}

fn armed_flags(state: &State) -> Mask {
    (0..KEYS).filter(|&k| state.keys[k].flags != 0).fold(0, |mask, k| mask | bit(k))
}
