//! The life of a listener's connection: made, proved to be a session, registered, lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::{Duration, Instant},
};

use ractor::ActorRef;
use tokio::{runtime::Handle, sync::Notify};
use tokio_postgres::AsyncMessage;

use super::{Listener, Msg, SWEEP_KEY, Signal, State, limited};
use crate::{Error, Result, dispatch, store::Session};

/// First and longest wait between two tries to connect, in ms: nothing is handled from the server's first accept until the next.
pub(super) const RECONNECT_MS: u64 = 50;
const RECONNECT_MS_MAX: u64 = 500;
/// How long an earlier connection's liveness lock is waited for, in ms.
const LIVENESS_WAIT_MS: u64 = 10_000;
/// How long a notification from another connection may take, in ms; then the connection is no session (W10).
const PROBE_MS_MAX: u64 = 3_000;

impl Listener {
    pub(super) async fn connect(&self, myself: &ActorRef<Msg>, state: &mut State) -> Result<()> {
        if state.stopped {
            return Ok(());
        }
        let w = &self.wiring;
        state.session = None;
        state.generation += 1;
        let generation = state.generation;
        let own_pid = Arc::new(AtomicI32::new(0));
        let reached = Arc::new(Notify::new());
        let closed = myself.clone();
        let client = w
            .target
            .connect(
                &Handle::current(),
                &w.application(),
                self.on_message(own_pid.clone(), reached.clone(), generation),
                move |_| drop(closed.cast(Msg::Lost(generation))),
            )
            .await?;
        let mut session = limited("prepare", Session::open(&w.store, client)).await?;
        let pid = limited("connect", session.backend_pid()).await?;
        own_pid.store(pid, Ordering::Relaxed);
        let channels = [
            self.channel(SWEEP_KEY),
            self.channel("ctl"),
            self.channel("low"),
            self.channel(format_args!("probe_{}", w.session)),
            self.channel(format_args!("to_{pid}")),
        ];
        limited("LISTEN", session.listen(&channels)).await?;
        // The first time before any lock: on a pooled connection it would stay behind with nobody to let it go. Once proved,
        // nothing may stand between a reconnect and its liveness lock: others would take a blink for a death.
        let holds = w.proved.load(Ordering::Relaxed) || self.is_reached(&reached).await?;
        if holds {
            self.take_liveness(&session).await?;
        } else if w.direct {
            let why =
                "no notification arrives from the database of url: it is another one, or a pooler in transaction mode";
            return Err(Error::config("listen_url", why));
        } else {
            tracing::warn!(target: "pgflow::listen", "the connection is no session (a pooler in transaction mode?): polling; set listen_url to a direct one");
        }
        limited("register", w.store.register(session.client_mut(), w.session, &w.registration, holds)).await?;
        state.session = Some(session);
        state.holds = holds;
        state.held.clear();
        state.heard.clear();
        state.enlisted.clear();
        state.leads = false;
        state.written = Some(Instant::now());
        state.reconnect_ms = RECONNECT_MS;
        w.health.polls.store(!holds, Ordering::Relaxed);
        w.health.listening.store(true, Ordering::Relaxed);
        if w.stood.load(Ordering::Relaxed) {
            // They may lead to the server that was ours before: what is claimed or settled there is not of this one.
            w.database.renew();
        }
        tracing::info!(target: "pgflow::listen", instance = %w.registration.name, session = w.session, "listening");
        w.sweep.send(Signal::Connected);
        w.dispatcher.signal(dispatch::Msg::ListenerReady { session: holds });
        // The first heartbeat at once: due rows wait for a leader.
        w.dispatcher.signal(dispatch::Msg::BeatDue);
        Ok(())
    }

    pub(super) fn channel(&self, what: impl std::fmt::Display) -> String {
        format!("pgflow_{}_{what}", self.wiring.store.space)
    }

