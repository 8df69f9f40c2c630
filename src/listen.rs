//! The listener: the one session that LISTENs, holds the liveness lock and the arm locks, and beats (W1-W3, W7, W8).
//!
//! Before: Postgres notifies. After: `dispatch` looks into the woken lanes. Its connection runs short autocommit
//! statements and nothing else: a listener inside a transaction would pin every other session's vacuum horizon.
//! Order at every connect (W7): LISTEN → liveness lock → registration → full scan.

mod announced;
mod life;
mod relay;
mod turns;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use deadpool_postgres::Pool;
use ractor::{Actor, ActorProcessingErr, ActorRef};

pub(crate) use self::announced::Announced;
use self::{
    life::RECONNECT_MS,
    turns::{News, Stand, Turns},
};
use crate::{
    Error, Result,
    address::{Address, Outlet},
    config::HEARTBEAT_WRITE_MS,
    connect::Target,
    dispatch::{self, SleptOn, ToListener, WAKE_KEYS, WokenLanes},
    store::{Armed, Beat, Heartbeat, Registration, Session, Store},
};

/// Longest wait for one statement of the listener, in ms; then its connection counts as lost.
const STATEMENT_MS_MAX: u64 = 5_000;
/// First wait before a leader that was refused the sweep key tries again, in ms.
const SWEEP_RETRY_MS: u64 = 20;
/// The key that the sweeper's leader is armed on: the lane of scheduled rows.
const SWEEP_KEY: i32 = WAKE_KEYS;

/// Sent up to the sweeper.
#[derive(Debug)]
pub(crate) enum Signal {
    /// Connected (anew): rescue keeps still for a grace.
    Connected,
    /// A row was scheduled that falls due soon.
    Due,
    /// A heartbeat's finds; whether we lead.
    Beat(Beat),
}

/// The listener's protocol.
#[derive(Debug)]
pub(crate) enum Msg {
    /// The dispatcher asks.
    Dispatcher(ToListener),
    /// Time for a heartbeat.
    Tick,
    /// The connection of this generation ended.
    Lost(u64),
    /// Try to connect again.
    Reconnect,
    /// News of a turn in a key's lock queue (W6).
    Turn(News),
    /// Try again to be armed for scheduled rows; the next wait after it, in ms.
    ArmSweep { retry_ms: u64 },
    /// The probe's notification arrived late: the connection of this generation is a session after all (W10).
    Proved(u64),
    /// Let the liveness lock go: the last step of a stop.
    Stop(ractor::RpcReplyPort<()>),
}

/// What others may ask of a listener without a message.
#[derive(Debug, Default)]
pub(crate) struct Health {
    listening: AtomicBool,
    polls: AtomicBool,
    leads: AtomicBool,
}

impl Health {
    pub(crate) fn listening(&self) -> bool {
        self.listening.load(Ordering::Relaxed)
    }

    /// Whether the connection is no session: nobody wakes us (W10).
    pub(crate) fn polls(&self) -> bool {
        self.polls.load(Ordering::Relaxed)
    }

    /// The tree has ended, and with it whoever would say so.
    pub(crate) fn down(&self) {
        self.listening.store(false, Ordering::Relaxed);
        self.leads.store(false, Ordering::Relaxed);
    }

    pub(crate) fn leads(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }
}

/// What the listener needs from the rest of the runtime.
pub(crate) struct Wiring {
    pub(crate) target: Target,
    /// Whose pools are made anew with the listener's connection.
    pub(crate) database: Target,
    /// Whether the target is the listener's alone: then it must be a session.
    pub(crate) direct: bool,
    /// Other connections to the database: whether a notification of theirs arrives.
    pub(crate) pool: Pool,
    pub(crate) store: Arc<Store>,
    pub(crate) session: i32,
    pub(crate) registration: Registration,
    pub(crate) heartbeat: Duration,
    pub(crate) lease_ms: i64,
    pub(crate) dispatcher: Address<dispatch::Msg>,
    pub(crate) woken: Arc<WokenLanes>,
    pub(crate) sweep: Outlet<Signal>,
    pub(crate) announced: Announced,
    pub(crate) address: Address<Msg>,
    pub(crate) health: Arc<Health>,
    /// Set once a connection was proved to be a session: from then on every one is, and liveness comes first (W7).
    pub(crate) proved: AtomicBool,
    /// Set once the first connection stood: from then on a failed one is retried instead of failing the start.
    pub(crate) stood: AtomicBool,
    /// Why the first one failed: through the tree only its text would come.
    pub(crate) refused: Mutex<Option<Error>>,
}

