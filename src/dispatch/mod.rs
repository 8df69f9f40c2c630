//! Dispatching: woken lanes + idle workers → one claim per queue and group → deliveries to the pool.
//!
//! Before: `listen` says which keys were woken. After: `pool` gives each delivery to an idle worker.
//! Invariant: never more rows are claimed than workers were offered; high before normal before low; the keys of a group
//! with demand are armed unless the group is being looked at.

mod gate;
mod hold;
mod keys;
mod plan;
#[cfg(test)]
mod tests;
mod turn;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use deadpool_postgres::Pool;
use ractor::{Actor, ActorProcessingErr, ActorRef};

pub(crate) use self::plan::Group;
use self::{gate::Gate, hold::Hold, plan::Lanes};
use crate::{
    Result,
    address::{Address, Outlet},
    pool::{self, Demand},
    settle::Settler,
    store::{Armed, Beat, Mode, QueueFacts, Row, Store},
};

/// A lane's wake key: lock, channel and armed bit are per key (so that a bulk insert over many lanes cannot exhaust the lock table).
pub(crate) const WAKE_KEYS: i32 = 1024;
/// Most rows of one claim.
const CLAIM_MAX: usize = 256;
/// How long after a failed claim its rows are surely back, in ms: beyond the statement limit of its connection (10 s).
const UNCLAIMED_MS: u64 = 11_000;
/// How many heartbeats a death explains: the count of one is older than its tries for the locks.
const DEATH_BEATS: u32 = 2;
/// How long after a heartbeat saw rows in a lane that we sleep on a wake for them may still arrive, in ms.
const LATE_WAKE_MS: u64 = 100;

/// Sent down to the listener, by a type of this file.
#[derive(Debug)]
pub(crate) enum ToListener {
    /// Become sentinel of these keys if possible (W1).
    Arm(Vec<i32>),
    /// Let these keys go and notify (W3).
    Disarm(Vec<i32>),
    /// Do the heartbeat now, with what we follow and sleep on (W8).
    Beat { followed: Vec<i32>, slept_on: Vec<i32> },
    /// Notify the followers of these keys: rows that a failed claim had locked are there again, and no insert tells.
    Notify(Vec<i32>),
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
    /// Some keys were notified: see the shared flags.
    Woken,
    /// This process published into a lane (W11).
    Nudged(i32),
    /// The listener answers an arm request.
    Armed(Vec<(i32, Armed)>),
    /// The listener is connected anew: nothing is armed, everything must be looked at (W7).
    ListenerReady,
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
    /// A claim had failed a while ago: by now the server has rolled it back, if it had not heard before.
    Unclaimed { queue: usize, group: Group },
    /// Is the wake that the heartbeat missed still missing?
    Suspect { queue: usize, group: Group, events: u64 },
    /// Queues were paused, resumed, made or deleted: read them again (ctl channel).
    QueuesChanged,
    /// What they are now.
    Queues(u64, Result<(Mode, Vec<QueueFacts>)>),
    /// Stop claiming; what was delivered runs on, what a claim under way still answers is handed back.
    Stop(tokio::sync::oneshot::Sender<()>),
}

/// How a claim ended.
pub(crate) struct Claimed {
    queue: usize,
    group: Group,
    spent: Credits,
    epoch: u64,
    complete: bool,
    origin: Origin,
    rows: Result<Vec<Row>>,
}

/// Idle workers offered by a pool and not yet spent on a claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Credits {
    general: usize,
    reserved: usize,
}

impl Credits {
    fn all(self) -> usize {
        self.general + self.reserved
    }
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
    pub(crate) pools: Vec<Address<pool::Msg>>,
    pub(crate) queues: Vec<QueueFacts>,
    pub(crate) to_listener: Outlet<ToListener>,
    pub(crate) doubt: Outlet<Doubt>,
    pub(crate) woken: Arc<WokenKeys>,
    pub(crate) address: Address<Msg>,
    pub(crate) counters: Arc<Counters>,
}

/// Finds that no wake announced (W9).
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) found_by_heartbeat: std::sync::atomic::AtomicU64,
    pub(crate) found_by_takeover: std::sync::atomic::AtomicU64,
}

/// Keys notified and not yet handled. A flood of notifications sets flags; one message is on its way at most.
pub(crate) struct WokenKeys {
    keys: std::sync::Mutex<HashSet<i32>>,
}

