//! What goes wrong with processes and the server, and the rescue that makes it good.

use super::claim::session;
use super::law::{Place, Step};
use super::scenario::Scenario;
use super::state::{Instance, Outcome, Process, Stage, State};
use super::variants::Variant;

/// Its liveness lock is free for longer than a reconnect takes, or its lease is over; and it has rows.
pub(crate) fn may_be_rescued(scenario: &Scenario, state: &State, of: usize) -> bool {
    let instance = state.instances[of];
    let gone = match instance.process {
        Process::Dead | Process::Deaf | Process::Frozen => true,
        Process::Up => {
            scenario.is(Variant::RescueUnasked) || (scenario.is(Variant::RescueWithoutGrace) && !instance.locked)
        }
    };
    gone && (0..state.family.rows.len()).any(|m| is_active_of(state, m, of))
}

fn is_active_of(state: &State, m: usize, of: usize) -> bool {
    matches!(state.family.rows[m].place, Place::Active { session: s, .. } if s == session(of))
}

pub(crate) fn rescue(scenario: &Scenario, state: &mut State, of: usize) {
    let excused = state.instances[of].process != Process::Up;
    let rows: Vec<usize> = (0..state.family.rows.len()).filter(|m| is_active_of(state, *m, of)).collect();
    for m in rows {
        let step = Step::Rescue(session(of));
        if scenario.is(Variant::RescueCostsNothing) {
            let Place::Active { token, .. } = state.family.rows[m].place else { continue };
            state.take(m, Step::HandBack(token));
        } else if scenario.is(Variant::RescueKeepsKey) {
            state.take_and_keep_key(m, step).expect("it is active of that session");
        } else {
            state.take(m, step);
        }
        let number = state.owners[m];
        state.runs.iter_mut().filter(|run| run.number == number).for_each(|run| run.excused |= excused);
    }
    state.volatile.clear();
    state.seen.rescued = true;
}

/// What it had sent is carried out all the same, or not: a run that had ended and was not sent is as one that had not ended.
pub(crate) fn die(state: &mut State, i: usize) {
    state.budget.deaths -= 1;
    state.instances[i] = Instance { process: Process::Dead, locked: false };
    let sent = |stage| matches!(stage, Stage::Settling(outcome) if outcome != Outcome::Release);
    state.runs.retain(|run| run.by != i || sent(run.stage));
}

/// The server loses its memory: claims past the first `kept` that are not on the disk, open transactions, every connection.
pub(crate) fn crash(scenario: &Scenario, state: &mut State, kept: usize) {
    state.budget.crashes -= 1;
    for m in state.volatile.split_off(kept).into_iter().rev() {
        let number = state.owners[m];
        state.take(m, Step::Forget);
        state.counted -= 1;
        state.seen.forgotten |= 1 << number;
        let runs = state.runs.iter_mut().filter(|run| run.number == number);
        runs.for_each(|run| run.excused |= !scenario.keyed);
    }
    state.volatile.clear();
    state.wary = scenario.in_a_row && !scenario.is(Variant::NeverWary);
    for instance in &mut state.instances {
        instance.locked = false;
    }
    let dead: Vec<bool> = (0..state.instances.len()).map(|i| state.is_dead(i)).collect();
    state.runs.retain_mut(|run| match run.stage {
        Stage::Answer => false,
        Stage::Settling(_) if dead[run.by] => false,
        Stage::Settling(Outcome::Commit) => {
            run.stage = Stage::Settling(Outcome::Failed);
            true
        }
        _ => true,
    });
}
