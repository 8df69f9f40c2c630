//! The listener's session: LISTEN, arm, disarm, heartbeat; short autocommit statements, nothing else. And the session
//! beside it that queues for one key (W6).

use tokio_postgres::{CancelToken, Client, Statement, error::SqlState};

use super::Store;
use crate::{Error, Result};

/// How an attempt to arm a key ended (W1, W2, W6). Of several keys' answers the greatest holds: each is more wakeful than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Armed {
    /// We are sentinel: publishers on this key notify.
    Held,
    /// Another runtime is sentinel.
    Followed,
    /// Silent publishers are in flight, and we queue behind them: those that come later notify.
    Queued,
    /// Silent publishers are in flight: look again soon.
    Silent,
}

/// What a heartbeat asks.
#[derive(Debug)]
pub(crate) struct Heartbeat<'a> {
    pub(crate) session: i32,
    pub(crate) followed: &'a [i32],
    pub(crate) slept_on: &'a [i32],
    /// From which place on each of these is empty, as far as we know.
    pub(crate) lows: &'a [i64],
    pub(crate) write: bool,
    pub(crate) leads: bool,
    pub(crate) lease_ms: i64,
    pub(crate) heartbeat_ms: i64,
    /// Whether the connection is a session (W10).
    pub(crate) session_held: bool,
}

/// What a heartbeat found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beat {
    /// Keys taken over from a holder that is gone.
    pub(crate) taken: Vec<i32>,
    /// Keys followed that have no sentinel but silent publishers in flight.
    pub(crate) silent: Vec<i32>,
    /// Lanes that we sleep on and that hold rows: a wake may have been lost.
    pub(crate) missed: Vec<i32>,
    pub(crate) leader: bool,
    /// Milliseconds until the next scheduled row falls due; may be negative.
    pub(crate) due_ms: Option<f64>,
    /// Sessions whose liveness lock is free.
    pub(crate) gone: Vec<i32>,
    /// Sessions whose heartbeat is older than the lease.
    pub(crate) expired: Vec<i32>,
    /// Whether messages are parked that nobody could decode.
    pub(crate) undecodable: bool,
    /// Whether some instance died within the last heartbeats.
    pub(crate) death: bool,
    pub(crate) server_age_ms: f64,
}

/// What is let go, and of which lanes one of those who follow is told (W3, W12).
#[derive(Debug, Default)]
pub(crate) struct HandOver {
    /// Keys whose lock is let go.
    pub(crate) keys: Vec<i32>,
    /// Lanes that we are enlisted for, and no longer want to be told of.
    pub(crate) leaves: Vec<i32>,
    /// Lanes to tell of.
    pub(crate) lanes: Vec<i32>,
    /// Keys of which every lane is told of, but those that we look at ourselves.
    pub(crate) all_on: Vec<i32>,
    pub(crate) but: Vec<i32>,
}

impl HandOver {
    /// Nothing is let go and nobody to be told.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.leaves.is_empty() && self.lanes.is_empty() && self.all_on.is_empty()
    }
}

/// The statements of a listener's session, prepared once per connection.
pub(crate) struct Session {
    client: Client,
    arm: Statement,
    hand_over: Statement,
    heartbeat: Statement,
}

impl Session {
    /// Prepares the statements on a fresh connection.
    pub(crate) async fn open(store: &Store, client: Client) -> Result<Self> {
        let fail = |e| Error::database("listener: prepare", e);
        let arm = client.prepare(&store.sql.arm).await.map_err(fail)?;
        let hand_over = client.prepare(&store.sql.hand_over).await.map_err(fail)?;
        let heartbeat = client.prepare(&store.sql.heartbeat).await.map_err(fail)?;
        Ok(Self { client, arm, hand_over, heartbeat })
    }

    /// For the registration, which is a short transaction at connect.
    pub(crate) fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// This session's backend, by which its own notifications are told from others'.
    pub(crate) async fn backend_pid(&self) -> Result<i32> {
        let row = self.client.query_one("SELECT pg_backend_pid()", &[]).await;
        Ok(row.map_err(|e| Error::database("listener: connect", e))?.get(0))
    }

    /// Ends the backend of an earlier connection of this session, where permitted.
    pub(crate) async fn end_old_listener(&self, store: &Store, session: i32) -> Result<()> {
        let ended = self.client.query(&store.sql.end_old_listener, &[&session]).await;
        ended.map(drop).map_err(|e| Error::database("listener: end the earlier backend", e))
    }

    /// LISTEN to these channels. One statement for all of them.
    pub(crate) async fn listen(&self, channels: &[String]) -> Result<()> {
        let sql: String = channels.iter().map(|c| format!("LISTEN \"{c}\";")).collect();
        self.client.batch_execute(&sql).await.map_err(|e| Error::database("listener: LISTEN", e))
    }

    /// UNLISTEN to these channels.
    pub(crate) async fn unlisten(&self, channels: &[String]) -> Result<()> {
        let sql: String = channels.iter().map(|c| format!("UNLISTEN \"{c}\";")).collect();
        self.client.batch_execute(&sql).await.map_err(|e| Error::database("listener: UNLISTEN", e))
    }