impl Wiring {
    /// The name of the listener's connections, by which an earlier one is found and ended.
    fn application(&self) -> String {
        format!("pgflow listener {}", self.session)
    }
}

/// The actor.
pub(crate) struct Listener {
    pub(crate) wiring: Arc<Wiring>,
}

/// Its state: the session, and which locks it holds.
pub(crate) struct State {
    session: Option<Session>,
    /// Whether the connection is a session (W10): else nothing is locked on it.
    holds: bool,
    generation: u64,
    /// Keys whose publishers this connection hears: those it holds, queues for, or let go with nobody to follow it (W12).
    heard: HashSet<i32>,
    held: HashSet<i32>,
    /// Keys whose sentinel slept past what was announced to it, and when that was seen last.
    distrusted: HashMap<i32, Instant>,
    /// Lanes that we are enlisted for: others may tell us of them (W12).
    enlisted: HashSet<i32>,
    turns: Turns,
    leads: bool,
    written: Option<Instant>,
    reconnect_ms: u64,
    stopped: bool,
}

impl Actor for Listener {
    type Msg = Msg;
    type State = State;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Msg>, (): ()) -> Result<State, ActorProcessingErr> {
        let w = &self.wiring;
        w.address.occupy(myself.clone());
        let turns = Turns::new(w.target.clone(), w.store.clone(), w.application(), w.address.outlet(Msg::Turn));
        let mut state = State {
            session: None,
            holds: true,
            generation: 0,
            heard: HashSet::new(),
            held: HashSet::new(),
            distrusted: HashMap::new(),
            enlisted: HashSet::new(),
            turns,
            leads: false,
            written: None,
            reconnect_ms: RECONNECT_MS,
            stopped: false,
        };
        match self.connect(&myself, &mut state).await {
            Ok(()) => self.wiring.stood.store(true, Ordering::Relaxed),
            Err(e) if self.wiring.stood.load(Ordering::Relaxed) => self.lost(&myself, &mut state, &e),
            Err(e) => {
                let why = e.to_string();
                *w.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
                return Err(why.into());
            }
        }
        myself.send_after(self.wiring.heartbeat, || Msg::Tick);
        Ok(state)
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        let done = match message {
            Msg::Dispatcher(ToListener::Arm { number, keys, lanes }) => self.arm(number, &keys, &lanes, state).await,
            Msg::Dispatcher(ToListener::HandOver { keys, lanes, on_duty }) => {
                self.give_up(keys, lanes, on_duty, state).await
            }
            Msg::Dispatcher(ToListener::Linger { keys, lanes }) => self.linger(keys, lanes, state).await,
            Msg::Dispatcher(ToListener::Relay(lanes)) => self.relay(lanes, state).await,
            Msg::Dispatcher(ToListener::Beat { followed, slept_on }) => {
                self.beat(&myself, &followed, &slept_on, state).await
            }
            Msg::Dispatcher(ToListener::Distrust(keys)) => self.distrust(&keys, state).await,
            Msg::Dispatcher(ToListener::Announce(lanes)) => self.announce(&lanes, state).await,
            Msg::Dispatcher(ToListener::Hello) => self.hello(state).await,
            Msg::Tick => {
                if !state.stopped {
                    myself.send_after(self.wiring.heartbeat, || Msg::Tick);
                    self.wiring.dispatcher.signal(dispatch::Msg::BeatDue);
                }
                Ok(())
            }
            Msg::Lost(generation) if generation == state.generation && state.session.is_some() => {
                Err(Error::state("listener", "its connection was closed"))
            }
            Msg::Lost(_) => Ok(()),
            Msg::Reconnect => self.connect(&myself, state).await,
            Msg::Turn(news) => self.turned(news, state).await,
            Msg::ArmSweep { retry_ms } => self.arm_sweep(&myself, retry_ms, state).await,
            Msg::Proved(generation) if generation == state.generation && state.session.is_some() && !state.holds => {
                self.connect(&myself, state).await
            }
            Msg::Proved(_) => Ok(()),
            Msg::Stop(reply) => {
                state.stopped = true;
                state.turns.left().await;
                state.session = None;
                let _ = reply.send(());
                Ok(())
            }
        };
        if let Err(e) = done {
            self.lost(&myself, state, &e);
        }
        Ok(())
    }
}

