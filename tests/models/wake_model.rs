//! The wake-up protocol (W1-W9, W12) and the low-water fence as explicit-state models.
//!
//! A publisher must not notify when nobody sleeps, and a runtime must not sleep past a message. The
//! window in which the two decide is microseconds wide, so that a stress test of a wrong protocol
//! passes for hours; a model checker walks through every interleaving of a small world instead.
//! The phases and rules have the same names here and in `src/dispatch/gate.rs`.
//!
//! # What is modelled
//!
//! - Publishers, one row and one transaction each: READ COMMITTED, or REPEATABLE READ with an old
//!   snapshot. The trigger tries the key's advisory lock, shared, when the row is inserted; the
//!   commit comes later, or never, or is a rollback. A commit is visible first and unlocks after.
//! - Runtimes that serve different lanes, some on one key, with few workers, some for high only.
//!   Each has one gate per key: Awake, Arming, Silent, Armed, Following.
//! - Statements: a scan takes its snapshot in one step, reads and locks rows in a later one, and
//!   commits or fails in a third. Notifications reach whoever had LISTENed, at any later time. Of those who are enlisted for a lane
//!   any may be the one who is told.
//! - Workers that finish or hang, pause and resume, stop, the death of a process (the server notices
//!   on each of its connections separately), a lost session, heartbeats.
//!
//! # The invariant
//!
//! In every state, for every claimable message and every runtime with a free worker for it: the
//! runtime is going to look at it; or a notification to it is in flight or owed; or another runtime
//! with a free worker is going to look at it; or somebody died, and the runtime has not had its two
//! heartbeats since. And, without any notion of "in flight": when nothing is owed any more, no
//! claimable message is left beside a free worker for it.
//!
//! # What is abstracted away
//!
//! Time (a back-off, a linger, a heartbeat may end at any moment), all but a handful of messages and
//! lanes, the rescue of a dead runtime's claimed rows (an insert like any publish), savepoints (a
//! subtransaction's row, lock and notification go together), the moment between the shared try of W2
//! and its release (another's refusal by it ends in Silent, which is safe), more than one
//! notification of a kind under way for one lane to one runtime (they wake it no differently). Workers finish
//! in the scenarios where a freed worker matters. Runtimes configured alike are interchangeable.
//!
//! # What the model says of the design
//!
//! Rules that the first design left open, or which the model added, each with a variant that fails
//! without it (`variants.rs`):
//!
//! - W1: a wake is remembered from the moment the ARM statement is sent, not the scan. A follower
//!   that was refused by a sentinel which disarms before the scan would else sleep on.
//! - W1: a woken sentinel keeps its lock while it scans. A claim that left no row for want of a
//!   worker may sleep at once.
//! - W2: a woken follower goes back to W1; to scan again is not enough.
//! - W3: a lane whose demand returns is scanned, also where its key stayed armed for another lane.
//! - W3: a failed claim announces its lanes, and is on duty for them: its runtime may lose its demand (to another lane, or to a
//!   stop) before it scans again, while others have skipped the rows that it had locked. For the same
//!   reason nothing but a claim may lock ready rows, and a claim only those that it takes.
//! - W6: to others a queued waiter looks like a sentinel, under which there are silent publishers in
//!   flight. So somebody is told of each lane when it is granted, and when it gives up, by a later statement.
//! - W8: a follower's heartbeat is W1 and W2 again, with the shared try, and then a count; when both
//!   tries are refused, another has taken over, who need not serve the same lanes.
//! - W9: the death of a claimer in mid-claim counts like the sentinel's, and a death excuses two
//!   heartbeats, since one statement's count is older than its refusals.
//! - W12: the sentinel alone hears publishers, and one follower is told in place of all. It is safe if a follower enlists before its
//!   shared try; the teller reads the list after its unlock; a new sentinel, once it LISTENs, tells of the lanes that it does not
//!   scan; a sentinel passes on what it does not want; whoever is on duty hands over when it loses its demand, lingers with its key
//!   let go or not; who is told and wants nothing tells the next. A dead sentinel deafens all until the next heartbeats, and
//!   so does the death of one who was told.
//! - One's own announcements may be ignored if they are told apart by the session's own pid.
//! - Low water: the fence counts prepared transactions, which have no pid; its scan locks nothing and
//!   skips nothing; a reset voids a fence in progress; the hand-back holds the table's lock before
//!   its reset is sent.

#[path = "explorer.rs"]
mod explorer;

