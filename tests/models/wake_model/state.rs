//! What one state of the world holds. Everything is small and hashable; sets are bit masks.

use std::hash::{Hash, Hasher};

/// Wake keys in the model (`lane_id % 1024` in the database).
pub(crate) const KEYS: usize = 2;

/// A set of small indices: messages, lanes, keys or runtimes.
pub(crate) type Mask = u8;

/// The set that holds only `index`.
pub(crate) fn bit(index: usize) -> Mask {
    1 << index
}

/// Is `index` in `mask`?
pub(crate) fn has(mask: Mask, index: usize) -> bool {
    mask & bit(index) != 0
}

/// The whole world: publishers, Postgres' shared memory, runtimes, and what may still go wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// All runtimes are configured alike: see `Hash`.
    pub(crate) alike: bool,
    /// One publishing transaction each, with one message each.
    pub(crate) publishers: Vec<Tx>,
    pub(crate) keys: [KeyLock; KEYS],
    pub(crate) runtimes: Vec<Runtime>,
    /// Lane 0 is paused, as the database says.
    pub(crate) paused: bool,
    pub(crate) budget: Budget,
    /// W9: a heartbeat found a message that a wake should have announced.
    pub(crate) found_by_heartbeat: bool,
    /// W12: notifications delivered so far; counted only when the scenario bounds them.
    pub(crate) wakes: u8,
}

/// A publishing transaction together with the row that it inserts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Tx {
    Idle,
    /// REPEATABLE READ only: the snapshot is taken; it saw these keys' row flags set.
    Begun {
        saw: Mask,
    },
    /// Inserted; the trigger has made its check. Not visible to anyone.
    Open {
        silent: bool,
    },
    /// The unsafe order: the lock is released, the row not yet visible.
    Unlocked,
    /// Visible, in `ready`; a silent one may still hold its shared lock for a moment.
    Committed,
    RolledBack,
    /// Deleted from `ready` by a committed claim.
    Claimed,
}

/// The advisory lock of one key, and the row flag which the unsafe variants use in its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct KeyLock {
    /// The runtime that holds it exclusively: the sentinel.
    pub(crate) holder: Option<usize>,
    /// Publishers that hold it shared: silent, in flight.
    pub(crate) shared: Mask,
    /// W6: a runtime whose second connection waits for it in the lock queue.
    pub(crate) waiter: Option<usize>,
    /// Runtimes that set the row flag.
    pub(crate) flags: Mask,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Runtime {
    /// The process runs. A dead one's sessions are ended by the server, one at a time.
    pub(crate) alive: bool,
    /// The listener's session exists.
    pub(crate) session: bool,
    /// The session has LISTENed.
    pub(crate) listening: bool,
    /// Stopping: claims nothing any more.
    pub(crate) stopping: bool,
    /// What it last read about the pause of lane 0.
    pub(crate) paused_view: bool,
    /// A ctl notification is on its way to it.
    pub(crate) ctl: bool,
    /// W8: what the heartbeat in flight sees: its one statement has one snapshot.
    pub(crate) beat: Option<Mask>,
    pub(crate) busy_normal: u8,
    pub(crate) busy_high: u8,
    pub(crate) gates: [Gate; KEYS],
}

/// One runtime's side of one key: `src/dispatch/gate.rs` in the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Gate {
    pub(crate) phase: Phase,
    /// The scan in flight. The scan is the claim (W1).
    pub(crate) scan: Option<Scan>,
    /// Something happened since the arm statement was sent: scan again before sleeping.
    pub(crate) woken: bool,
    /// A claim failed after others may have skipped its rows: these lanes must be announced.
    pub(crate) owes_claim: Mask,
    /// W6: a turn in the lock queue is over: somebody must be told of every lane on the key.
    pub(crate) owes_turn: bool,
    /// It LISTENs to the publishers' channel of the key.
    pub(crate) hears: bool,
    /// Lanes announced on that channel, on their way here.
    pub(crate) announced: Mask,
    /// W12: lanes that it is enlisted for: one of those who may be told of them.
    pub(crate) enlisted: Mask,
    /// W12: lanes that it was told of by itself, on their way here.
    pub(crate) told: Mask,
    /// W12: lanes whose sleepers count on this gate: it looks, and sleeps as sentinel, or hands them over.
    pub(crate) duty: Mask,
    /// Ghost: somebody died on this key; so many heartbeats of this runtime are excused.
    pub(crate) orphaned: u8,
}