impl WokenKeys {
    pub(crate) fn new() -> Self {
        Self { keys: std::sync::Mutex::default() }
    }

    /// Notes a key; true when the dispatcher must be told.
    pub(crate) fn note(&self, key: i32) -> bool {
        let mut keys = self.keys.lock().unwrap_or_else(|e| e.into_inner());
        let first = keys.is_empty();
        keys.insert(key);
        first
    }

    fn take(&self) -> HashSet<i32> {
        std::mem::take(&mut *self.keys.lock().unwrap_or_else(|e| e.into_inner()))
    }
}

/// One queue as it is served.
struct QueueState {
    facts: QueueFacts,
    name: Arc<str>,
    lanes: Lanes,
    credits: Credits,
    /// Spent on claims that have not answered.
    in_flight: Credits,
    /// Raised when the pool starts anew: older claims give no credit back.
    epoch: u64,
    high: Gate,
    rest: Gate,
    /// Lets the workers of a full claim come back together before the next.
    hold: Hold,
    /// What the next claim of (high, rest) would prove if it finds rows.
    origin: (Origin, Origin),
    /// The earliest timer set for this queue.
    timer: Option<std::time::Instant>,
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
    listening: bool,
    stopped: bool,
    /// Who waits for the last claim's answer.
    stopping: Option<tokio::sync::oneshot::Sender<()>>,
    mode: Mode,
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
        state.wiring.woken.take();
        state.wiring.pools.iter().for_each(|pool| pool.signal(pool::Msg::Report));
        state.wiring.to_listener.send(ToListener::Hello);
        state.wiring.doubt.send(Doubt);
        Ok(state)
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Demand(demand) => state.demand(&myself, demand),
            Msg::Woken => state.woken(&myself),
            Msg::Nudged(lane) => state.nudged(&myself, lane),
            Msg::Armed(answers) => state.armed(&myself, &answers),
            Msg::ListenerReady => state.listener_ready(&myself),
            Msg::ListenerLost => state.listener_lost(),
            Msg::BeatDue => state.beat_due(),
            Msg::Beat(beat) => state.beat(&myself, &beat),
            Msg::Claimed(claimed) => state.claimed(&myself, claimed),
            Msg::Look(queue) => state.look(&myself, queue),
            Msg::Unclaimed { queue, group } => state.unclaimed(&myself, queue, group),
            Msg::Suspect { queue, group, events } => state.suspect(&myself, queue, group, events),
            Msg::QueuesChanged => state.read_queues(&myself),
            // An answer that a later question has overtaken says what was.
            Msg::Queues(asked, facts) if asked == state.questions => state.queues_read(&myself, facts),
            Msg::Queues(..) => {}
            Msg::Stop(reply) => state.stop(reply),
        }
        Ok(())
    }
}

impl State {
    fn new(wiring: Wiring) -> Self {
        Self {
            queues: Vec::new(),
            by_key: HashMap::new(),
            held: HashSet::new(),
            followed: HashSet::new(),
            listening: false,
            stopped: false,
            stopping: None,
            mode: Mode::Eventcount,
            death_beats: 0,
            questions: 0,
            wiring,
        }
    }

    /// Takes queues as they are now; those known keep their gates, to be looked at anew.
    fn adopt(&mut self, facts: Vec<QueueFacts>) {
        for fact in facts {
            let lanes = Lanes::new(&fact);
            match self.queues.iter_mut().find(|q| *q.name == *fact.name) {
                Some(q) => {
                    q.lanes = lanes;
                    q.facts = fact;
                    q.high.look();
                    q.rest.look();
                }
                None => self.queues.push(QueueState {
                    name: fact.name.as_str().into(),
                    lanes,
                    facts: fact,
                    credits: Credits::default(),
                    in_flight: Credits::default(),
                    epoch: 0,
                    high: Gate::default(),
                    rest: Gate::default(),
                    hold: Hold::default(),
                    origin: (Origin::Normal, Origin::Normal),
                    timer: None,
                }),
            }
        }
        self.by_key.clear();
        for (i, q) in self.queues.iter().enumerate() {
            for group in [Group::High, Group::Rest] {
                for lane in q.lanes.of(group) {
                    let at = self.by_key.entry(lane % WAKE_KEYS).or_default();
                    if !at.contains(&(i, group)) {
                        at.push((i, group));
                    }
                }
            }
        }
    }

