//! A message's life as explicit-state models: claims, tokens, rescue and crashes; a key's handover; the spool.
//!
//! The promises are that no message is lost, doubled or overtaken in its key, whatever dies, stops, is cut off or goes unanswered.
//! Each fault alone has a test against Postgres; what two of them do to one another in the wrong moment is looked for here, in
//! every interleaving of a small world. The law of a row (`life_model/law.rs`) is also what `tests/faults` holds against the
//! recorded histories of real runs (I12).
//!
//! # What is modelled
//!
//! - **A claimed message** (`claim`, `settle`, `faults`): two instances, one message or two of a key. A claim, a settle, a rescue
//!   is one statement or transaction; its answer arrives later or never, and a settle that is under way is carried out though its
//!   sender is dead. The handler's effect is committed with its settle, or the run fails or refuses its message; an unanswered
//!   COMMIT is settled as failed. Processes die, stop past their lease and go on, or lose their listener while all else works. The
//!   server crashes: claims that are not on the disk are forgotten, but for as many of the oldest as one likes.
//! - **A key's handover** (`handover`): three publishers of one key and the settles of their messages, lock by lock, with
//!   snapshots.
//! - **The spool** (`spool`, `spool_steps`, `forward`): one publisher, whose INSERTs may lie unread, hold their lock or have read
//!   the fence when it gives them up; a forwarder with batches of one or two records and COMMITs that go unanswered; kills between
//!   any two steps; a folder that is put back to an earlier state.
//!
//! # The invariants
//!
//! A settle is accepted only from the claim that the row is under. An effect is committed once if its message is done, not at all
//! if it is dead, and in the order of its key. No run goes on beside another of its message or key, unless its process was cut off
//! or stopped, or a crash forgot the claim of a message without a key. No message is tried too often, forgotten claims aside. What
//! was acknowledged is in Postgres or in the spool, once in Postgres, and there in the order of its publisher. When nothing more
//! comes by itself, every message has ended and the spool is empty.
//!
//! # What is abstracted away
//!
//! Time (a backoff, a lease, the orphan check's age may be over at any moment), batches of settles (each is alone), snoozes,
//! undecodable and addressed messages, what an operator does, a message claimed ahead (a claim that is held). That a move between
//! tables is whole is Postgres' word: the law's steps are atomic, so that one message is one row by construction; after real kills
//! I1 and I4 of the fault suite check it. The spool's files are taken for whole (`tests/spool/damage.rs`), and its messages have
//! one lane and no key.
//!
//! # What the models say of the design
//!
//! Each rule has a variant without it that fails (`variants.rs`, `spool.rs`, `handover.rs`). Three were missing in the
//! code:
//!
//! - An answer to a claim that comes after the orphan check has handed its rows back must not be taken. Its settle was fenced all
//!   the same, but two of a key ran at once (`tests/late_answer.rs`).
//! - How far a spool is forwarded must never go back in Postgres. A batch that was there already, and ended below that number, set
//!   it back, and the next records were forwarded again (`tests/spool/doubt.rs`).
//! - The first number that was given without meeting Postgres must be remembered over starts. Of a folder that was put back, written
//!   to, and started once more, what was written passed for forwarded, and was lost (`tests/spool/doubt.rs`).
//!
//! And one was expected and is none: the look for what was settled after all, before an unanswered settle is repeated
//! (`find_settled.sql`), only keeps the counters right. The token alone makes a repeat harmless, which is why the model has no such
//! look.

#[path = "explorer.rs"]
mod explorer;

mod life_model {
    pub(crate) mod claim;
    pub(crate) mod faults;
    pub(crate) mod forward;
    pub(crate) mod handover;
    pub(crate) mod law;
    pub(crate) mod model;
    pub(crate) mod properties;
    pub(crate) mod scenario;
    pub(crate) mod settle;
    pub(crate) mod spool;
    pub(crate) mod spool_steps;
    pub(crate) mod state;
    pub(crate) mod variants;
}

use explorer::{fails, holds};
use life_model::handover::{self, KeyModel, KeyRule};
use life_model::properties::{CRASHES_COUNT, EFFECT_ONCE, IN_ORDER, NOT_STOLEN, NOTHING_LEFT, ONE_AT_A_TIME, TRIES};
use life_model::properties::{DEAD, DISOWNED, DONE, FENCED, FORGOTTEN, RESCUED};
use life_model::scenario::{self as in_, Scenario};
use life_model::spool::{self, Rule, SpoolModel};
use life_model::variants::Variant;

