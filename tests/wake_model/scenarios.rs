//! The scenarios, each as small as shows what it is about. What holds for the design in one of
//! them is refuted for a variant in the same one.

use super::scenario::Isolation::{ReadCommitted, RepeatableRead};
use super::scenario::{Channels, Class, Isolation, OnWake, Scenario};

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

/// W5 and the freedom a woken sentinel has: anything goes at any time.
pub(crate) fn lingering() -> Scenario {
    one_lane().with(|s| {
        s.name = "lingering, and disarming at will";
        s.linger = true;
        s.on_wake = OnWake::Either;
    })
}

/// Sessions drop the notifications that carry their own pid.
pub(crate) fn deaf_to_itself() -> Scenario {
    one_lane().with(|s| {
        s.name = "own notifications ignored";
        s.ignores_own = true;
        s.on_wake = OnWake::Either;
    })
}

/// W6.
pub(crate) fn queueing() -> Scenario {
    two_targets().with(|s| {
        s.name = "queueing for the lock";
        s.queues_for_lock = true;
        s.publishers[1].isolation = ReadCommitted;
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

/// W12 with three like runtimes.
pub(crate) fn relayed() -> Scenario {
    three_runtimes().with(|s| {
        s.name = "relayed";
        s.channels = Channels::Relayed;
    })
}

/// W12 on a key shared by two targets.
pub(crate) fn relayed_two_targets() -> Scenario {
    two_targets().with(|s| {
        s.name = "relayed, two targets";
        s.channels = Channels::Relayed;
    })
}

/// W12 with two classes on one key: a sentinel that stays armed for high has no use for normal.
pub(crate) fn relayed_classes() -> Scenario {
    classes_on_one_key().runtime(&[0, 1], 1, 1).with(|s| {
        s.name = "relayed, high and normal on one key";
        s.channels = Channels::Relayed;
        s.finishes = false;
    })
}

/// W12 when the one who hears publishers dies.
pub(crate) fn relayed_dying() -> Scenario {
    dying_two_targets().with(|s| {
        s.name = "relayed, a runtime dies";
        s.channels = Channels::Relayed;
    })
}

/// W12: one message among two runtimes with workers to spare: nobody has a reason to disarm.
pub(crate) fn herd(on_wake: OnWake) -> Scenario {
    Scenario::new("one message, workers to spare")
        .publisher(0, ReadCommitted)
        .runtime(&[0], 2, 0)
        .runtime(&[0], 2, 0)
        .with(|s| {
            s.on_wake = on_wake;
            s.disarms_max = Some(3);
        })
}
