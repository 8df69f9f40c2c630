//! The operator's view: queues, figures, dead letters, traces; and what he can do to them.
//!
//! Every list has a limit, and every change is one transaction that leaves a message in exactly one table.

mod alerts;
mod dlq;
mod doctor;
mod explain;
mod finding;

use std::{fmt, sync::Arc};

use deadpool_postgres::{Object, Pool};
use tokio::runtime::Handle;
use uuid::Uuid;

pub use crate::store::{
    Alert, AlertLevel, DeadLetter, InstanceInfo, MessageInfo, Mode, QueueInfo, QueueStats, TraceEvent,
};
use crate::{
    Config, Error, Queue, Result,
    connect::{Target, redacted},
    migrate,
    store::Store,
};
pub use alerts::{ALERT_BYTES_MAX, ALERT_DETAIL_BYTES_MAX, ALERT_SUBJECT_BYTES_MAX};
pub use explain::Explanation;
pub use finding::{Finding, Health};

/// The longest list that is answered, and the most events of one trace.
pub const LIST_MAX: u32 = 10_000;

/// Compiling a plan would take longer than any of these statements.
const SETTINGS: &str = "SET jit = off";
/// Connections of an [`Admin`] of its own.
const CONNECTIONS: usize = 2;
/// A change of mode waits so long for open publishers before it gives up.
const MODE_LOCK_MS: u32 = 5_000;

/// Looks at queues and messages, and changes them. A clone is cheap.
#[derive(Clone)]
pub struct Admin {
    store: Arc<Store>,
    pool: Pool,
    /// The server's address without its password, for error texts.
    address: Arc<str>,
}

impl Admin {
    /// An admin with connections of its own, which are made as they are needed, on the runtime that calls this.
    ///
    /// # Errors
    /// When a setting cannot work. Whether the server answers shows at the first call.
    pub async fn connect(config: &Config) -> Result<Self> {
        config.validate()?;
        let pool =
            Target::parse(&config.url)?.verified().pool(&Handle::current(), CONNECTIONS, "pgflow admin", SETTINGS)?;
        Ok(Self { store: Arc::new(Store::new(&config.schema)), pool, address: redacted(&config.url).into() })
    }