fn verify(scenario: Scenario, reached: &[&'static str]) {
    holds(scenario.name, scenario, reached);
}

/// With `variant` in place of the design, `property` fails in `scenario`.
fn refute(scenario: Scenario, variant: Variant, property: &'static str) {
    fails(&format!("{}, {variant:?}", scenario.name), scenario.with(variant), property);
}

/// Fear: who was taken for dead comes back and settles what is another's, or its effect is there beside the other's.
#[test]
fn a_zombie_settles_nothing() {
    verify(in_::zombies(), &[FENCED, RESCUED, DISOWNED, DONE, DEAD]);
    refute(in_::zombies(), Variant::SettleUnfenced, NOT_STOLEN);
    refute(in_::zombies(), Variant::RescueKeepsToken, NOT_STOLEN);
    refute(in_::zombies(), Variant::HandBackUnfenced, NOT_STOLEN);
    refute(in_::zombies(), Variant::EffectApart, EFFECT_ONCE);
    refute(in_::zombies(), Variant::RescueUnasked, ONE_AT_A_TIME);
}

/// Fear: a crash of the server forgets a claim, and its run settles the next one's row; or all that live are taken for dead after it.
#[test]
fn a_forgotten_claim_settles_nothing() {
    verify(in_::crashes(), &[FENCED, RESCUED, FORGOTTEN, DISOWNED, DONE, DEAD]);
    refute(in_::crashes(), Variant::TokenCounted, NOT_STOLEN);
    refute(in_::crashes(), Variant::RescueWithoutGrace, ONE_AT_A_TIME);
}

/// Fear: a message that kills its process goes round for ever.
#[test]
fn poison_runs_out_of_tries() {
    verify(in_::poison(), &[FENCED, RESCUED, DONE, DEAD]);
    refute(in_::poison(), Variant::RescueCostsNothing, TRIES);
}

/// Fear: a message that crashes the server goes round for ever, for each crash forgets its try.
#[test]
fn what_crashes_the_server_runs_out_of_tries() {
    verify(in_::crashes_in_a_row(), &[FORGOTTEN, DONE, DEAD]);
    refute(in_::crashes_in_a_row(), Variant::NeverWary, CRASHES_COUNT);
}

/// Fear: an answer is lost, and its message is lost with it, done twice, or taken for done.
#[test]
fn unknown_commits_are_made_good() {
    refute(in_::zombies(), Variant::UnknownCommitDone, EFFECT_ONCE);
    refute(in_::zombies(), Variant::OrphansUnsought, NOTHING_LEFT);
    refute(in_::zombies(), Variant::OrphansWithoutLedger, ONE_AT_A_TIME);
}

/// Fear: two of one key run at once or the later one first, or a key is held for ever by what has ended.
#[test]
fn a_key_is_one_at_a_time_whatever_dies() {
    verify(in_::key_and_deaths(), &[FENCED, RESCUED, DONE, DEAD]);
    verify(in_::key_and_losses(), &[FENCED, DISOWNED, DONE, DEAD]);
    refute(in_::key_and_losses(), Variant::KeyedClaimVolatile, ONE_AT_A_TIME);
    refute(in_::key_and_losses(), Variant::LateAnswerTaken, ONE_AT_A_TIME);
    refute(in_::key_and_deaths(), Variant::KeyFreedEarly, IN_ORDER);
    refute(in_::key_and_deaths(), Variant::KeyFreedApart, NOTHING_LEFT);
    refute(in_::key_and_deaths(), Variant::RescueKeepsKey, NOTHING_LEFT);
}

/// Fear: a message is parked in the moment in which its key is freed, and nobody frees it any more; or places do not follow the commits.
#[test]
fn a_key_is_handed_over_under_its_lock() {
    holds("a key's handover", KeyModel(KeyRule::Design), &[handover::FREED, handover::EMPTIED]);
    for (rule, property) in [
        (KeyRule::DrawnBeforeLock, handover::COMMIT_ORDER),
        (KeyRule::ReleaseInOneStatement, handover::NOT_STRANDED),
        (KeyRule::ReleaseUnlocked, handover::NOT_STRANDED),
    ] {
        fails(&format!("a key's handover, {rule:?}"), KeyModel(rule), property);
    }
}

/// Fear: what was acknowledged while Postgres was away comes twice, never, or out of order.
#[test]
fn the_spool_is_forwarded_once_and_in_order() {
    let reached = [spool::LATE, spool::FENCED, spool::PASSED_OVER, spool::HANDLED, spool::DIRECT_AGAIN];
    holds("spool, outages", SpoolModel::outages(), &reached);
    for (rule, property) in [
        (Rule::DoubtIgnored, spool::ONCE),
        (Rule::NoFence, spool::ONCE),
        (Rule::NoWait, spool::ONCE),
        (Rule::FenceReadBeforeLock, spool::ONCE),
        (Rule::LookAtReadyAlone, spool::ONCE),
        (Rule::ProgressApart, spool::ONCE),
        (Rule::ProgressUnlocked, spool::ONCE),
        (Rule::ProgressGoesBack, spool::ONCE),
        (Rule::ForgottenEarly, spool::KEPT),
        (Rule::Overtakes, spool::IN_ORDER),
        (Rule::WaitsTooShort, spool::IN_ORDER),
        (Rule::BatchLost, spool::EMPTIED),
    ] {
        fails(&format!("spool, outages, {rule:?}"), SpoolModel { rule, ..SpoolModel::outages() }, property);
    }
}

/// Fear: numbers are given again by a folder that was put back, and what is new passes for forwarded, or what is old is forwarded again.
#[test]
fn a_folder_that_was_put_back_takes_a_new_name() {
    holds("spool, put back", SpoolModel::restored(), &[spool::RENAMED, spool::PASSED_OVER]);
    for (rule, property) in
        [(Rule::NameKept, spool::KEPT), (Rule::StartForgotten, spool::KEPT), (Rule::NewNameUndoubted, spool::ONCE)]
    {
        fails(&format!("spool, put back, {rule:?}"), SpoolModel { rule, ..SpoolModel::restored() }, property);
    }
}
