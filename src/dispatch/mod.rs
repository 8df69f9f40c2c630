//! Dispatching: woken lanes + idle workers → one claim per queue and group → deliveries to the pool.
//!
//! Before: `listen` says which keys were woken. After: `pool` gives each delivery to an idle worker; what was claimed ahead lies on the
//! queue's shelf, from which workers go on by themselves.
//! Invariant: no more rows are claimed than workers were offered, but for a few normal ones ahead of quick workers (`ahead`);
//! high before normal before low; the keys of a group with demand are armed unless the group is being looked at.

mod claim;
mod credits;
mod gate;
mod hold;
mod keys;
mod low;
mod plan;
mod protocol;
mod queues;
#[cfg(test)]
mod tests;
mod turn;
mod woken;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use deadpool_postgres::Pool;
use ractor::{Actor, ActorProcessingErr, ActorRef};

pub(crate) use self::plan::Group;
pub(crate) use self::protocol::{Doubt, Msg, Origin, SleptOn, ToListener};
pub(crate) use self::woken::{Counters, WokenLanes};
use self::{credits::Credits, gate::Gate, hold::Hold, low::LowWater, plan::Lanes};
use crate::{
    Result,
    address::{Address, Outlet},
    ahead::Shelf,
    pool::{self, Demand, Kind},
    settle::Settler,
    store::{Mode, QueueFacts, Store},
};

/// A lane's wake key: lock, channel and armed bit are per key (so that a bulk insert over many lanes cannot exhaust the lock table).
pub(crate) const WAKE_KEYS: i32 = 1024;
/// Most rows of one claim.
const CLAIM_MAX: usize = 256;
/// How long after a failed claim its rows are surely back, in ms: beyond the statement limit of its connection (10 s).
const UNCLAIMED_MS: u64 = 11_000;
/// How long after the listener was lost claims wait for the disk, in ms: what crashes the server must run out of tries.
const WARY_MS: u64 = 60_000;
/// How many heartbeats a death explains: the count of one is older than its tries for the locks.
const DEATH_BEATS: u32 = 2;
/// How long after a heartbeat saw rows in a lane that we sleep on a wake for them may still arrive, in ms.
const LATE_WAKE_MS: u64 = 100;

/// What one queue has of its own.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) pool: Address<pool::Msg>,
    /// How many workers take any message.
    pub(crate) workers: usize,
    pub(crate) shelf: Shelf,
}

/// What the dispatcher needs from the rest of the runtime.
pub(crate) struct Wiring {
    pub(crate) store: Arc<Store>,
    /// Connections for claims, and the one reserved for high.
    pub(crate) pool: Pool,
    pub(crate) high_pool: Pool,
    pub(crate) settler: Settler,
    pub(crate) session: i32,
    pub(crate) instance: String,
    /// What each queue has of its own.
    pub(crate) served: Vec<Served>,
    pub(crate) queues: Vec<QueueFacts>,
    pub(crate) to_listener: Outlet<ToListener>,
    pub(crate) doubt: Outlet<Doubt>,
    pub(crate) woken: Arc<WokenLanes>,
    pub(crate) address: Address<Msg>,
    pub(crate) counters: Arc<Counters>,
    /// Set when the runtime stops: a dispatcher that is restarted from then on claims nothing.
    pub(crate) stopping: Arc<AtomicBool>,
}

/// One queue as it is served.
struct QueueState {
    facts: QueueFacts,
    name: Arc<str>,
    lanes: Lanes,
    credits: Credits,
    /// Claimed messages of normal and low that no worker has yet.
    shelf: Shelf,
    high: Gate,
    rest: Gate,
    /// Lets the workers of a full claim come back together before the next.
    hold: Hold,
    /// High was looked for, and no more of it found than workers, since messages were last put on the shelf.
    high_looked_for: bool,
    /// What the next claim of (high, rest) would prove if it finds rows.
    origin: (Origin, Origin),
    /// The earliest timer set for this queue.
    timer: Option<Instant>,
}

/// The actor.
pub(crate) struct Dispatcher;

/// Its state: queues, keys, and what it knows of the locks.
pub(crate) struct State {
    wiring: Wiring,
    queues: Vec<QueueState>,
    by_key: HashMap<i32, Vec<(usize, Group)>>,
    /// Keys whose lock our listener holds.
    held: HashSet<i32>,
    /// Keys whose sentinel is another runtime.
    followed: HashSet<i32>,
    /// Numbers the arm requests.
    asked: u64,
    /// The last arm request before each key was let go: what that one is answered of the key is void.
    let_go: HashMap<i32, u64>,
    listening: bool,
    /// Whether the listener's connection is a session: without one nobody wakes us (W10).
    session: bool,
    stopped: bool,
    /// Who waits for the last claim's answer.
    stopping: Option<tokio::sync::oneshot::Sender<()>>,
    mode: Mode,
    /// From where on claims read each lane.
    low: LowWater,
    /// Until then claims wait for the disk: the listener was lost, perhaps to a crash of the server by one of our messages.
    wary_until: Option<Instant>,
    /// Heartbeats for which a death still explains rows that no wake announced.
    death_beats: u32,
    /// Numbers the readings of the queues.
    questions: u64,
}

