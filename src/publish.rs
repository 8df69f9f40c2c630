//! Publishing: a message becomes a durable row, alone or as part of the caller's transaction.
//!
//! The common case is one prepared INSERT in autocommit. Keys, dedup keys and delays take a function of the database.

mod batch;
mod lanes;
mod receipt;
mod spooled;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use deadpool_postgres::{Object, Pool};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Config, Error, Result,
    connect::{InUse, redacted},
    message::{Message, Outgoing},
    spool::Spool,
    store::{Store, Way},
};
pub use batch::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX};
use lanes::LaneBook;
pub use receipt::{Durable, Receipt};

/// Settings of a connection that publishes. A fence must be read after the locks are held, hence the isolation; a batch whose client
/// was cut off must not hold its locks for ever.
pub(crate) const SETTINGS: &str = "SET plan_cache_mode = force_generic_plan; SET default_transaction_isolation = 'read committed'; \
     SET idle_in_transaction_session_timeout = '60s'";
/// How often a publish looks its lane up: lanes that were kept may be closed since, or their fence raised.
const LOOKS_MAX: usize = 3;
/// Longest wait for the answer to one message's INSERT, in ms. Who holds its ordering key in an open transaction may take a while.
const PUBLISH_MS_MAX: u64 = 30_000;

/// Called after a publish of this process was committed, with the lane (W11): besides the database's own wake-up, never
/// instead of it.
pub(crate) type Nudge = Arc<dyn Fn(i32) + Send + Sync>;

/// Sends messages. A clone is cheap and shares connections and what is known of the queues.
#[derive(Clone)]
pub struct Publisher {
    inner: Arc<Inner>,
    nudge: Option<Nudge>,
    spool: Option<Spool>,
    /// Of a publisher without a runtime: ends with the last clone.
    forwarder: Option<Arc<AbortOnDropHandle<()>>>,
}

struct Inner {
    store: Arc<Store>,
    pool: Pool,
    source: String,
    /// The server's address without its password, for error texts.
    address: String,
    lanes: LaneBook,
}

/// A publish into Postgres that failed.
pub(crate) struct Tried {
    pub(crate) error: Error,
    /// It was sent and not answered: it may be in a table, or come into one later.
    pub(crate) doubtful: bool,
}

impl From<Error> for Tried {
    fn from(error: Error) -> Self {
        Self { error, doubtful: false }
    }
}

impl Publisher {
    /// A publisher that signs its messages with the instance's name.
    pub(crate) fn new(store: Arc<Store>, pool: Pool, config: &Config) -> Self {
        let (source, address) = (config.instance.clone(), redacted(&config.url));
        Self {
            inner: Arc::new(Inner { store, pool, source, address, lanes: LaneBook::default() }),
            nudge: None,
            spool: None,
            forwarder: None,
        }
    }

    /// The same publisher, which also tells `nudge` about every committed publish.
    pub(crate) fn with_nudge(mut self, nudge: Nudge) -> Self {
        self.nudge = Some(nudge);
        self
    }

    /// The same publisher, which spools while Postgres is away, with who forwards that, if nobody else does.
    pub(crate) fn with_spool(mut self, spool: Option<Spool>, forwarder: Option<AbortOnDropHandle<()>>) -> Self {
        (self.spool, self.forwarder) = (spool, forwarder.map(Arc::new));
        self
    }

    /// Publishes a message to its type's queue; `Ok` means durable: committed in Postgres, or, with a spool and while Postgres is
    /// away, on this machine's disk. The receipt says which.
    ///
    /// While something is spooled, everything is, so that the order is kept. A spooled message that Postgres then refuses (unknown
    /// queue, payload over its limit) is set aside in the spool's folder. Its delay counts from now, by this machine's clock.
    ///
    /// Dropping the future leaves it open whether the message is sent.
    ///
    /// # Errors
    /// [`Error::is_input`]: nothing was sent, and the same call fails again (unknown queue, payload over the queue's
    /// limit, invalid message). [`Error::is_closed`]: the connection is gone, or gave no answer in 30 s; where the text says
    /// `outcome unknown`, the message may have been sent. [`Error::is_spool_full`]: Postgres is away, and the spool is at its limit. Another error of the
    /// spool's folder (a full disk): the message is nowhere, unless the text says `outcome unknown`.
    pub async fn publish<M: Message>(&self, message: &M) -> Result<Receipt> {
        self.send(Outgoing::new(message)?).await
    }

    /// Publishes a message with its own addressing. See [`Self::publish`].
    ///
    /// # Errors
    /// Those of [`Self::publish`].
    pub async fn send(&self, out: Outgoing) -> Result<Receipt> {
        out.check()?;
        if self.spool.is_none() {
            return self.send_direct(&out).await.map_err(|tried| tried.error);
        }
        let batch = [out];
        let direct = async { self.send_direct(&batch[0]).await.map(|receipt| vec![receipt]) };
        Ok(self.or_spooled(&batch, direct).await?[0])
    }

    async fn send_direct(&self, out: &Outgoing) -> Result<Receipt, Tried> {
        let c = self.connection(&out.queue).await?;
        let sent = self.send_on(&c, out).await;
        c.give_back(sent.as_ref().err().map(|tried| &tried.error));
        let (lane, id, receipt) = sent?;
        self.committed(lane);
        note(out, Some(id));
        Ok(receipt)
    }

