//! Who is live, what queues there are, and which lanes an instance serves.

use std::{fmt, str::FromStr};

use deadpool_postgres::GenericClient;
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::Store;
use crate::{Error, Result, config::Queue};

/// What an instance tells about itself.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    pub(crate) name: String,
    /// `{"queue": {"kind": newest version}}`; kind `*` takes any.
    pub(crate) decodes: serde_json::Value,
    pub(crate) host: Option<String>,
    pub(crate) pid: i32,
    /// For so long after its last heartbeat, in ms, an instance that polls without a session keeps its name from us (W10).
    pub(crate) name_kept_ms: i64,
}

/// How a session came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By its own stop.
    Stopped,
    /// Its liveness lock was free.
    Died,
    /// Its heartbeat was older than the lease: its listener backend is ended too.
    LeaseOver,
}

/// How publishers wake runtimes (W10): a property of the database, changed by `pgflow mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Mode {
    /// Only if somebody sleeps: the advisory lock is asked first.
    Eventcount,
    /// Always.
    Notify,
    /// Never: runtimes look by themselves.
    Poll,
}

impl Mode {
    /// Its name: `eventcount`, `notify` or `poll`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eventcount => "eventcount",
            Self::Notify => "notify",
            Self::Poll => "poll",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        let all = [Self::Eventcount, Self::Notify, Self::Poll];
        let why = || format!("\"{s}\" is none of eventcount, notify, poll");
        all.into_iter().find(|mode| mode.as_str() == s).ok_or_else(|| Error::input("read a mode", why()))
    }
}

/// A queue as the dispatcher needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueueFacts {
    pub(crate) queue_id: i32,
    pub(crate) name: String,
    pub(crate) paused: bool,
    pub(crate) max_retries: i32,
    /// (lane id, class, addressed to us)
    pub(crate) lanes: Vec<(i32, i16, bool)>,
}

impl Store {
    /// Makes a queue and its common lanes; writes the settings that are stated. False when the queue was there.
    pub(crate) async fn create_queue<C: GenericClient>(&self, c: &C, queue: &Queue) -> Result<bool> {
        let rows = self
            .query(
                c,
                || format!("create queue \"{}\"", queue.name),
                &self.sql.create_queue,
                &[
                    &queue.name,
                    &queue.max_retries,
                    &queue.retry_delay_ms,
                    &queue.retry_delay_ms_max,
                    &queue.payload_bytes_max,
                ],
            )
            .await?;
        Ok(!rows[0].get::<_, bool>(2))
    }

    /// The queues of these names, with the lanes that `target` serves. A missing queue is missing in the answer.
    pub(crate) async fn queue_facts<C: GenericClient>(
        &self,
        c: &C,
        names: &[String],
        target: &str,
    ) -> Result<Vec<QueueFacts>> {
        let rows = self.query(c, || "read the queues".into(), &self.sql.queue_facts, &[&names, &target]).await?;
        let mut facts: Vec<QueueFacts> = Vec::new();
        for r in rows {
            let name: String = r.get(1);
            let at = facts.iter().position(|f| f.name == name).unwrap_or_else(|| {
                let (queue_id, paused, max_retries) = (r.get(0), r.get(2), r.get(3));
                facts.push(QueueFacts { queue_id, name, paused, max_retries, lanes: Vec::new() });
                facts.len() - 1
            });
            facts[at].lanes.push((r.get(4), r.get(5), r.get::<_, Option<String>>(6).is_some()));
        }
        Ok(facts)
    }

    /// How publishers wake runtimes in this schema.
    pub(crate) async fn mode<C: GenericClient>(&self, c: &C) -> Result<Mode> {
        let rows = self.query(c, || "read the mode".into(), &self.sql.mode, &[]).await?;
        rows[0].get::<_, &str>(0).parse()
    }

    /// Draws a session id for a new start.
    pub(crate) async fn new_session<C: GenericClient>(&self, c: &C) -> Result<i32> {
        Ok(self.query(c, || "register".into(), &self.sql.new_session, &[]).await?[0].get(0))
    }

    /// Writes an instance as live. Two starts under one name are told apart under a lock: the second is refused.
    /// `session_held`: whether this connection is a session, which holds the liveness lock (W10).
    pub(crate) async fn register(
        &self,
        c: &mut Client,
        session: i32,
        r: &Registration,
        session_held: bool,
    ) -> Result<()> {
        let fail = |e| Error::database(format!("register instance \"{}\"", r.name), e);
        let tx = c.transaction().await.map_err(fail)?;
        tx.batch_execute(&self.sql.lock_names).await.map_err(fail)?;
        if let Some(other) =
            tx.query_opt(&self.sql.name_holder, &[&r.name, &session, &r.name_kept_ms]).await.map_err(fail)?
        {
            let (host, pid): (Option<String>, Option<i32>) = (other.get(1), other.get(2));
            return Err(Error::name_taken(
                format!("register instance \"{}\"", r.name),
                format!(
                    "a live instance has this name (session {}, host {}, pid {}): choose another, or stop that one",
                    other.get::<_, i32>(0),
                    host.unwrap_or_default(),
                    pid.unwrap_or_default()
                ),
            ));
        }
        let polls = !session_held;
        tx.execute(&self.sql.register, &[&session, &r.name, &r.decodes, &r.host, &r.pid, &polls])
            .await
            .map_err(fail)?;
        tx.commit().await.map_err(fail)
    }

    /// Notifies the listener of `session`, which asks whether it can be reached (W10).
    pub(crate) async fn probe<C: GenericClient>(&self, c: &C, session: i32) -> Result<()> {
        self.query(c, || "probe the listener's session".into(), &self.sql.probe, &[&session]).await.map(drop)
    }

    /// Marks a session as ended, if it has nothing active.
    pub(crate) async fn end_instance<C: GenericClient>(&self, c: &C, session: i32, end: Ended) -> Result<()> {
        self.query(
            c,
            || "end an instance".into(),
            &self.sql.end_instance,
            &[&session, &(end == Ended::LeaseOver), &(end != Ended::Stopped)],
        )
        .await?;
        Ok(())
    }

    /// Keeps the supervision tree for `pgflow tree`.
    pub(crate) async fn save_tree<C: GenericClient>(
        &self,
        c: &C,
        session: i32,
        tree: &serde_json::Value,
    ) -> Result<()> {
        self.query(c, || "save the tree".into(), &self.sql.save_tree, &[&session, tree]).await?;
        Ok(())
    }
}
