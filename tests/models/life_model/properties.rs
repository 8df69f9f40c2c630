//! What must hold in every state, and what must be reached for a scenario to mean anything.

use stateright::Property;

use super::law::Place;
use super::scenario::Scenario;
use super::state::{Run, Stage, State};

pub(crate) const NOT_STOLEN: &str = "a settle is accepted from the row's own claim alone";
pub(crate) const EFFECT_ONCE: &str = "an effect is committed once if its message is done, else not at all";
pub(crate) const IN_ORDER: &str = "effects of a key are committed in the order of its messages";
pub(crate) const ONE_AT_A_TIME: &str = "nobody who was not cut off runs beside another";
pub(crate) const ONE_HEAD: &str = "of a key one message at a time is out of its park";
pub(crate) const TRIES: &str = "no message is tried more often than allowed";
pub(crate) const CRASHES_COUNT: &str = "of crashes in a row only the first forgets a try";
pub(crate) const NOTHING_LEFT: &str = "at rest, every message has ended";

pub(crate) const FENCED: &str = "some settle is fenced";
pub(crate) const FORGOTTEN: &str = "some claim is forgotten";
pub(crate) const RESCUED: &str = "something is rescued";
pub(crate) const DISOWNED: &str = "some claim is handed back before its answer arrives";
pub(crate) const DONE: &str = "all is done";
pub(crate) const DEAD: &str = "something dies";

pub(crate) fn all() -> Vec<Property<Scenario>> {
    vec![
        Property::always(NOT_STOLEN, |_, state: &State| !state.seen.stolen),
        Property::always(EFFECT_ONCE, |_, state: &State| {
            state.family.rows.iter().zip(state.seen.effects).all(|(row, effects)| match row.place {
                Place::Done => effects == 1,
                Place::Dead => effects == 0,
                _ => effects <= 1,
            })
        }),
        Property::always(IN_ORDER, |_, state: &State| !state.seen.reordered),
        Property::always(ONE_AT_A_TIME, one_at_a_time),
        Property::always(ONE_HEAD, |scenario: &Scenario, state: &State| {
            let out = |row: &&super::law::Row| !row.has_ended() && row.place != Place::Parked;
            !scenario.keyed || state.family.rows.iter().filter(out).count() <= 1
        }),
        Property::always(TRIES, |scenario: &Scenario, state: &State| {
            let tries = |begun: &u8| (begun & !state.seen.forgotten).count_ones() <= scenario.tries_max.into();
            state.seen.begun.iter().all(tries)
        }),
        Property::always(CRASHES_COUNT, |scenario: &Scenario, state: &State| {
            !scenario.in_a_row || state.seen.forgotten.count_ones() <= 1
        }),
        Property::always(NOTHING_LEFT, nothing_left_at_rest),
        Property::sometimes(FENCED, |_, state: &State| state.seen.fenced),
        Property::sometimes(FORGOTTEN, |_, state: &State| state.seen.forgotten != 0),
        Property::sometimes(RESCUED, |_, state: &State| state.seen.rescued),
        Property::sometimes(DISOWNED, |_, state: &State| state.seen.disowned),
        Property::sometimes(DONE, |_, state: &State| state.family.rows.iter().all(|row| row.place == Place::Done)),
        Property::sometimes(DEAD, |_, state: &State| state.family.rows.iter().any(|row| row.place == Place::Dead)),
    ]
}

/// All rows of a model are one message, or of one key.
fn one_at_a_time(_: &Scenario, state: &State) -> bool {
    let live = |run: &&Run| run.stage == Stage::Running && !run.excused;
    state.runs.iter().filter(live).count() <= 1
}

/// When nothing more comes by itself, all have ended; but for what no claim is left for in this small world.
fn nothing_left_at_rest(scenario: &Scenario, state: &State) -> bool {
    let unclaimed = |row: &super::law::Row| row.place == Place::Ready && state.claims == state.budget.claims;
    let waits = |m: usize| state.family.rows[..m].iter().any(unclaimed);
    let left = (0..state.family.rows.len()).any(|m| {
        let row = state.family.rows[m];
        let excused = unclaimed(&row) || (row.place == Place::Parked && waits(m));
        !row.has_ended() && !excused
    });
    !left || !scenario.owed(state).is_empty()
}
