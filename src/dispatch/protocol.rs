//! What a dispatcher is told, and what it tells others.

use super::{Group, credits::Spent, low};
use crate::{
    Result,
    pool::Demand,
    store::{Armed, Beat, Mode, QueueFacts, Row},
};

/// Lanes that we sleep on, and from which place on each is empty.
#[derive(Debug, Default)]
pub(crate) struct SleptOn {
    pub(crate) lanes: Vec<i32>,
    pub(crate) lows: Vec<i64>,
}

/// Sent down to the listener, by a type of this stage.
#[derive(Debug)]
pub(crate) enum ToListener {
    /// Become sentinel of these keys if possible (W1), for the sake of these lanes; the answer carries the number.
    Arm { number: u64, keys: Vec<i32>, lanes: Vec<i32> },
    /// Let these keys go, and our places on the lists of these lanes; tell one follower of each lane on the keys, and, `on_duty`, of
    /// these lanes (W3, W12).
    HandOver { keys: Vec<i32>, lanes: Vec<i32>, on_duty: bool },
    /// Let these keys go; we look at these lanes by ourselves, so tell one follower of each other lane on the keys (W5).
    Linger { keys: Vec<i32>, lanes: Vec<i32> },
    /// Publishers announced these lanes, and we have no use for it: tell one follower of each whose sentinel we are (W12).
    Relay(Vec<i32>),
    /// Do the heartbeat now, with what we follow and sleep on (W8).
    Beat { followed: Vec<i32>, slept_on: SleptOn },
    /// The sentinel of these keys sleeps past what is announced to it: hear their publishers ourselves.
    Distrust(Vec<i32>),
    /// Announce these lanes: rows that a failed claim had locked are there again, and no insert tells.
    Announce(Vec<i32>),
    /// The dispatcher starts anew and knows nothing: let everything go and report as after a reconnect.
    Hello,
}

/// Sent up to the sweeper: a claim's answer was lost, rows may be claimed that nobody answers for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doubt;

/// Why rows were found, when it was not a wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Normal,
    /// Taken over from a sentinel that died.
    Takeover,
    /// Seen by the heartbeat though nobody was notified: a lost wake. Must not happen.
    Heartbeat,
}

/// The dispatcher's protocol.
pub(crate) enum Msg {
    /// A pool offers idle workers, or starts anew.
    Demand(Demand),
    /// Some lanes were notified: see the shared flags.
    Woken,
    /// This process published into a lane (W11).
    Nudged(i32),
    /// The listener answers the arm request of this number.
    Armed(u64, Vec<(i32, Armed)>),
    /// A turn in this key's lock queue is over (W6): arm anew.
    Turned(i32),
    /// The listener is connected anew: nothing is armed, everything must be looked at (W7). Whether its connection is a
    /// session, which can hold a lock and be notified (W10).
    ListenerReady { session: bool },
    /// The listener lost its connection: no claims until it is back.
    ListenerLost,
    /// Time for a heartbeat: say what we follow and sleep on.
    BeatDue,
    /// What the heartbeat found.
    Beat(Beat),
    /// A claim ended.
    Claimed(Claimed),
    /// A gate's time has come.
    Look(usize),
    /// What was claimed ahead runs low.
    RunsLow(usize),
    /// So many outcomes waited to be written that nothing was claimed; now they are fewer.
    CaughtUp,
    /// A claim had failed a while ago: by now the server has rolled it back, if it had not heard before.
    Unclaimed { queue: usize, group: Group },
    /// Is the wake that the heartbeat missed still missing?
    Suspect { queue: usize, group: Group, events: u64 },
    /// Messages came back to their old places (hand-back, rescue), which may be below a low-water mark: the lane, and the first of them.
    PlacesReused(Option<(i32, i64)>),
    /// A look at the lanes ended, by which the low-water marks move.
    LookedLow(low::Looked),
    /// Queues were paused, resumed, made or deleted: read them again (ctl channel).
    QueuesChanged,
    /// What they are now.
    Queues(u64, Result<(Mode, Vec<QueueFacts>)>),
    /// Stop claiming; what was delivered runs on, what a claim under way still answers is handed back.
    Stop(tokio::sync::oneshot::Sender<()>),
}

/// How a claim ended.
pub(crate) struct Claimed {
    pub(super) queue: usize,
    pub(super) group: Group,
    pub(super) spent: Spent,
    /// The most it could answer.
    pub(super) asked: usize,
    pub(super) complete: bool,
    /// How often the low-water marks had been forgotten when it began.
    pub(super) resets: u64,
    pub(super) origin: Origin,
    pub(super) rows: Result<Vec<Row>>,
}