mod wake_model {
    pub(crate) mod check;
    pub(crate) mod claim;
    pub(crate) mod demand;
    pub(crate) mod gate;
    pub(crate) mod heartbeat;
    pub(crate) mod lowwater;
    pub(crate) mod lowwater_steps;
    pub(crate) mod model;
    pub(crate) mod postgres;
    pub(crate) mod properties;
    pub(crate) mod publisher;
    pub(crate) mod runtime;
    pub(crate) mod scenario;
    pub(crate) mod scenarios;
    pub(crate) mod state;
    pub(crate) mod variants;
}

use explorer::{fails, holds};
use wake_model::check::{refute, verify};
use wake_model::lowwater::{FENCE_WAITS, LOW_MOVES, NONE_SLEPT_ON, NOT_SKIPPED, RESET, SCAN_HOLDS_LOW, SLEPT};
use wake_model::lowwater::{LowModel, LowRule};
use wake_model::properties::{HEARTBEAT_DRY, NO_HERD, NO_LOST_WAKE, NOTHING_LEFT};
use wake_model::properties::{NOTIFIED_PUBLISH, SEEN_FOLLOWING, SEEN_SILENT, SILENT_PUBLISH};
use wake_model::scenario::Isolation;
use wake_model::{scenarios as in_, variants::Variant};

const PUBLISH: [&str; 2] = [SILENT_PUBLISH, NOTIFIED_PUBLISH];
const EVERY_PHASE: [&str; 4] = [SILENT_PUBLISH, NOTIFIED_PUBLISH, SEEN_SILENT, SEEN_FOLLOWING];

#[test]
fn w1_w3_hold_among_like_runtimes() {
    verify(in_::minimal(Isolation::ReadCommitted), &PUBLISH);
    verify(in_::minimal(Isolation::RepeatableRead), &PUBLISH);
    verify(in_::one_lane(), &EVERY_PHASE);
    verify(in_::three_runtimes(), &EVERY_PHASE);
}

#[test]
fn w1_w3_hold_with_lanes_that_share_keys_and_workers() {
    verify(in_::two_targets(), &EVERY_PHASE);
    verify(in_::addressed(), &EVERY_PHASE);
}

#[test]
fn w4_high_is_armed_while_normal_is_saturated() {
    verify(in_::classes_on_one_key(), &PUBLISH);
    verify(in_::classes_on_two_keys(), &PUBLISH);
    refute(in_::classes_on_two_keys(), Variant::HighSlotIgnored, NOTHING_LEFT);
    refute(in_::classes_on_one_key(), Variant::RegainedDemandWithoutScan, NOTHING_LEFT);
}

#[test]
fn w5_a_lingering_runtime_stays_on_duty() {
    verify(in_::lingering(), &EVERY_PHASE);
    verify(in_::lingering_two_targets(), &EVERY_PHASE);
    refute(in_::lingering(), Variant::LingerOffDuty, NOTHING_LEFT);
    refute(in_::lingering_two_targets(), Variant::LingerTellsNobody, NOTHING_LEFT);
}

#[test]
fn w6_a_queued_waiter_notifies_when_it_leaves_the_queue() {
    verify(in_::queueing(), &EVERY_PHASE);
    refute(in_::queueing(), Variant::WaiterWithoutNotify, NOTHING_LEFT);
}

#[test]
fn w7_pause_and_reconnect() {
    verify(in_::pausing(), &EVERY_PHASE);
    verify(in_::disconnecting(), &EVERY_PHASE);
    refute(in_::pausing(), Variant::ResumeWithoutNotify, NOTHING_LEFT);
    let without_net = in_::disconnecting().with(|s| s.heartbeats = false);
    refute(without_net, Variant::ScanBeforeListen, NOTHING_LEFT);
}

#[test]
fn w8_w9_a_death_is_made_good_by_the_next_heartbeats() {
    verify(in_::dying(), &EVERY_PHASE);
    verify(in_::dying_slow_beats(), &EVERY_PHASE);
    verify(in_::dying_two_targets(), &EVERY_PHASE);
    refute(in_::dying_two_targets(), Variant::TakeoverWithoutProbe, NO_LOST_WAKE);
    refute(in_::dying_two_targets(), Variant::HeartbeatWithoutCount, NOTHING_LEFT);
    refute(in_::dying(), Variant::ClaimerDeathUnexcused, HEARTBEAT_DRY);
    refute(in_::dying_slow_beats(), Variant::OneBeatExcused, HEARTBEAT_DRY);
}