impl Actor for Dispatcher {
    type Msg = Msg;
    type State = State;
    type Arguments = Arc<dyn Fn() -> Wiring + Send + Sync>;

    async fn pre_start(&self, myself: ActorRef<Msg>, wiring: Self::Arguments) -> Result<State, ActorProcessingErr> {
        let wiring = wiring();
        wiring.address.occupy(myself);
        let mut state = State::new(wiring);
        let facts = state.wiring.queues.clone();
        state.adopt(facts);
        // What an earlier incarnation was told or had claimed is asked for again.
        state.wiring.woken.clear();
        state.wiring.served.iter().for_each(|served| served.pool.signal(pool::Msg::Report));
        state.wiring.to_listener.send(ToListener::Hello);
        state.wiring.doubt.send(Doubt);
        Ok(state)
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Demand(demand) => state.demand(&myself, demand),
            Msg::Woken => state.woken(&myself),
            Msg::Nudged(lane) => state.nudged(&myself, lane),
            Msg::Armed(number, answers) => state.armed(&myself, number, &answers),
            Msg::Turned(key) => state.turned(&myself, key),
            Msg::ListenerReady { session } => state.listener_ready(&myself, session),
            Msg::ListenerLost => state.listener_lost(),
            Msg::BeatDue => state.beat_due(&myself),
            Msg::Beat(beat) => state.beat(&myself, &beat),
            Msg::Claimed(claimed) => state.claimed(&myself, claimed),
            Msg::Look(queue) => state.look(&myself, queue),
            Msg::RunsLow(queue) => state.turn(&myself, queue),
            Msg::CaughtUp => (0..state.queues.len()).for_each(|queue| state.turn(&myself, queue)),
            Msg::Unclaimed { queue, group } => state.unclaimed(&myself, queue, group),
            Msg::Suspect { queue, group, events } => state.suspect(&myself, queue, group, events),
            Msg::PlacesReused(first) => state.places_reused(&myself, first),
            Msg::LookedLow(looked) => state.looked_low(&myself, looked),
            Msg::QueuesChanged => state.read_queues(&myself),
            // An answer that a later question has overtaken says what was.
            Msg::Queues(asked, facts) if asked == state.questions => state.queues_read(&myself, facts),
            Msg::Queues(..) => {}
            Msg::Stop(reply) => state.stop(reply),
        }
        Ok(())
    }
}

impl Drop for QueueState {
    fn drop(&mut self) {
        // Not only when its successor starts: nothing may wait there so long.
        let left = std::mem::take(&mut *self.shelf.lock());
        drop(left);
    }
}

impl State {
    fn new(wiring: Wiring) -> Self {
        Self {
            queues: Vec::new(),
            by_key: HashMap::new(),
            held: HashSet::new(),
            followed: HashSet::new(),
            asked: 0,
            let_go: HashMap::new(),
            listening: false,
            session: true,
            stopped: wiring.stopping.load(Ordering::Relaxed),
            stopping: None,
            mode: Mode::Eventcount,
            low: LowWater::default(),
            wary_until: None,
            death_beats: 0,
            questions: 0,
            wiring,
        }
    }

    fn demand(&mut self, myself: &ActorRef<Msg>, demand: Demand) {
        let (queue, regained) = match demand {
            Demand::Reset { queue, round, general, reserved } => {
                let q = &mut self.queues[queue];
                q.credits.reset(round, general, reserved);
                q.hold = Hold::default();
                (queue, general + reserved > 0)
            }
            Demand::Offer { queue, round, kind } => {
                let q = &mut self.queues[queue];
                let counts = q.credits.offered(round, kind);
                if counts && kind == Kind::General {
                    q.hold.returned(Instant::now());
                }
                (queue, counts)
            }
        };
        let q = &mut self.queues[queue];
        // High is looked at before any other claim once it has lost its place in the wake-up protocol.
        if regained && q.high.phase == gate::Phase::Awake && !q.high.claiming() {
            q.high.look();
        }
        self.turn(myself, queue);
    }

    fn look(&mut self, myself: &ActorRef<Msg>, queue: usize) {
        self.queues[queue].timer = None;
        self.turn(myself, queue);
    }

    fn stop(&mut self, reply: tokio::sync::oneshot::Sender<()>) {
        self.stopped = true;
        for queue in 0..self.queues.len() {
            for group in [Group::High, Group::Rest] {
                // What we are told from now on we hear no more: whoever told us before we left the lists is made good by this.
                self.gate(queue, group).take_duty();
                self.release(queue, group);
                self.gate(queue, group).released();
            }
            self.queues[queue].shelf.lock().serve_themselves(false);
            self.hand_back(queue);
        }
        self.stopping = Some(reply);
        self.answer_stop();
    }

    /// A claim that is in flight may still take rows, which somebody must answer for: the stop waits for it.
    fn answer_stop(&mut self) {
        if !self.queues.iter().any(|q| q.high.claiming() || q.rest.claiming())
            && let Some(reply) = self.stopping.take()
        {
            let _ = reply.send(());
        }
    }

    fn gate(&mut self, queue: usize, group: Group) -> &mut Gate {
        match group {
            Group::High => &mut self.queues[queue].high,
            Group::Rest => &mut self.queues[queue].rest,
        }
    }
}