    async fn send_on(&self, c: &Object, out: &Outgoing) -> Result<(i32, i64, Receipt), Tried> {
        for _ in 0..LOOKS_MAX {
            // A server that is frozen, or something between that swallows what we send, answers never.
            let phase = || format!("publish to \"{}\"", out.queue);
            let way = answered(self.way(c, out), phase).await?;
            let unknown = || format!("publish to \"{}\" (outcome unknown)", out.queue);
            let written = answered(self.write(c, way, out), unknown).await;
            if let Some((id, receipt)) = written.map_err(|error| Tried { doubtful: error.is_closed(), error })? {
                return Ok((way.lane.id, id, receipt));
            }
            self.forget(&out.queue);
        }
        // A queue that is gone is told by the look itself.
        let why =
            "its lane changed at every look (spools forward into it after an outage): nothing was sent, try again";
        Err(Error::away(format!("publish to \"{}\"", out.queue), why).into())
    }

    /// Where this message goes.
    pub(crate) async fn way(&self, c: &Object, out: &Outgoing) -> Result<Way> {
        self.inner.lanes.way(&self.inner.store, c, out).await
    }

    /// Forgets what is known of a queue.
    pub(crate) fn forget(&self, queue: &str) {
        self.inner.lanes.forget(queue);
    }

    /// Publishes a message as part of the caller's transaction: it is sent if and when that commits.
    ///
    /// It never spools: what is spooled could not roll back with the transaction.
    ///
    /// With a synchronous standby, a COMMIT whose wait for it was cancelled fails on a connection of [`crate::connect`]. On another one it
    /// succeeds, with a warning of the server's.
    ///
    /// One round trip; nothing is prepared on the connection, which may come from any pool or pooler. On a plain client
    /// (no transaction open) it commits at once.
    ///
    /// # Errors
    /// [`Error::is_input`] for an unknown queue or a payload over its limit: nothing was written and the transaction can
    /// go on. An error of the database itself has aborted the transaction, as any failed statement does.
    pub async fn publish_in<C, M>(&self, client: &C, message: &M) -> Result<Receipt>
    where
        C: tokio_postgres::GenericClient + Sync,
        M: Message,
    {
        self.send_in(client, Outgoing::new(message)?).await
    }

    /// Publishes a message with its own addressing as part of the caller's transaction. See [`Self::publish_in`].
    ///
    /// # Errors
    /// Those of [`Self::publish_in`].
    pub async fn send_in<C: tokio_postgres::GenericClient + Sync>(&self, client: &C, out: Outgoing) -> Result<Receipt> {
        out.check()?;
        let (store, source) = (&self.inner.store, &self.inner.source);
        let row = if out.needs_put() || out.target.is_some() {
            store.put_in(client, &out, source).await?
        } else {
            store.insert_ready_in(client, &out, source).await?.map(|id| (id, out.message_id))
        };
        let Some((id, message_id)) = row else { return Err(self.refusal_in(client, &out).await?) };
        note(&out, Some(id));
        Ok(Receipt::row(id, message_id))
    }

    /// Why the caller's transaction got no row.
    async fn refusal_in<C: tokio_postgres::GenericClient + Sync>(&self, client: &C, out: &Outgoing) -> Result<Error> {
        let limit = self.inner.store.payload_limit_in(client, &out.queue).await?;
        Ok(limit
            .and_then(|max| lanes::check_payload(out, max).err())
            .unwrap_or_else(|| lanes::unknown_queue(&out.queue)))
    }

    async fn write(&self, c: &Object, way: Way, out: &Outgoing) -> Result<Option<(i64, Receipt)>> {
        let (store, source) = (&self.inner.store, &self.inner.source);
        let row = if out.needs_put() {
            store.put(c, way.lane, out, source).await?
        } else {
            store.insert_ready(c, way.lane, out, source).await?.map(|id| (id, out.message_id))
        };
        Ok(row.map(|(id, message_id)| (id, Receipt::row(id, message_id))))
    }

    pub(crate) async fn connection(&self, queue: &str) -> Result<InUse> {
        self.inner
            .pool
            .get()
            .await
            .map(InUse::new)
            .map_err(|e| Error::pool(format!("publish to \"{queue}\" on {}", self.inner.address), e))
    }

    pub(crate) fn committed(&self, lane: i32) {
        if let Some(nudge) = &self.nudge {
            nudge(lane);
        }
    }
}

/// Waits for a statement of one publish, [`PUBLISH_MS_MAX`] at most.
async fn answered<T>(statement: impl Future<Output = Result<T>>, phase: impl Fn() -> String) -> Result<T> {
    let done = tokio::time::timeout(Duration::from_millis(PUBLISH_MS_MAX), statement).await;
    done.unwrap_or_else(|_| Err(Error::timeout(phase(), PUBLISH_MS_MAX)))
}

/// Counts and logs an accepted message (a caller's rollback is not seen here).
fn note(out: &Outgoing, id: Option<i64>) {
    log(out, id);
    count(&out.queue, &out.kind, 1);
}

/// The same of many.
pub(crate) fn note_all<'a>(accepted: impl IntoIterator<Item = (&'a Outgoing, Option<i64>)>) {
    let mut counts: HashMap<(&str, &str), u64> = HashMap::new();
    for (out, id) in accepted {
        log(out, id);
        *counts.entry((&out.queue, &out.kind)).or_default() += 1;
    }
    for ((queue, kind), messages) in counts {
        count(queue, kind, messages);
    }
}

fn log(out: &Outgoing, id: Option<i64>) {
    tracing::debug!(target: "pgflow::publish", queue = out.queue, kind = out.kind, id, "published");
}

fn count(queue: &str, kind: &str, messages: u64) {
    metrics::counter!("pgflow_published_total", "queue" => queue.to_owned(), "kind" => kind.to_owned())
        .increment(messages);
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("source", &self.inner.source)
            .field("spool", &self.spool)
            .finish_non_exhaustive()
    }
}