/// Bounds a statement: a half-open connection answers nothing, for ever.
async fn limited<T>(what: &str, statement: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(Duration::from_millis(STATEMENT_MS_MAX), statement).await {
        Ok(result) => result,
        Err(_) => Err(Error::timeout(format!("listener: {what}"), STATEMENT_MS_MAX)),
    }
}

impl Listener {
    async fn turned(&self, news: News, state: &mut State) -> Result<()> {
        if state.turns.heard(news, Instant::now()) {
            match news.stand {
                // Publishers are refused from now on.
                Stand::Waits => self.hear(&[news.key], Vec::new(), state).await?,
                Stand::Over | Stand::Failed => self.wiring.dispatcher.signal(dispatch::Msg::Turned(news.key)),
            }
        }
        // A turn that ended by itself told one of each lane; of one that failed, even after it was told to leave, nobody knows.
        if news.stand == Stand::Failed { self.tell_all_on(vec![news.key], Vec::new(), state).await } else { Ok(()) }
    }

    /// A new dispatcher knows nothing: everything is let go, then it starts as after a reconnect.
    async fn hello(&self, state: &mut State) -> Result<()> {
        if state.session.is_none() {
            return Ok(());
        }
        let held: Vec<i32> = state.held.iter().copied().filter(|k| *k != SWEEP_KEY).collect();
        let enlisted = state.enlisted.iter().copied().collect();
        self.give_up(held, enlisted, true, state).await?;
        self.wiring.dispatcher.signal(dispatch::Msg::ListenerReady { session: state.holds });
        Ok(())
    }

    async fn beat(
        &self,
        myself: &ActorRef<Msg>,
        followed: &[i32],
        slept_on: &SleptOn,
        state: &mut State,
    ) -> Result<()> {
        let Some(session) = &state.session else { return Ok(()) };
        let w = &self.wiring;
        let write = state.written.is_none_or(|at| at.elapsed() >= Duration::from_millis(HEARTBEAT_WRITE_MS));
        // What we hold already must not be taken twice.
        let followed: Vec<i32> = followed.iter().copied().filter(|k| !state.held.contains(k)).collect();
        let beat = Heartbeat {
            session: w.session,
            followed: &followed,
            slept_on: &slept_on.lanes,
            lows: &slept_on.lows,
            write,
            leads: state.leads,
            lease_ms: w.lease_ms,
            heartbeat_ms: i64::try_from(w.heartbeat.as_millis()).unwrap_or(i64::MAX),
            session_held: state.holds,
        };
        let beat = limited("heartbeat", session.heartbeat(&beat)).await?;
        if write {
            state.written = Some(Instant::now());
        }
        state.held.extend(&beat.taken);
        self.hear(&beat.taken, Vec::new(), state).await?;
        if beat.leader != state.leads {
            tracing::info!(target: "pgflow::sweep", session = w.session, leads = beat.leader, "leadership changed");
        }
        state.leads = beat.leader;
        w.health.leads.store(beat.leader, Ordering::Relaxed);
        w.dispatcher.signal(dispatch::Msg::Beat(beat.clone()));
        w.sweep.send(Signal::Beat(beat));
        self.arm_sweep(myself, SWEEP_RETRY_MS, state).await
    }

    /// The leader's timer is the only one that sleeps on scheduled rows. Refused for a silent publisher, it tries again, less
    /// and less often, until the next heartbeat does.
    async fn arm_sweep(&self, myself: &ActorRef<Msg>, retry_ms: u64, state: &mut State) -> Result<()> {
        let Some(session) = state.session.as_ref().filter(|_| state.leads && state.holds) else { return Ok(()) };
        if state.held.contains(&SWEEP_KEY) {
            return Ok(());
        }
        let armed = limited("arm", session.arm(&[SWEEP_KEY], &[])).await?;
        if armed.iter().any(|(_, answer)| *answer == Armed::Held) {
            state.held.insert(SWEEP_KEY);
            // What silent publishers have scheduled is visible now.
            if self.wiring.announced.is_news() {
                self.wiring.sweep.send(Signal::Due);
            }
        } else if Duration::from_millis(retry_ms) < self.wiring.heartbeat {
            myself.send_after(Duration::from_millis(retry_ms), move || Msg::ArmSweep { retry_ms: 2 * retry_ms });
        }
        Ok(())
    }
}
