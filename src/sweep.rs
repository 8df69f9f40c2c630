//! The sweeper: what no wake announces. Rescue of dead instances' messages (every instance), due rows, messages that
//! nobody can take, retention (the leader). It acts on what the heartbeat found, so that idle costs nothing more.

mod due;
mod upkeep;

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use deadpool_postgres::{Object, Pool};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use self::upkeep::Bury;
use crate::{
    Error, Result,
    address::Address,
    config::Config,
    connect::{ANSWER_MS_MAX, bounded_on},
    listen::{Announced, Signal},
    settle::{Claimed, Settler},
    store::{Beat, Ended, Judged, Store},
};

/// Most rows of one rescue, promotion or readdressing.
const SWEEP_BATCH_MAX: i32 = 1_000;
/// How long a liveness lock must have been free before its session is rescued, in ms: longer than a reconnect takes.
const RESCUE_CONFIRM_MS: u64 = 600;
/// The slow duties' interval, in ms.
const SLOW_MS: u64 = 600_000;
/// The same while retention has more to remove than it does at once, in ms.
const MORE_MS: u64 = 1_000;
/// How old an active row of ours that nobody answers for must be, in ms: longer than a claim's answer takes as a rule.
const ORPHAN_AGE_MS: i64 = 2_000;
/// How long after a doubt orphans are looked for, in ms.
const ORPHAN_CHECK_MS: u64 = 2_500;
/// How long after a look that followed a doubt there is another one, in ms.
const AFTER_DOUBT_MS: u64 = 60_000;

/// The sweeper's protocol.
#[derive(Debug)]
pub(crate) enum Msg {
    /// The listener reports.
    Signal(Signal),
    /// The timer of this time fired: rows are due. One that an earlier timer has replaced means nothing.
    DueNow(Instant),
    /// Rows may be active in our name that nobody here answers for.
    Doubt,
    /// Look for them now.
    Orphans,
    /// A session whose liveness lock was free a moment ago: rescue it if it still is.
    Rescue(i32),
}

/// What the sweeper needs from the rest of the runtime.
pub(crate) struct Wiring {
    pub(crate) store: Arc<Store>,
    pub(crate) pool: Pool,
    pub(crate) settler: Settler,
    pub(crate) session: i32,
    pub(crate) config: Config,
    pub(crate) address: Address<Msg>,
    pub(crate) announced: Announced,
}

/// The actor.
pub(crate) struct Sweeper {
    pub(crate) wiring: Arc<Wiring>,
}

/// Its state: timers, and since when the listener stands.
pub(crate) struct State {
    connected: Instant,
    leads: bool,
    due_at: Option<Instant>,
    slow_at: Instant,
    orphans_asked: bool,
    /// A doubt has come since that look was asked for, which may be too early for it.
    doubted_since: bool,
    /// Whether the look that is due follows a doubt: another one will follow it.
    doubts: bool,
    /// When orphans are looked for again without a doubt: an answer may be lost later than a doubt looks.
    orphans_at: Instant,
    /// Sessions found dead, to be looked at again before they are rescued.
    suspects: HashSet<i32>,
}

impl Actor for Sweeper {
    type Msg = Msg;
    type State = State;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Msg>, (): ()) -> Result<State, ActorProcessingErr> {
        self.wiring.address.occupy(myself);
        self.wiring.announced.taken();
        let now = Instant::now();
        Ok(State {
            connected: now,
            leads: false,
            due_at: None,
            slow_at: now,
            orphans_asked: false,
            doubted_since: false,
            doubts: false,
            orphans_at: now + Duration::from_millis(SLOW_MS),
            suspects: HashSet::new(),
        })
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        let done = match message {
            Msg::Signal(Signal::Connected) => {
                state.connected = Instant::now();
                self.doubt(&myself, state);
                Ok(())
            }
            Msg::Signal(Signal::Due) => self.due(&myself, state).await,
            Msg::Signal(Signal::Beat(beat)) => self.beat(&myself, &beat, state).await,
            Msg::DueNow(at) if state.due_at == Some(at) => {
                state.due_at = None;
                self.promote(&myself, state).await
            }
            Msg::DueNow(_) => Ok(()),
            Msg::Doubt => {
                state.doubts = true;
                self.doubt(&myself, state);
                Ok(())
            }
            Msg::Rescue(session) => {
                state.suspects.remove(&session);
                self.answered("rescue", self.rescue(session, Ended::Died)).await
            }
            Msg::Orphans => {
                state.orphans_asked = false;
                // What hung on the way may still arrive, and be carried out, when the network is well again.
                let next_ms = if std::mem::take(&mut state.doubts) { AFTER_DOUBT_MS } else { SLOW_MS };
                state.orphans_at = Instant::now() + Duration::from_millis(next_ms);
                let again = std::mem::take(&mut state.doubted_since);
                let done = self.answered("look for orphans", self.orphans()).await;
                if done.is_err() || again {
                    self.doubt(&myself, state);
                }
                done
            }
        };
        logged(done);
        Ok(())
    }
}

