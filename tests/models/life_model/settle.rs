//! How a run ends: its handler's COMMIT, its failure, its hand-back; and answers to these that are lost.

use super::law::{Place, Step};
use super::scenario::Scenario;
use super::state::{Outcome, Run, Stage, State};
use super::variants::Variant;

/// The handler has succeeded.
pub(crate) fn finish(scenario: &Scenario, state: &mut State, r: usize) {
    let mut outcome = Outcome::Commit;
    if scenario.is(Variant::EffectApart) {
        state.effect(state.runs[r].row);
        outcome = Outcome::Done;
    }
    if scenario.is(Variant::KeyFreedEarly) {
        state.family.release();
    }
    state.runs[r].stage = Stage::Settling(outcome);
}

/// The server carries it out, and its sender hears of it.
pub(crate) fn settle(scenario: &Scenario, state: &mut State, r: usize) {
    let then = carry_out(scenario, state, r);
    state.go_on(r, then);
}

/// The server carries it out, and its sender does not hear of it.
pub(crate) fn settle_unanswered(scenario: &Scenario, state: &mut State, r: usize) {
    state.budget.losses -= 1;
    let again = again(scenario, state, r);
    let then = carry_out(scenario, state, r);
    state.go_on(r, again.map(|again| then.unwrap_or(again)));
}

/// The handler's transaction is gone, and its sender does not know.
pub(crate) fn commit_unread(scenario: &Scenario, state: &mut State, r: usize) {
    state.budget.losses -= 1;
    let again = again(scenario, state, r);
    state.go_on(r, again);
}

/// The server will carry it out, beside what its sender does meanwhile.
pub(crate) fn settle_late(scenario: &Scenario, state: &mut State, r: usize) {
    state.budget.losses -= 1;
    if let Some(outcome) = again(scenario, state, r) {
        state.runs.push(Run { stage: Stage::Settling(outcome), ..state.runs[r] });
    }
}

/// What an unanswered settle's sender does, if it is alive. A handler's COMMIT is settled as failed: if it has happened, or does so first, that
/// is fenced, and else the COMMIT will be. Any other settle is repeated as it is.
fn again(scenario: &Scenario, state: &State, r: usize) -> Option<Outcome> {
    let Stage::Settling(outcome) = state.runs[r].stage else { return None };
    let again = match outcome {
        Outcome::Commit if scenario.is(Variant::UnknownCommitDone) => Outcome::Done,
        Outcome::Commit => Outcome::Failed,
        other => other,
    };
    (!state.is_dead(state.runs[r].by)).then_some(again)
}

/// What the settle makes of its row; answers what its sender does next.
fn carry_out(scenario: &Scenario, state: &mut State, r: usize) -> Option<Outcome> {
    let Run { row, token, number, .. } = state.runs[r];
    let Stage::Settling(outcome) = state.runs[r].stage else { return None };
    let unfenced = match outcome {
        Outcome::HandBack => scenario.is(Variant::HandBackUnfenced),
        _ => scenario.is(Variant::SettleUnfenced),
    };
    let token = match state.family.rows[row].place {
        Place::Active { token: any, .. } if unfenced => any,
        _ => token,
    };
    let step = match outcome {
        Outcome::Commit | Outcome::Done => Step::Done(token),
        Outcome::Failed => Step::Fail(token),
        Outcome::Rejected => Step::Reject(token),
        Outcome::HandBack => Step::HandBack(token),
        Outcome::Release => {
            state.family.release();
            return None;
        }
    };
    let own = state.owners[row] == number;
    let keeps_key = scenario.is(Variant::KeyFreedApart) || scenario.is(Variant::KeyFreedEarly);
    let settled = if keeps_key { state.take_and_keep_key(row, step) } else { state.family.step(row, step) };
    if settled.is_err() {
        state.seen.fenced = true;
        return None;
    }
    // Its commit waits for the disk, and so takes along what lies before it in the log.
    state.volatile.clear();
    state.seen.stolen |= !own;
    if outcome == Outcome::Commit {
        state.effect(row);
    }
    (scenario.is(Variant::KeyFreedApart) && state.family.rows[row].has_ended()).then_some(Outcome::Release)
}

impl State {
    /// The run's next settle, or its end.
    fn go_on(&mut self, r: usize, next: Option<Outcome>) {
        match next {
            Some(outcome) => self.runs[r].stage = Stage::Settling(outcome),
            None => drop(self.runs.remove(r)),
        }
    }

    /// An effect of row `m` is committed.
    fn effect(&mut self, m: usize) {
        self.seen.effects[m] += 1;
        self.seen.reordered |= self.family.rows[..m].iter().any(|before| !before.has_ended());
    }
}