    fn demand(&mut self, myself: &ActorRef<Msg>, demand: Demand) {
        let (queue, regained) = match demand {
            Demand::Reset { queue } => {
                let q = &mut self.queues[queue];
                q.credits = Credits::default();
                q.epoch += 1;
                q.hold = Hold::default();
                (queue, false)
            }
            Demand::Offer { queue, general, reserved } => {
                let q = &mut self.queues[queue];
                q.credits.general += general;
                q.credits.reserved += reserved;
                if general > 0 {
                    q.hold.returned(std::time::Instant::now());
                }
                (queue, true)
            }
        };
        let q = &mut self.queues[queue];
        // High is looked at before any other claim once it has lost its place in the wake-up protocol.
        if regained && q.high.phase == gate::Phase::Awake && !q.high.claiming() {
            q.high.look();
        }
        self.turn(myself, queue);
    }

    fn woken(&mut self, myself: &ActorRef<Msg>) {
        let now = std::time::Instant::now();
        let mut touched = Vec::new();
        for key in self.wiring.woken.take() {
            for (queue, group) in self.by_key.get(&key).cloned().unwrap_or_default() {
                metrics::counter!("pgflow_wakes_total", "queue" => self.queues[queue].name.clone()).increment(1);
                if self.gate(queue, group).woken(now) {
                    self.release(queue, group);
                }
                touched.push(queue);
            }
        }
        touched.sort_unstable();
        touched.dedup();
        for queue in touched {
            self.turn(myself, queue);
        }
    }

    fn nudged(&mut self, myself: &ActorRef<Msg>, lane: i32) {
        for (queue, group) in self.by_key.get(&(lane % WAKE_KEYS)).cloned().unwrap_or_default() {
            // Besides, never instead of, the trigger's check (W11): only spares the notification's way.
            self.gate(queue, group).look();
            self.turn(myself, queue);
        }
    }

    fn look(&mut self, myself: &ActorRef<Msg>, queue: usize) {
        self.queues[queue].timer = None;
        self.turn(myself, queue);
    }

    fn read_queues(&mut self, myself: &ActorRef<Msg>) {
        self.questions += 1;
        let asked = self.questions;
        let (store, pool, instance) =
            (self.wiring.store.clone(), self.wiring.pool.clone(), self.wiring.instance.clone());
        let names: Vec<String> = self.queues.iter().map(|q| q.facts.name.clone()).collect();
        let myself = myself.clone();
        tokio::spawn(async move {
            let facts = async {
                let c = pool.get().await.map_err(|e| crate::Error::pool("read the queues", e))?;
                Ok((store.mode(&c).await?, store.queue_facts(&c, &names, &instance).await?))
            }
            .await;
            let _ = myself.cast(Msg::Queues(asked, facts));
        });
    }

    fn queues_read(&mut self, myself: &ActorRef<Msg>, facts: Result<(Mode, Vec<QueueFacts>)>) {
        match facts {
            Ok((mode, facts)) => {
                if std::mem::replace(&mut self.mode, mode) != mode {
                    // Those that sleep were promised wakes that may not come any more (W10).
                    for queue in 0..self.queues.len() {
                        for group in [Group::High, Group::Rest] {
                            self.release(queue, group);
                            self.gate(queue, group).released();
                        }
                    }
                }
                self.adopt(facts);
                for queue in 0..self.queues.len() {
                    self.turn(myself, queue);
                }
            }
            Err(e) => {
                tracing::warn!(target: "pgflow::dispatch", error = %e, "could not read the queues, will try again");
                myself.send_after(Duration::from_millis(gate::CLAIM_RETRY_MS_MAX), || Msg::QueuesChanged);
            }
        }
    }

    fn stop(&mut self, reply: tokio::sync::oneshot::Sender<()>) {
        self.stopped = true;
        for queue in 0..self.queues.len() {
            for group in [Group::High, Group::Rest] {
                self.release(queue, group);
                self.gate(queue, group).released();
            }
        }
        self.stopping = Some(reply);
        self.answer_stop();
    }

    /// A claim that is in flight may still take rows, which somebody must answer for: the stop waits for it.
    fn answer_stop(&mut self) {
        if self.queues.iter().all(|q| q.in_flight.all() == 0)
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