fn logged(done: Result<()>) {
    if let Err(e) = done {
        tracing::warn!(target: "pgflow::sweep", error = %e, "sweep failed, a later heartbeat tries again");
    }
}

impl Sweeper {
    async fn connection(&self) -> Result<Object> {
        self.wiring.pool.get().await.map_err(|e| Error::pool("sweep", e))
    }

    /// Bounds a duty's wait for its answers: one that hangs would keep the others from being done.
    async fn answered<T>(&self, phase: &str, duty: impl Future<Output = Result<T>>) -> Result<T> {
        bounded_on(&self.wiring.pool, phase, ANSWER_MS_MAX, duty).await
    }

    async fn beat(&self, myself: &ActorRef<Msg>, beat: &Beat, state: &mut State) -> Result<()> {
        state.leads = beat.leader;
        let grace = self.wiring.config.rescue_grace_ms;
        // After a server restart all liveness locks are free for a moment, and so they are after our own reconnect.
        let settled_in = beat.server_age_ms > grace as f64 && state.connected.elapsed() > Duration::from_millis(grace);
        if settled_in {
            // Not at once: a listener that only lost its connection is back within moments.
            for session in beat.gone.iter().copied() {
                if state.suspects.insert(session) {
                    myself.send_after(Duration::from_millis(RESCUE_CONFIRM_MS), move || Msg::Rescue(session));
                }
            }
        }
        // The same after a long outage: nobody could beat.
        for session in beat.expired.iter().filter(|s| settled_in && !beat.gone.contains(s)) {
            logged(self.answered("rescue", self.rescue(*session, Ended::LeaseOver)).await);
        }
        if state.orphans_at <= Instant::now() {
            self.doubt(myself, state);
        }
        if !beat.leader {
            return Ok(());
        }
        if let Some(due_ms) = beat.due_ms {
            self.set_timer(myself, due_ms, state).await?;
        }
        if beat.undecodable {
            let readdress = async { self.wiring.store.readdress(&self.connection().await?, SWEEP_BATCH_MAX).await };
            self.answered("readdress", readdress).await?;
            self.answered("bury", self.bury(Bury::Undecodable)).await?;
        }
        if state.slow_at <= Instant::now() {
            let next_ms = if self.slow().await { MORE_MS } else { SLOW_MS };
            state.slow_at = Instant::now() + Duration::from_millis(next_ms);
        }
        Ok(())
    }

    /// Takes a dead session's messages back, then marks it as ended.
    async fn rescue(&self, session: i32, end: Ended) -> Result<()> {
        let w = &self.wiring;
        let lease_ms = i64::try_from(w.config.lease_ms).unwrap_or(i64::MAX);
        let mut c = self.connection().await?;
        loop {
            let tx = c.transaction().await.map_err(|e| Error::database("rescue", e))?;
            let taken = w.store.rescue(&tx, session, lease_ms, SWEEP_BATCH_MAX).await?;
            self.release(&tx, &taken).await?;
            tx.commit().await.map_err(|e| Error::database("rescue: COMMIT", e))?;
            if !taken.is_empty() {
                let dead = taken.iter().filter(|j| j.dead).count();
                tracing::warn!(target: "pgflow::sweep", session, rescued = taken.len() - dead, dead, "rescued a dead instance's messages");
                metrics::counter!("pgflow_rescued_total").increment(taken.len() as u64);
            }
            if taken.len() < SWEEP_BATCH_MAX as usize {
                break;
            }
        }
        w.store.end_instance(&c, session, end).await?;
        w.store.take_back_readdressed(&c, SWEEP_BATCH_MAX).await
    }

    /// Frees the keys of those that died.
    async fn release<C: deadpool_postgres::GenericClient>(&self, c: &C, judged: &[Judged]) -> Result<()> {
        let (queues, keys): (Vec<i32>, Vec<String>) = judged
            .iter()
            .filter(|j| j.dead)
            .filter_map(|j| j.ordering_key.clone().map(|key| (j.queue_id, key)))
            .unzip();
        if keys.is_empty() { Ok(()) } else { self.wiring.store.release_keys(c, &queues, &keys).await }
    }

    fn doubt(&self, myself: &ActorRef<Msg>, state: &mut State) {
        if std::mem::replace(&mut state.orphans_asked, true) {
            state.doubted_since = true;
        } else {
            myself.send_after(Duration::from_millis(ORPHAN_CHECK_MS), || Msg::Orphans);
        }
    }

    /// Hands back active rows of ours that nobody here answers for: a claim's answer was lost. A late answer is refused.
    async fn orphans(&self) -> Result<()> {
        let w = &self.wiring;
        let c = self.connection().await?;
        for o in w.store.orphans(&c, w.session, ORPHAN_AGE_MS).await? {
            let id = o.id;
            let claimed = Claimed { id, token: o.token, queue_id: o.queue_id, ordering_key: o.ordering_key };
            if w.settler.disown(claimed) {
                tracing::warn!(target: "pgflow::sweep", id, "handing back a message whose claim was not answered");
            }
        }
        Ok(())
    }
}
