//! Publishing: a message becomes a durable row, alone or as part of the caller's transaction.
//!
//! The common case is one prepared INSERT in autocommit. Keys, dedup keys and delays take a function of the database.

mod batch;
mod lanes;

use std::{collections::HashMap, fmt, sync::Arc};

use deadpool_postgres::{Object, Pool};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::{
    Config, Error, Result,
    connect::{Target, give_back, redacted},
    message::{Message, Outgoing},
    store::{Store, Way},
};
pub use batch::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX};
use lanes::LaneBook;

/// Settings of a connection that publishes.
const SETTINGS: &str = "SET plan_cache_mode = force_generic_plan";

/// Called after a publish of this process was committed, with the lane (W11): besides the database's own wake-up, never
/// instead of it.
pub(crate) type Nudge = Arc<dyn Fn(i32) + Send + Sync>;

/// Sends messages. A clone is cheap and shares connections and what is known of the queues.
#[derive(Clone)]
pub struct Publisher {
    inner: Arc<Inner>,
    nudge: Option<Nudge>,
}

struct Inner {
    store: Arc<Store>,
    pool: Pool,
    source: String,
    /// The server's address without its password, for error texts.
    address: String,
    lanes: LaneBook,
}

/// What became of a publish: the message is durable, under this id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Receipt {
    /// The message's number in the database, by which `pgflow trace` finds it. A repeated dedup key gets the first one's.
    pub id: i64,
    /// The id made by the producer. A repeated dedup key gets the first one's.
    pub message_id: Uuid,
}

impl Publisher {
    /// A publisher that signs its messages with the instance's name.
    pub(crate) fn new(store: Arc<Store>, pool: Pool, config: &Config) -> Self {
        let (source, address) = (config.instance.clone(), redacted(&config.url));
        Self { inner: Arc::new(Inner { store, pool, source, address, lanes: LaneBook::default() }), nudge: None }
    }

    /// A publisher with connections of its own, for a program that runs no [`crate::Runtime`].
    ///
    /// It may sit behind any pooler. Connections are made as they are needed, on the runtime that calls this.
    ///
    /// # Errors
    /// When a setting cannot work. Whether the server answers shows at the first publish.
    pub async fn connect(config: &Config) -> Result<Self> {
        config.validate()?;
        let target = Target::parse(&config.url)?;
        let pool = target.pool(&Handle::current(), config.handler_connections, "pgflow publish", SETTINGS)?;
        Ok(Self::new(Arc::new(Store::new(&config.schema)), pool, config))
    }

    /// The same publisher, which also tells `nudge` about every committed publish.
    pub(crate) fn with_nudge(mut self, nudge: Nudge) -> Self {
        self.nudge = Some(nudge);
        self
    }

    /// Publishes a message to its type's queue; `Ok` means committed.
    ///
    /// Dropping the future leaves it open whether the message is sent.
    ///
    /// # Errors
    /// [`Error::is_input`]: nothing was sent, and the same call fails again (unknown queue, payload over the queue's
    /// limit, invalid message). [`Error::is_closed`]: the connection is gone; where the text says `outcome unknown`, the
    /// message may have been sent.
    pub async fn publish<M: Message>(&self, message: &M) -> Result<Receipt> {
        self.send(Outgoing::new(message)?).await
    }

    /// Publishes a message with its own addressing. See [`Self::publish`].
    ///
    /// # Errors
    /// Those of [`Self::publish`].
    pub async fn send(&self, out: Outgoing) -> Result<Receipt> {
        out.check()?;
        let c = self.connection(&out.queue).await?;
        let sent = self.send_on(&c, &out).await;
        give_back(c, &sent);
        let (lane, receipt) = sent?;
        self.committed(lane);
        note([(&out, receipt.id)]);
        Ok(receipt)
    }

    async fn send_on(&self, c: &Object, out: &Outgoing) -> Result<(i32, Receipt)> {
        // The second round is for lanes that were closed after they had been kept: the queue was deleted, perhaps made again.
        for _ in 0..2 {
            let way = self.inner.lanes.way(&self.inner.store, c, out).await?;
            if let Some(receipt) = self.write(c, way, out).await? {
                return Ok((way.lane, receipt));
            }
            self.inner.lanes.forget(&out.queue);
        }
        Err(lanes::unknown_queue(&out.queue))
    }

    /// Publishes a message as part of the caller's transaction: it is sent if and when that commits.
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
        let receipt = if out.needs_put() || out.target.is_some() {
            store.put_in(client, &out, source).await?.map(|(id, message_id)| Receipt { id, message_id })
        } else {
            let id = store.insert_ready_in(client, &out, source).await?;
            id.map(|id| Receipt { id, message_id: out.message_id })
        };
        let Some(receipt) = receipt else { return Err(self.refusal_in(client, &out).await?) };
        note([(&out, receipt.id)]);
        Ok(receipt)
    }

    /// Why the caller's transaction got no row.
    async fn refusal_in<C: tokio_postgres::GenericClient + Sync>(&self, client: &C, out: &Outgoing) -> Result<Error> {
        let limit = self.inner.store.payload_limit_in(client, &out.queue).await?;
        Ok(limit
            .and_then(|max| lanes::check_payload(out, max).err())
            .unwrap_or_else(|| lanes::unknown_queue(&out.queue)))
    }

    async fn write(&self, c: &Object, way: Way, out: &Outgoing) -> Result<Option<Receipt>> {
        let (store, source) = (&self.inner.store, &self.inner.source);
        if out.needs_put() {
            let put = store.put(c, way.lane, out, source).await?;
            return Ok(put.map(|(id, message_id)| Receipt { id, message_id }));
        }
        let id = store.insert_ready(c, way.lane, out, source).await?;
        Ok(id.map(|id| Receipt { id, message_id: out.message_id }))
    }

    async fn connection(&self, queue: &str) -> Result<Object> {
        self.inner
            .pool
            .get()
            .await
            .map_err(|e| Error::pool(format!("publish to \"{queue}\" on {}", self.inner.address), e))
    }

    fn committed(&self, lane: i32) {
        if let Some(nudge) = &self.nudge {
            nudge(lane);
        }
    }
}

/// Counts and logs accepted messages (a caller's rollback is not seen here).
fn note<'a>(accepted: impl IntoIterator<Item = (&'a Outgoing, i64)>) {
    let mut counts: HashMap<(&str, &str), u64> = HashMap::new();
    for (out, id) in accepted {
        tracing::debug!(target: "pgflow::publish", queue = out.queue, kind = out.kind, id, "published");
        *counts.entry((&out.queue, &out.kind)).or_default() += 1;
    }
    for ((queue, kind), count) in counts {
        metrics::counter!("pgflow_published_total", "queue" => queue.to_owned(), "kind" => kind.to_owned())
            .increment(count);
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("source", &self.inner.source).finish_non_exhaustive()
    }
}