    /// All queues with their depth now, by name, at most [`LIST_MAX`]. Counts every waiting row: about a second for ten million.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn list_queues(&self) -> Result<Vec<QueueInfo>> {
        self.store.list_queues(&self.connection().await?, limit(LIST_MAX)).await
    }

    /// The figures of one queue. Reads the last hour's finished messages.
    ///
    /// # Errors
    /// [`Error::is_input`] when the queue is unknown.
    pub async fn get_queue_stats(&self, queue: &str) -> Result<QueueStats> {
        self.store.queue_stats(&self.connection().await?, queue).await?.ok_or_else(|| unknown("stats", queue))
    }

    /// Up to `limit` (at most [`LIST_MAX`]) pending messages, in the order in which they will be started.
    ///
    /// # Errors
    /// [`Error::is_input`] when the queue is unknown.
    pub async fn list_pending_messages(&self, queue: &str, limit: u32) -> Result<Vec<MessageInfo>> {
        let c = self.connection().await?;
        let pending = self.store.list_pending(&c, queue, self::limit(limit)).await?;
        if pending.is_empty() && self.store.find_queue(&c, queue).await?.is_none() {
            return Err(unknown("list", queue));
        }
        Ok(pending)
    }

    /// Makes a queue, or writes the settings that are stated to one that is there. A deleted one comes back. Answers whether it is new.
    ///
    /// # Errors
    /// [`Error::is_input`] or [`Error::is_config`] when its name or a setting cannot work.
    pub async fn create_queue(&self, queue: Queue) -> Result<bool> {
        queue.validate()?;
        let phase = || format!("create queue \"{}\"", queue.name);
        let mut c = self.connection().await?;
        let tx = c.transaction().await.map_err(|e| Error::database(phase(), e))?;
        let new = self.store.create_queue(&tx, &queue).await?;
        self.store.notify_ctl(&tx).await?;
        tx.commit().await.map_err(|e| Error::database(phase(), e))?;
        Ok(new)
    }

    /// Nothing more of the queue is started until it is resumed; what runs goes on.
    ///
    /// # Errors
    /// [`Error::is_input`] when the queue is unknown.
    pub async fn pause_queue(&self, queue: &str) -> Result<()> {
        let known = self.store.pause_queue(&self.connection().await?, queue, true).await?;
        known.then_some(()).ok_or_else(|| unknown("pause", queue))
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// [`Error::is_input`] when the queue is unknown.
    pub async fn resume_queue(&self, queue: &str) -> Result<()> {
        let known = self.store.pause_queue(&self.connection().await?, queue, false).await?;
        known.then_some(()).ok_or_else(|| unknown("resume", queue))
    }

    /// Deletes a queue that has no unfinished message. Its history and dead letters stay for their retention.
    ///
    /// A message whose transaction was open meanwhile becomes a dead letter (`queue_deleted`), or is handled if the queue is
    /// made again before.
    ///
    /// # Errors
    /// [`Error::is_input`] when the queue is unknown; a plain error while it has unfinished messages.
    pub async fn delete_queue(&self, queue: &str) -> Result<()> {
        self.delete(queue, false).await.map(drop)
    }

    /// Deletes a queue and cancels its waiting messages; answers how many. See [`Self::delete_queue`].
    ///
    /// # Errors
    /// [`Error::is_input`] when the queue is unknown; a plain error while messages of it are being processed.
    pub async fn delete_queue_cancelling(&self, queue: &str) -> Result<u64> {
        self.delete(queue, true).await.map(i64::unsigned_abs)
    }

    async fn delete(&self, queue: &str, cancel: bool) -> Result<i64> {
        let deleted = self.store.delete_queue(&self.connection().await?, queue, cancel).await;
        let deleted = deleted.map_err(|e| if e.is_input() { unknown("delete", queue) } else { e });
        self.told(deleted).await
    }

    /// Cancels a message that waits (pending, scheduled or parked); its key goes to the next one.
    ///
    /// # Errors
    /// [`Error::is_input`] when there is no such message; a plain error when it is being processed or finished.
    pub async fn cancel_message(&self, id: i64) -> Result<()> {
        let cancelled = self.store.cancel(&self.connection().await?, id).await;
        self.told(cancelled).await
    }

    /// What befell a message, in time order: at most [`LIST_MAX`] events, from the database alone.
    ///
    /// # Errors
    /// [`Error::is_input`] when there is no such message.
    pub async fn trace(&self, id: i64) -> Result<Vec<TraceEvent>> {
        let events = self.store.trace(&self.connection().await?, &[id], limit(LIST_MAX)).await?;
        if events.is_empty() {
            return Err(Error::input(format!("trace message {id}"), "it never was, or it is older than retention"));
        }
        Ok(events)
    }

    /// Like [`Self::trace`], by the producer's id, for which there is an index in the history only: reads whole tables.
    ///
    /// # Errors
    /// [`Error::is_input`] when there is no such message.
    pub async fn trace_message_id(&self, message_id: Uuid) -> Result<Vec<TraceEvent>> {
        let c = self.connection().await?;
        let ids = self.store.find_message(&c, message_id).await?;
        let events = self.store.trace(&c, &ids, limit(LIST_MAX)).await?;
        if events.is_empty() {
            let phase = format!("trace message {message_id}");
            return Err(Error::input(phase, "it never was, or it is older than retention"));
        }
        Ok(events)
    }

    /// The numbers of the messages with this producer's id: more than one where he gave it more than once; at most 100. Like
    /// [`Self::trace_message_id`], it reads whole tables.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn find_message_id(&self, message_id: Uuid) -> Result<Vec<i64>> {
        self.store.find_message(&self.connection().await?, message_id).await
    }

    /// Why a message is not running, or how it ended.
    ///
    /// # Errors
    /// [`Error::is_input`] when there is no such message.
    pub async fn explain(&self, id: i64) -> Result<Explanation> {
        let facts = self.store.explain(&self.connection().await?, id).await?;
        facts
            .map(explain::explain)
            .ok_or_else(|| Error::input(format!("explain message {id}"), "it never was, or it is older than retention"))
    }

    /// The live instances with the supervision trees they last reported, at most [`LIST_MAX`].
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn tree(&self) -> Result<Vec<InstanceInfo>> {
        self.store.tree(&self.connection().await?, limit(LIST_MAX)).await
    }

    /// Whether the database answers and its tables are those that this program expects.
    ///
    /// # Errors
    /// Says what is wrong and what to do about it.
    pub async fn check(&self) -> Result<()> {
        migrate::check(&**self.connection().await?, &self.store.schema).await
    }

    /// What is wrong, or may soon be: one finding a check, the sound ones too, and one for each of the gravest alerts that stand.
    ///
    /// # Errors
    /// When the database does not answer, or its tables are not those that this program expects.
    pub async fn doctor(&self) -> Result<Vec<Finding>> {
        let c = self.connection().await?;
        migrate::check(&c, &self.store.schema).await?;
        let mut findings = doctor::judge(&self.store.doctor(&c).await?);
        findings.extend(doctor::alerts(&self.store.list_alerts(&c, limit(LIST_MAX)).await?));
        Ok(findings)
    }

    /// How publishers wake runtimes.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn mode(&self) -> Result<Mode> {
        self.store.mode(&self.connection().await?).await
    }

    /// Changes how publishers wake runtimes. Waits up to 5 s for publishers with open transactions.
    ///
    /// # Errors
    /// When the database does not answer, or a publisher's transaction stays open.
    pub async fn set_mode(&self, mode: Mode) -> Result<()> {
        let failed = |e| Error::database(format!("set mode {mode}"), e);
        let mut c = self.connection().await?;
        let tx = c.transaction().await.map_err(failed)?;
        tx.batch_execute(&format!("SET LOCAL lock_timeout = {MODE_LOCK_MS}")).await.map_err(failed)?;
        self.store.set_mode(&tx, mode.as_str()).await?;
        tx.commit().await.map_err(failed)
    }

    /// A change that failed (not: one that was refused) may have hidden rows from a runtime's scan: all are told to look again.
    async fn told<T>(&self, changed: Result<T>) -> Result<T> {
        if changed.as_ref().is_err_and(|e| e.is_closed() || e.sqlstate().is_some()) {
            let told = match self.connection().await {
                Ok(c) => self.store.notify_ctl(&c).await,
                Err(e) => Err(e),
            };
            if let Err(e) = told {
                tracing::warn!(target: "pgflow::wake", error = %e, "runtimes could not be told to look again");
            }
        }
        changed
    }

    async fn connection(&self) -> Result<Object> {
        self.pool.get().await.map_err(|e| Error::pool(format!("connect to {}", self.address), e))
    }
}

fn unknown(what: &str, queue: &str) -> Error {
    Error::unknown_queue(
        format!("{what} queue \"{queue}\""),
        format!("unknown queue \"{queue}\": `pgflow queues` lists them"),
    )
}

fn limit(asked: u32) -> i32 {
    i32::try_from(asked.min(LIST_MAX)).unwrap_or(i32::MAX)
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("schema", &self.store.schema).finish_non_exhaustive()
    }
}
