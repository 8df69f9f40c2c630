//! The sweeper: what no wake announces. Rescue of dead instances' messages (every instance), due rows, messages that
//! nobody can take, retention (the leader). It acts on what the heartbeat found, so that idle costs nothing more.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use deadpool_postgres::{Object, Pool};
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::{
    Error, Result,
    address::Address,
    config::Config,
    listen::Signal,
    settle::{Claimed, Outcome, Settler},
    store::{Beat, Ended, Judged, Store},
};

/// Most rows of one rescue, promotion or readdressing.
const SWEEP_BATCH_MAX: i32 = 1_000;
/// How long a liveness lock must have been free before its session is rescued, in ms: longer than a reconnect takes.
const RESCUE_CONFIRM_MS: u64 = 600;
/// The slow duties' interval, in ms.
const SLOW_MS: u64 = 600_000;
/// How old an active row of ours that nobody answers for must be, in ms: longer than a claim's answer may take.
const ORPHAN_AGE_MS: i64 = 2_000;
/// How long after a doubt orphans are looked for, in ms.
const ORPHAN_CHECK_MS: u64 = 2_500;
/// How long it is remembered how far a spool was forwarded that nothing came from, in days. Its folder remembers it, too.
const SPOOL_DAYS: i32 = 90;
/// Wait before a promotion that failed is tried again, in ms.
const PROMOTE_RETRY_MS: u64 = 500;

