//! Which steps are enabled, and what each does.

use stateright::{Model, Property};

use super::law::{Place, Step};
use super::scenario::Scenario;
use super::state::{Instance, Outcome, Process, Stage, State};
use super::{claim, faults, properties, settle};

/// One atomic step: `i` is an instance, `m` a row, `r` a run in the list of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// `i` claims row `m`: one statement, committed.
    Claim(usize, usize),
    /// The answer arrives.
    Answered(usize),
    AnswerLost(usize),
    /// The handler begins
    Start(usize),
    /// ... and succeeds: its COMMIT is sent
    Finish(usize),
    /// ... or fails
    Fail(usize),
    /// ... or refuses its message.
    Reject(usize),
    /// It goes back unstarted, as at a stop.
    HandBack(usize),
    /// The server carries a settle out, and its answer arrives
    Settle(usize),
    /// ... or is lost.
    SettleLost(usize),
    /// The connection breaks before the server has read the settle
    SettleUnread(usize),
    /// ... or its sender waits no longer, and the server carries it out at some time.
    SettleLate(usize),
    /// Row `m`'s backoff is over.
    Due(usize),
    /// `i` rescues the other one's rows.
    Rescue(usize),
    /// `i` hands back row `m`, which is in its name and not in its ledger.
    Orphan(usize, usize),
    Die(usize),
    Freeze(usize),
    Thaw(usize),
    /// The listener of `i` loses its connection
    CutOff(usize),
    /// ... and has one again, with the liveness lock.
    Reconnect(usize),
    /// The server crashes; so many of the claims that are not on the disk are on it after all.
    Crash(usize),
}

impl Scenario {
    /// Steps that happen sooner or later without anything going wrong.
    pub(crate) fn owed(&self, state: &State) -> Vec<Action> {
        let mut actions = Vec::new();
        for (r, run) in state.runs.iter().enumerate() {
            let alive = state.acts(run.by);
            match run.stage {
                Stage::Answer if alive => actions.push(Action::Answered(r)),
                Stage::Held if alive => actions.push(Action::Start(r)),
                Stage::Running if alive => actions.extend([Action::Finish(r), Action::Fail(r), Action::Reject(r)]),
                Stage::Settling(_) => actions.push(Action::Settle(r)),
                _ => {}
            }
        }
        for (i, instance) in state.instances.iter().enumerate() {
            if instance.process == Process::Deaf || (state.acts(i) && !instance.locked) {
                actions.push(Action::Reconnect(i));
            }
            if instance.process == Process::Frozen {
                actions.push(Action::Thaw(i));
            }
            if state.acts(i) {
                let rows = 0..state.family.rows.len();
                actions.extend(rows.clone().filter(|m| claim::is_possible(state, *m)).map(|m| Action::Claim(i, m)));
                actions.extend(rows.filter(|m| claim::is_orphan(self, state, i, *m)).map(|m| Action::Orphan(i, m)));
                if faults::may_be_rescued(self, state, 1 - i) {
                    actions.push(Action::Rescue(i));
                }
            }
        }
        let waiting = (0..state.family.rows.len()).filter(|m| state.family.rows[*m].place == Place::Waiting);
        actions.extend(waiting.map(Action::Due));
        actions
    }
}

impl Model for Scenario {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.start()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(self.owed(state));
        let left = state.budget;
        for (r, run) in state.runs.iter().enumerate() {
            match run.stage {
                Stage::Held if left.hand_backs > 0 && state.acts(run.by) => actions.push(Action::HandBack(r)),
                Stage::Answer if left.losses > 0 => actions.push(Action::AnswerLost(r)),
                Stage::Settling(_) if left.losses > 0 => {
                    actions.extend([Action::SettleLost(r), Action::SettleLate(r)]);
                    if run.stage == Stage::Settling(Outcome::Commit) {
                        actions.push(Action::SettleUnread(r));
                    }
                }
                _ => {}
            }
        }
        for (i, instance) in state.instances.iter().enumerate() {
            if instance.process == Process::Up {
                // Somebody lives on: what nobody is there to do is not done.
                let another = !state.is_dead(1 - i);
                actions.extend((left.deaths > 0 && another).then_some(Action::Die(i)));
                actions.extend((left.freezes > 0).then_some(Action::Freeze(i)));
                actions.extend((left.cuts > 0).then_some(Action::CutOff(i)));
            }
        }
        if left.crashes > 0 {
            actions.extend((0..=state.volatile.len()).map(Action::Crash));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        let state = &mut next;
        match action {
            Action::Claim(i, m) => claim::claim(self, state, i, m),
            Action::Answered(r) => state.runs[r].stage = Stage::Held,
            Action::AnswerLost(r) => {
                state.budget.losses -= 1;
                state.runs.remove(r);
            }
            Action::Start(r) => claim::start(state, r),
            Action::Finish(r) => settle::finish(self, state, r),
            Action::Fail(r) => state.runs[r].stage = Stage::Settling(Outcome::Failed),
            Action::Reject(r) => state.runs[r].stage = Stage::Settling(Outcome::Rejected),
            Action::HandBack(r) => {
                state.budget.hand_backs -= 1;
                state.runs[r].stage = Stage::Settling(Outcome::HandBack);
            }
            Action::Settle(r) => settle::settle(self, state, r),
            Action::SettleLost(r) => settle::settle_unanswered(self, state, r),
            Action::SettleUnread(r) => settle::commit_unread(self, state, r),
            Action::SettleLate(r) => settle::settle_late(self, state, r),
            Action::Due(m) => state.take(m, Step::Due),
            Action::Rescue(i) => faults::rescue(self, state, 1 - i),
            Action::Orphan(i, m) => claim::orphan(self, state, i, m),
            Action::Die(i) => faults::die(state, i),
            Action::Freeze(i) => {
                state.budget.freezes -= 1;
                state.instances[i].process = Process::Frozen;
            }
            Action::CutOff(i) => {
                state.budget.cuts -= 1;
                state.instances[i] = Instance { process: Process::Deaf, locked: false };
            }
            Action::Thaw(i) => state.instances[i].process = Process::Up,
            Action::Reconnect(i) => state.instances[i] = Instance { process: Process::Up, locked: true },
            Action::Crash(kept) => faults::crash(self, state, kept),
        }
        state.runs.sort_by_key(|run| (run.number, run.by));
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