#[test]
fn w12_one_is_told_who_takes_over_or_passes_it_on() {
    verify(in_::two_targets_twice(), &EVERY_PHASE);
    verify(in_::two_classes_twice(), &EVERY_PHASE);
    refute(in_::two_targets_twice(), Variant::RelayOwnLanesOnly, NOTHING_LEFT);
    refute(in_::two_targets_twice(), Variant::DisarmTellsOwnLanesOnly, NOTHING_LEFT);
    refute(in_::two_classes_twice(), Variant::UnwantedDropped, NOTHING_LEFT);
    refute(in_::two_classes_twice(), Variant::SaturationUntold, NOTHING_LEFT);
    verify(in_::stopping_three(), &EVERY_PHASE);
    refute(in_::stopping_three(), Variant::StopUntold, NOTHING_LEFT);
    verify(in_::behind_a_stranger(), &EVERY_PHASE);
    refute(in_::behind_a_stranger(), Variant::RefusedOffDuty, NOTHING_LEFT);
    refute(in_::three_runtimes(), Variant::ToldBeforeUnlock, NOTHING_LEFT);
    refute(in_::three_runtimes(), Variant::EnlistedLate, NOTHING_LEFT);
    refute(in_::two_targets_twice(), Variant::HeardUntold, NOTHING_LEFT);
    refute(in_::one_lane(), Variant::HeardLate, NOTHING_LEFT);
}

#[test]
fn w12_wakes_do_not_grow_with_the_number_of_runtimes() {
    verify(in_::herd(), &PUBLISH);
    verify(in_::herd_without_spare(), &PUBLISH);
    refute(in_::herd_without_spare(), Variant::EverybodyTold, NO_HERD);
}

#[test]
fn refuted_row_flag_in_place_of_the_lock() {
    refute(in_::minimal(Isolation::ReadCommitted), Variant::RowFlag, NOTHING_LEFT);
    refute(in_::minimal(Isolation::RepeatableRead), Variant::RowFlag, NOTHING_LEFT);
    verify(in_::minimal(Isolation::ReadCommitted).with(|s| s.variant = Variant::RowFlagAndXip), &[NOTIFIED_PUBLISH]);
    refute(in_::minimal(Isolation::RepeatableRead), Variant::RowFlagAndXip, NOTHING_LEFT);
}

#[test]
fn refuted_arming() {
    refute(in_::one_lane(), Variant::LockAndScanInOne, NOTHING_LEFT);
    refute(in_::one_lane(), Variant::UnlockBeforeVisible, NOTHING_LEFT);
    refute(in_::one_lane(), Variant::RefusedMeansSentinel, NOTHING_LEFT);
}

#[test]
fn refuted_wakes() {
    refute(in_::three_runtimes(), Variant::DisarmWithoutNotify, NOTHING_LEFT);
    refute(in_::three_runtimes(), Variant::FollowerOnlyRescans, NOTHING_LEFT);
    refute(in_::three_runtimes(), Variant::WakeClearedAtScan, NOTHING_LEFT);
    refute(in_::one_lane(), Variant::WakeDroppedWhileAwake, NOTHING_LEFT);
}

#[test]
fn a_claim_must_not_hide_rows_from_another_scan() {
    verify(in_::failing_claims(), &EVERY_PHASE);
    verify(in_::stopping(), &EVERY_PHASE);
    refute(in_::one_lane(), Variant::ClaimLocksMoreThanItTakes, NOTHING_LEFT);
    refute(in_::failing_claims(), Variant::FailedClaimOnlyRescans, NOTHING_LEFT);
    verify(in_::failing_claims_of_two_classes(), &EVERY_PHASE);
    refute(in_::stopping(), Variant::FailedClaimOnlyRescans, NOTHING_LEFT);
    refute(in_::stopping(), Variant::FailedClaimSleeps, NOTHING_LEFT);
}

#[test]
fn low_water_passes_no_claimable_row() {
    let low = |rule| LowModel { rule, writers: 2, consumers: 2, faults: 1 };
    let reached = [LOW_MOVES, FENCE_WAITS, SCAN_HOLDS_LOW, RESET, SLEPT];
    holds("low water, two consumers", low(LowRule::Design), &reached);
    let three = LowModel { rule: LowRule::Design, writers: 3, consumers: 2, faults: 0 };
    holds("low water, three writers", three, &reached[..3]);
    for rule in [
        LowRule::NoFence,
        LowRule::NoScan,
        LowRule::DrawBeforeLock,
        LowRule::ScanSkipsLocked,
        LowRule::ResetKeepsFence,
        LowRule::ResetBeforeLock,
        LowRule::ReconnectKeepsLow,
        LowRule::PreparedForgotten,
    ] {
        fails(&format!("low water, {rule:?}"), low(rule), NOT_SKIPPED);
    }
    for rule in [LowRule::ResetLetsSleep, LowRule::ResetForgottenByScan] {
        fails(&format!("low water, {rule:?}"), low(rule), NONE_SLEPT_ON);
    }
}