/// The phases of `src/dispatch/gate.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Phase {
    /// Holds nothing. With demand it is about to arm; without, it rests.
    Awake,
    /// On the way to sleep.
    Arming(Arm),
    /// W2: silent publishers are in flight; scans again after the back-off.
    Silent,
    /// Asleep, holding the lock.
    Armed,
    /// Asleep behind another sentinel.
    Following,
}

/// How far arming has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Arm {
    /// W2: the exclusive try was refused, the shared try comes next.
    Refused,
    /// It holds the lock and does not hear publishers yet: LISTEN comes next.
    Granted,
    /// It holds the lock; the scan is due or in flight.
    Sentinel,
    /// Another holds the lock; the scan is due or in flight.
    Follower,
    /// Unsafe variant: the statement that both locks and scans has taken its snapshot.
    OneStatement,
    /// Unsafe variant: somebody was told, the lock is let go next.
    Leaving,
    /// Unsafe variant: refused twice, and not enlisted yet.
    Unlisted,
    /// Unsafe variant: the row flag is set; waits for these transactions to end, then scans.
    WaitXip(Mask),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Scan {
    /// Rows of served lanes that its snapshot sees.
    pub(crate) sees: Mask,
    /// Rows that its transaction holds locked.
    pub(crate) locked: Mask,
    /// Rows that it takes.
    pub(crate) takes: Mask,
    /// Has it read the rows yet, or only taken the snapshot?
    pub(crate) read: bool,
    /// Lanes where it left rows behind for want of a free worker.
    pub(crate) left: Mask,
}

/// How often each fault or command may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) deaths: u8,
    pub(crate) disconnects: u8,
    pub(crate) claim_failures: u8,
    /// Each pause and each resume counts.
    pub(crate) pauses: u8,
    pub(crate) stops: u8,
}

/// The checker tells states apart by their hash. When all runtimes are alike, a state and the same
/// one with runtimes renamed behave the same, so they hash the same and one of them is explored.
impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let role = |r: usize, lock: &KeyLock| {
            let is = |other: Option<usize>| u8::from(other == Some(r));
            is(lock.holder) | is(lock.waiter) << 1 | u8::from(has(lock.flags, r)) << 2
        };
        let roles = |r: usize| self.keys.each_ref().map(|lock| role(r, lock));
        let mut order = [0, 1, 2];
        let order = &mut order[..self.runtimes.len()];
        if self.alike {
            order.sort_unstable_by_key(|&r| (self.runtimes[r], roles(r)));
        }
        for &r in order.iter() {
            self.runtimes[r].hash(hasher);
            roles(r).hash(hasher);
        }
        self.keys.each_ref().map(|lock| lock.shared).hash(hasher);
        (self.paused, self.found_by_heartbeat, self.wakes, self.budget).hash(hasher);
        self.publishers.hash(hasher);
    }
}

impl Gate {
    pub(crate) const START: Gate = Gate {
        phase: Phase::Awake,
        scan: None,
        woken: false,
        owes_claim: 0,
        owes_turn: false,
        hears: false,
        announced: 0,
        enlisted: 0,
        told: 0,
        duty: 0,
        orphaned: 0,
    };
}

impl Runtime {
    pub(crate) const START: Runtime = Runtime {
        alive: true,
        session: true,
        listening: true,
        stopping: false,
        paused_view: false,
        ctl: false,
        beat: None,
        busy_normal: 0,
        busy_high: 0,
        gates: [Gate::START; KEYS],
    };

    /// Can its listener's session send and receive?
    pub(crate) fn online(&self) -> bool {
        self.alive && self.session && self.listening
    }
}

impl State {
    pub(crate) fn gate(&self, r: usize, k: usize) -> &Gate {
        &self.runtimes[r].gates[k]
    }

    pub(crate) fn gate_mut(&mut self, r: usize, k: usize) -> &mut Gate {
        &mut self.runtimes[r].gates[k]
    }

    /// Rows that some claim in flight has locked.
    pub(crate) fn locked_rows(&self) -> Mask {
        let gates = self.runtimes.iter().flat_map(|r| &r.gates);
        gates.filter_map(|g| g.scan).fold(0, |m, s| m | s.locked)
    }

    /// Is message `m` committed, in `ready`, and locked by nobody?
    pub(crate) fn claimable(&self, m: usize) -> bool {
        self.publishers[m] == Tx::Committed && !has(self.locked_rows(), m)
    }
}