    /// Notifications go straight to the dispatcher: as flags, so that a flood of them is one message.
    fn on_message(
        &self,
        own_pid: Arc<AtomicI32>,
        reached: Arc<Notify>,
        generation: u64,
    ) -> impl FnMut(AsyncMessage) + Send + 'static {
        let w = self.wiring.clone();
        let prefix = self.channel("");
        move |message| {
            let AsyncMessage::Notification(n) = message else { return };
            let Some(what) = n.channel().strip_prefix(&prefix) else { return };
            match what.parse::<i32>() {
                Ok(SWEEP_KEY) => {
                    if w.announced.is_news() {
                        w.sweep.send(Signal::Due);
                    }
                }
                // After a failed claim of ours, which we repeat by ourselves.
                Ok(_) if n.process_id() == own_pid.load(Ordering::Relaxed) => {}
                Ok(key) => {
                    tracing::trace!(target: "pgflow::wake", key, lane = n.payload(), "announced");
                    // What is no lane is a forged notification.
                    if n.payload().parse().is_ok_and(|lane| w.woken.announced(lane)) {
                        w.dispatcher.signal(dispatch::Msg::Woken);
                    }
                }
                Err(_) if what.starts_with("to_") => {
                    tracing::trace!(target: "pgflow::wake", lanes = n.payload(), "told");
                    if w.woken.told(n.payload().split(',').filter_map(|lane| lane.parse().ok())) {
                        w.dispatcher.signal(dispatch::Msg::Woken);
                    }
                }
                Err(_) if what.starts_with("probe_") => {
                    w.proved.store(true, Ordering::Relaxed);
                    reached.notify_one();
                    w.address.signal(Msg::Proved(generation));
                }
                Err(_) if what == "low" => w.dispatcher.signal(dispatch::Msg::PlacesReused(place(n.payload()))),
                Err(_) => w.dispatcher.signal(dispatch::Msg::QueuesChanged),
            }
        }
    }

    /// Whether a notification of another connection arrives here. Through a pooler in transaction mode none does.
    async fn is_reached(&self, reached: &Notify) -> Result<bool> {
        let w = &self.wiring;
        let c = w.pool.get().await.map_err(|e| Error::pool("probe the listener's session", e))?;
        limited("probe", w.store.probe(&c, w.session)).await?;
        Ok(tokio::time::timeout(Duration::from_millis(PROBE_MS_MAX), reached.notified()).await.is_ok())
    }

    /// An earlier connection of this session may still hold the lock: it is ended where permitted, then waited for.
    async fn take_liveness(&self, session: &Session) -> Result<()> {
        let w = &self.wiring;
        let begun = Instant::now();
        let mut tried = false;
        while !limited("liveness lock", session.try_liveness(&w.store, w.session)).await? {
            if !std::mem::replace(&mut tried, true) {
                limited("end the earlier backend", session.end_old_listener(&w.store, w.session)).await?;
            }
            if begun.elapsed() > Duration::from_millis(LIVENESS_WAIT_MS) {
                return Err(Error::timeout("listener: liveness lock of an earlier connection", LIVENESS_WAIT_MS));
            }
            tokio::time::sleep(Duration::from_millis(RECONNECT_MS)).await;
        }
        Ok(())
    }

    pub(super) fn lost(&self, myself: &ActorRef<Msg>, state: &mut State, why: &Error) {
        if state.stopped {
            return;
        }
        let w = &self.wiring;
        tracing::warn!(target: "pgflow::listen", error = %why, retry_ms = state.reconnect_ms, "not listening");
        w.health.listening.store(false, Ordering::Relaxed);
        w.health.leads.store(false, Ordering::Relaxed);
        metrics::counter!("pgflow_listener_lost_total").increment(1);
        if why.is_timeout() {
            // What does not answer here does not there, either: the pool's idle connections are made anew.
            w.pool.retain(|_, _| false);
        }
        state.session = None;
        state.held.clear();
        state.turns.leave();
        w.dispatcher.signal(dispatch::Msg::ListenerLost);
        // Jitter: after a server restart all instances come back at once.
        let wait = Duration::from_millis(state.reconnect_ms).mul_f64(0.75 + rand::random::<f64>() / 2.0);
        state.reconnect_ms = (state.reconnect_ms * 2).min(RECONNECT_MS_MAX);
        myself.send_after(wait, || Msg::Reconnect);
    }
}

/// The lane and the place that a payload of the channel `low` names.
fn place(payload: &str) -> Option<(i32, i64)> {
    let (lane, seq) = payload.split_once(' ')?;
    Some((lane.parse().ok()?, seq.parse().ok().filter(|seq| *seq >= 0)?))
}
