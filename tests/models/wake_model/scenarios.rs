//! The scenarios, each as small as shows what it is about. What holds for the design in one of
//! them is refuted for a variant in the same one.

use super::scenario::Isolation::{ReadCommitted, RepeatableRead};
use super::scenario::{Class, Isolation, Scenario};

/// Two like runtimes; one publisher has an old snapshot, and either may roll back or stay open.
pub(crate) fn one_lane() -> Scenario {
    Scenario::new("one lane")
        .publisher(0, ReadCommitted)
        .publisher(0, RepeatableRead)
        .rolling_back()
        .runtime(&[0], 1, 0)
        .runtime(&[0], 1, 0)
}

/// A third runtime, so that one can be sentinel, one saturated, one about to sleep.
pub(crate) fn three_runtimes() -> Scenario {
    Scenario::new("three runtimes")
        .publisher(0, ReadCommitted)
        .publisher(0, ReadCommitted)
        .runtime(&[0], 1, 0)
        .runtime(&[0], 1, 0)
        .runtime(&[0], 1, 0)
        .with(|s| s.finishes = false)
}

/// One publisher and one runtime.
pub(crate) fn minimal(isolation: Isolation) -> Scenario {
    Scenario::new("one publisher, one runtime").publisher(0, isolation).runtime(&[0], 1, 0)
}

/// Lanes of two targets (or kinds) whose ids collide on one key: each runtime may be sentinel for
/// the other's messages.
pub(crate) fn two_targets() -> Scenario {
    Scenario::new("two targets on one key")
        .lanes(&[(0, Class::Normal), (0, Class::Normal)])
        .publisher(0, ReadCommitted)
        .publisher(1, RepeatableRead)
        .runtime(&[0], 1, 0)
        .runtime(&[1], 1, 0)
}

/// A common lane, and one addressed to runtime 0, whose one worker serves both.
pub(crate) fn addressed() -> Scenario {
    Scenario::new("common and addressed lanes")
        .lanes(&[(0, Class::Normal), (1, Class::Normal)])
        .publisher(0, ReadCommitted)
        .publisher(1, ReadCommitted)
        .runtime(&[0, 1], 1, 0)
        .runtime(&[0], 1, 0)
}

/// High and normal; a normal worker and a high-only one (W4).
pub(crate) fn classes_on_two_keys() -> Scenario {
    Scenario::new("high and normal on two keys")
        .lanes(&[(0, Class::High), (1, Class::Normal)])
        .publisher(0, ReadCommitted)
        .publisher(1, ReadCommitted)
        .publisher(1, ReadCommitted)
        .runtime(&[0, 1], 1, 1)
}

/// The same with both lanes on one key, which stays armed for high while normal is saturated.
pub(crate) fn classes_on_one_key() -> Scenario {
    classes_on_two_keys().lanes(&[(0, Class::High), (0, Class::Normal)]).with(|s| s.name = "high and normal on one key")
}

/// W5: a sentinel may let its key go, to look by itself or to hand over.
pub(crate) fn lingering() -> Scenario {
    one_lane().with(|s| {
        s.name = "lingering, and disarming at will";
        s.publishers.iter_mut().for_each(|p| (p.may_roll_back, p.isolation) = (false, ReadCommitted));
        s.linger = true;
        s.at_will = true;
    })
}

/// W5 on a key shared by two targets.
pub(crate) fn lingering_two_targets() -> Scenario {
    two_targets().with(|s| {
        s.name = "lingering, two targets";
        s.publishers[1].isolation = ReadCommitted;
        s.linger = true;
        s.finishes = false;
    })
}

/// W6.
pub(crate) fn queueing() -> Scenario {
    two_targets().with(|s| {
        s.name = "queueing for the lock";
        s.queues_for_lock = true;
        s.publishers[1].isolation = ReadCommitted;
        s.finishes = false;
    })
}

/// A claim's transaction may fail while the runtime's other key takes its worker.
pub(crate) fn failing_claims() -> Scenario {
    addressed().with(|s| {
        s.name = "a claim fails, two keys";
        s.budget.claim_failures = 1;
        s.finishes = false;
    })
}

