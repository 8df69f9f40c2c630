//! Claims, their answers, and those that nobody answers for.

use super::law::{Place, Step, Token, waits_for_the_disk};
use super::scenario::Scenario;
use super::state::{Outcome, Run, Stage, State};
use super::variants::Variant;

/// In the model an instance is its session.
pub(crate) fn session(i: usize) -> i32 {
    i32::try_from(i).expect("two")
}

pub(crate) fn is_possible(state: &State, m: usize) -> bool {
    state.family.rows[m].place == Place::Ready && state.claims < state.budget.claims
}

pub(crate) fn claim(scenario: &Scenario, state: &mut State, i: usize, m: usize) {
    state.claims += 1;
    let token = match scenario.variant {
        Variant::TokenCounted => state.counted + 1,
        Variant::RescueKeepsToken => 0,
        _ => Token::from(state.claims),
    };
    state.counted += 1;
    state.owners[m] = state.claims;
    state.take(m, Step::Claim { token, session: session(i) });
    if state.wary || (waits_for_the_disk(scenario.keyed) && !scenario.is(Variant::KeyedClaimVolatile)) {
        state.volatile.clear();
    } else {
        state.volatile.push(m);
    }
    state.runs.push(Run { row: m, by: i, number: state.claims, token, stage: Stage::Answer, excused: false });
}

pub(crate) fn start(state: &mut State, r: usize) {
    let run = &mut state.runs[r];
    run.stage = Stage::Running;
    state.seen.begun[run.row] |= 1 << run.number;
}

/// The claim of row `m` that `i` has sent, if the row is active in its name.
fn own(state: &State, i: usize, m: usize) -> Option<Token> {
    match state.family.rows[m].place {
        Place::Active { token, session: of } if of == session(i) => Some(token),
        _ => None,
    }
}

/// Active in the name of `i`, and not in its ledger. How old it is is not asked: an answer may take longer than any age.
pub(crate) fn is_orphan(scenario: &Scenario, state: &State, i: usize, m: usize) -> bool {
    let answers_for = |token: Token| {
        state.runs.iter().any(|run| run.by == i && run.row == m && run.token == token && run.stage != Stage::Answer)
    };
    let wanted = |token: Token| match scenario.variant {
        Variant::OrphansUnsought => false,
        Variant::OrphansWithoutLedger => {
            !state.runs.iter().any(|run| run.by == i && run.token == token && matches!(run.stage, Stage::Settling(_)))
        }
        _ => !answers_for(token),
    };
    own(state, i, m).is_some_and(wanted)
}

/// It goes into the ledger with its outcome. An answer that is still on its way is not taken from then on.
pub(crate) fn orphan(scenario: &Scenario, state: &mut State, i: usize, m: usize) {
    let Some(token) = own(state, i, m) else { return };
    let number = state.owners[m];
    let late = |run: &Run| run.by == i && run.number == number && run.stage == Stage::Answer;
    state.seen.disowned |= state.runs.iter().any(late);
    if !scenario.is(Variant::LateAnswerTaken) {
        state.runs.retain(|run| !late(run));
    }
    let stage = Stage::Settling(Outcome::HandBack);
    state.runs.push(Run { row: m, by: i, number, token, stage, excused: false });
}