    /// W7, second step: the liveness lock, whose release tells everybody that this process is gone.
    pub(crate) async fn try_liveness(&self, store: &Store, session: i32) -> Result<bool> {
        let row = self
            .client
            .query_one(&store.sql.try_liveness, &[&session])
            .await
            .map_err(|e| Error::database("listener: liveness lock", e))?;
        Ok(row.get(0))
    }

    /// W1, W2: tries to become sentinel of keys that we do not hold yet, and enlists for those of the lanes whose key was refused.
    pub(crate) async fn arm(&self, keys: &[i32], lanes: &[i32]) -> Result<Vec<(i32, Armed)>> {
        let rows =
            self.client.query(&self.arm, &[&keys, &lanes]).await.map_err(|e| Error::database("listener: arm", e))?;
        Ok(rows
            .iter()
            .map(|r| {
                let state = match r.get::<_, i32>(1) {
                    0 => Armed::Held,
                    1 => Armed::Silent,
                    _ => Armed::Followed,
                };
                (r.get(0), state)
            })
            .collect())
    }

    /// W3, W12: lets go, then tells one follower of each lane, in one statement. Answers each one's lanes.
    pub(crate) async fn hand_over(&self, h: &HandOver) -> Result<Vec<Vec<i32>>> {
        let told = self.client.query(&self.hand_over, &[&h.keys, &h.leaves, &h.lanes, &h.all_on, &h.but]).await;
        Ok(told.map_err(|e| Error::database("listener: hand over", e))?.iter().map(|row| row.get(1)).collect())
    }

    /// W6: which of the keys are kept silent by one publisher, open for so long.
    pub(crate) async fn open_publishers(&self, store: &Store, keys: &[i32], open_ms: u64) -> Result<Vec<i32>> {
        let open_ms = i64::try_from(open_ms).unwrap_or(i64::MAX);
        let rows = self.client.query(&store.sql.open_publishers, &[&keys, &open_ms]).await;
        Ok(rows.map_err(|e| Error::database("listener: open publishers", e))?.iter().map(|r| r.get(0)).collect())
    }

    /// Announces lanes to their sentinels.
    pub(crate) async fn announce(&self, store: &Store, lanes: &[i32]) -> Result<()> {
        let done = self.client.query(&store.sql.announce, &[&lanes]).await;
        done.map(drop).map_err(|e| Error::database("listener: announce", e))
    }

    /// W8: the one statement of an idle instance.
    pub(crate) async fn heartbeat(&self, h: &Heartbeat<'_>) -> Result<Beat> {
        let r = self
            .client
            .query_one(
                &self.heartbeat,
                &[
                    &h.session,
                    &h.followed,
                    &h.slept_on,
                    &h.write,
                    &h.leads,
                    &h.lease_ms,
                    &h.heartbeat_ms,
                    &h.session_held,
                    &h.lows,
                ],
            )
            .await
            .map_err(|e| Error::database("listener: heartbeat", e))?;
        Ok(Beat {
            taken: r.get(0),
            silent: r.get(1),
            missed: r.get(2),
            leader: r.get(3),
            due_ms: r.get(4),
            gone: r.get(5),
            expired: r.get(6),
            undecodable: r.get(7),
            server_age_ms: r.get(8),
            death: r.get(9),
        })
    }
}

/// A session that waits in one key's lock queue (W6). It holds no lock beyond a statement.
pub(crate) struct Turn<'a> {
    client: Client,
    store: &'a Store,
    key: i32,
}

impl<'a> Turn<'a> {
    /// On a connection of its own; `limit_ms` bounds the wait. A server that finds us gone ends the wait within a second.
    pub(crate) async fn open(store: &'a Store, client: Client, key: i32, limit_ms: u64) -> Result<Self> {
        let settings = format!(
            "SET lock_timeout = {limit_ms}; SET statement_timeout = 0; SET client_connection_check_interval = 1000"
        );
        client.batch_execute(&settings).await.map_err(|e| Error::database("queue for a key", e))?;
        Ok(Self { client, store, key })
    }

    /// Cuts a wait short.
    pub(crate) fn cancel_token(&self) -> CancelToken {
        self.client.cancel_token()
    }

    /// Waits, until the key was ours and was let go, or the wait is over or cut.
    pub(crate) async fn wait(&self) -> Result<()> {
        match self.client.query(&self.store.sql.queue_for_key, &[&self.key]).await {
            Ok(_) => Ok(()),
            Err(e) if [Some(&SqlState::LOCK_NOT_AVAILABLE), Some(&SqlState::QUERY_CANCELED)].contains(&e.code()) => {
                Ok(())
            }
            Err(e) => Err(Error::database("queue for a key", e)),
        }
    }

    /// Tells one follower of each lane on the key. A cancel that comes late may hit this instead of the wait: it is said again.
    pub(crate) async fn tell(&self) -> Result<()> {
        let (none, key) = (Vec::<i32>::new(), vec![self.key]);
        loop {
            match self.client.query(&self.store.sql.hand_over, &[&none, &none, &none, &key, &none]).await {
                Ok(_) => return Ok(()),
                Err(e) if e.code() == Some(&SqlState::QUERY_CANCELED) => {}
                Err(e) => return Err(Error::database("end a turn in a key's lock queue", e)),
            }
        }
    }
}