/// A claim may fail whose lane shares a key that stays held for another.
pub(crate) fn failing_claims_of_two_classes() -> Scenario {
    two_classes_twice().with(|s| {
        s.name = "a claim fails, high and normal on one key";
        // High is demand enough to keep the key held.
        s.publishers.remove(0);
        s.budget.claim_failures = 1;
    })
}

/// A claim's transaction may fail, and a runtime may stop.
pub(crate) fn stopping() -> Scenario {
    one_lane().with(|s| {
        s.name = "a claim fails, a runtime stops";
        s.budget.claim_failures = 1;
        s.budget.stops = 1;
        s.publishers[1].isolation = ReadCommitted;
        s.finishes = false;
    })
}

/// One of three runtimes may stop, also between being told and hearing of it.
pub(crate) fn stopping_three() -> Scenario {
    three_runtimes().with(|s| {
        s.name = "three runtimes, one stops";
        s.budget.stops = 1;
    })
}

/// W7: the lane is paused and resumed.
pub(crate) fn pausing() -> Scenario {
    one_lane().with(|s| {
        s.name = "pause and resume";
        s.budget.pauses = 2;
        s.publishers[1].isolation = ReadCommitted;
        s.finishes = false;
    })
}

/// W8: one of two like runtimes dies, at any moment.
pub(crate) fn dying() -> Scenario {
    Scenario::new("a runtime dies")
        .publisher(0, ReadCommitted)
        .publisher(0, ReadCommitted)
        .runtime(&[0], 1, 0)
        .runtime(&[0], 1, 0)
        .with(|s| {
            s.budget.deaths = 1;
            s.heartbeats = true;
        })
}

/// W8 with heartbeats whose snapshot is older than what they do.
pub(crate) fn dying_slow_beats() -> Scenario {
    dying().with(|s| {
        s.name = "a runtime dies, slow heartbeats";
        s.beats_in_two = true;
        s.finishes = false;
    })
}

/// W8 on a key shared by two targets: who takes over need not serve the message's lane.
pub(crate) fn dying_two_targets() -> Scenario {
    two_targets().runtime(&[0, 1], 1, 0).with(|s| {
        s.name = "a runtime dies, two targets";
        s.publishers.truncate(1);
        s.budget.deaths = 1;
        s.heartbeats = true;
        s.finishes = false;
    })
}

/// W7: a listener's session is lost, and comes back.
pub(crate) fn disconnecting() -> Scenario {
    dying().with(|s| {
        s.name = "a session is lost";
        s.budget.deaths = 0;
        s.budget.disconnects = 1;
        s.finishes = false;
    })
}

/// W12 on a key shared by two targets, with two runtimes for each.
pub(crate) fn two_targets_twice() -> Scenario {
    two_targets().runtime(&[1], 1, 0).with(|s| {
        s.name = "two targets, one with two runtimes";
        s.publishers[1].isolation = ReadCommitted;
        s.finishes = false;
    })
}

/// W12: two messages for two runtimes, behind a sentinel that serves another lane.
pub(crate) fn behind_a_stranger() -> Scenario {
    two_targets_twice().with(|s| {
        s.name = "two messages for two, behind a stranger";
        s.publishers[0].lane = 1;
    })
}

/// W12 with two classes on one key: a sentinel that stays armed for high has no use for normal.
pub(crate) fn two_classes_twice() -> Scenario {
    classes_on_one_key().runtime(&[0, 1], 1, 1).with(|s| {
        s.name = "high and normal on one key, two runtimes";
        s.finishes = false;
    })
}

/// W12: one message among three runtimes with workers to spare.
pub(crate) fn herd() -> Scenario {
    Scenario::new("one message, three runtimes, workers to spare")
        .publisher(0, ReadCommitted)
        .runtime(&[0], 2, 0)
        .runtime(&[0], 2, 0)
        .runtime(&[0], 2, 0)
        .with(|s| s.wakes_max = Some(1))
}

/// W12: one message among three runtimes, and whoever takes it has no worker left.
pub(crate) fn herd_without_spare() -> Scenario {
    herd().with(|s| {
        s.name = "one message, three runtimes of one worker";
        s.instances.iter_mut().for_each(|i| i.normal_slots = 1);
        s.wakes_max = Some(3);
    })
}