/// The sweeper's protocol.
#[derive(Debug)]
pub(crate) enum Msg {
    /// The listener reports.
    Signal(Signal),
    /// The timer for the next due row fired.
    DueNow,
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
        let now = Instant::now();
        Ok(State {
            connected: now,
            leads: false,
            due_at: None,
            slow_at: now,
            orphans_asked: false,
            doubted_since: false,
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
            Msg::DueNow => {
                state.due_at = None;
                self.promote(&myself, state).await
            }
            Msg::Doubt => {
                self.doubt(&myself, state);
                Ok(())
            }
            Msg::Rescue(session) => {
                state.suspects.remove(&session);
                self.rescue(session, Ended::Died).await
            }
            Msg::Orphans => {
                state.orphans_asked = false;
                state.orphans_at = Instant::now() + Duration::from_millis(SLOW_MS);
                let again = std::mem::take(&mut state.doubted_since);
                let done = self.orphans().await;
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
            logged(self.rescue(*session, Ended::LeaseOver).await);
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
            let c = self.connection().await?;
            self.wiring.store.readdress(&c, SWEEP_BATCH_MAX).await?;
            self.bury(Bury::Undecodable).await?;
        }
        if state.slow_at <= Instant::now() {
            state.slow_at = Instant::now() + Duration::from_millis(SLOW_MS);
            self.slow().await;
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

    /// A row was scheduled that may fall due before the timer.
    async fn due(&self, myself: &ActorRef<Msg>, state: &mut State) -> Result<()> {
        if !state.leads {
            return Ok(());
        }
        let c = self.connection().await?;
        if let Some(due_ms) = self.wiring.store.next_due(&c).await? {
            drop(c);
            self.set_timer(myself, due_ms, state).await?;
        }
        Ok(())
    }

    /// Promotes at once what is due, else sets the timer when it is due before a heartbeat would tell again.
    async fn set_timer(&self, myself: &ActorRef<Msg>, due_ms: f64, state: &mut State) -> Result<()> {
        if due_ms <= 0.0 {
            return self.promote(myself, state).await;
        }
        if due_ms > 2.0 * self.wiring.config.heartbeat_ms as f64 {
            return Ok(());
        }
        let wait = Duration::from_secs_f64(due_ms / 1_000.0);
        let at = Instant::now() + wait;
        if state.due_at.is_none_or(|earlier| at < earlier) {
            state.due_at = Some(at);
            // Rounded up: a timer that fires a fraction too early would find nothing.
            myself.send_after(wait + Duration::from_millis(1), || Msg::DueNow);
        }
        Ok(())
    }

    async fn promote(&self, myself: &ActorRef<Msg>, state: &mut State) -> Result<()> {
        if !state.leads {
            return Ok(());
        }
        let next = async {
            let c = self.connection().await?;
            while self.wiring.store.promote(&c, SWEEP_BATCH_MAX).await? >= SWEEP_BATCH_MAX as u64 {}
            self.wiring.store.next_due(&c).await
        };
        match next.await {
            Ok(Some(due_ms)) => {
                let wait = Duration::from_secs_f64(due_ms.max(0.0) / 1_000.0) + Duration::from_millis(1);
                if wait <= 2 * self.wiring.config.heartbeat() {
                    state.due_at = Some(Instant::now() + wait);
                    myself.send_after(wait, || Msg::DueNow);
                }
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(e) => {
                myself.send_after(Duration::from_millis(PROMOTE_RETRY_MS), || Msg::DueNow);
                Err(e)
            }
        }
    }

    fn doubt(&self, myself: &ActorRef<Msg>, state: &mut State) {
        if std::mem::replace(&mut state.orphans_asked, true) {
            state.doubted_since = true;
        } else {
            myself.send_after(Duration::from_millis(ORPHAN_CHECK_MS), || Msg::Orphans);
        }
    }

    /// Hands back active rows of ours that nobody here answers for: a claim's answer was lost. A late answer is fenced.
    async fn orphans(&self) -> Result<()> {
        let w = &self.wiring;
        let c = self.connection().await?;
        let rows = w.store.orphans(&c, w.session, ORPHAN_AGE_MS).await?;
        let lost: Vec<_> = {
            let ledger = w.settler.ledger();
            rows.into_iter().filter(|o| !ledger.contains(&o.token)).collect()
        };
        for o in lost {
            tracing::warn!(target: "pgflow::sweep", id = o.id, "handing back a message whose claim was not answered");
            let claimed = Claimed { id: o.id, token: o.token, queue_id: o.queue_id, ordering_key: o.ordering_key };
            w.settler.put(claimed, Outcome::HandBack);
        }
        Ok(())
    }

    async fn bury(&self, what: Bury) -> Result<()> {
        let w = &self.wiring;
        let ms = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let mut c = self.connection().await?;
        let tx = c.transaction().await.map_err(|e| Error::database("bury", e))?;
        let judged = match what {
            Bury::Undecodable => w.store.bury_undecodable(&tx, ms(w.config.unknown_grace_ms)).await?,
            Bury::AddresseeGone => {
                w.store.bury_addressee_gone(&tx, ms(w.config.addressee_ttl_ms), SWEEP_BATCH_MAX).await?
            }
            Bury::DeletedQueue => w.store.bury_deleted_queue(&tx, SWEEP_BATCH_MAX).await?,
        };
        self.release(&tx, &judged).await?;
        tx.commit().await.map_err(|e| Error::database("bury: COMMIT", e))
    }

    /// Duties that can wait some minutes.
    async fn slow(&self) {
        // One that fails must not keep the others from being done.
        logged(self.bury(Bury::AddresseeGone).await);
        logged(self.bury(Bury::DeletedQueue).await);
        logged(self.stranded().await);
        logged(self.take_back_readdressed().await);
        logged(self.retention().await);
    }

    /// What was readdressed to an instance that stopped.
    async fn take_back_readdressed(&self) -> Result<()> {
        let c = self.connection().await?;
        self.wiring.store.take_back_readdressed(&c, SWEEP_BATCH_MAX).await
    }

    async fn stranded(&self) -> Result<()> {
        let w = &self.wiring;
        let c = self.connection().await?;
        let sessions = w.store.stranded(&c, w.session).await?;
        drop(c);
        for session in sessions {
            self.rescue(session, Ended::Died).await?;
        }
        Ok(())
    }

    async fn retention(&self) -> Result<()> {
        let w = &self.wiring;
        let c = self.connection().await?;
        let (history, dead, dedup) = (w.config.history_days, w.config.dead_days, w.config.dedup_days);
        w.store.retention(&c, dead.into(), dedup.into(), SPOOL_DAYS).await?;
        w.store.ensure_partitions(&c).await?;
        w.store.drop_partitions(&c, history.into(), dead.into()).await
    }
}

#[derive(Clone, Copy)]
enum Bury {
    Undecodable,
    AddresseeGone,
    DeletedQueue,
}
