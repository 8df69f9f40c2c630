//! What a user writes: a handler per message type, and what it may know and do while it runs.

mod failure;
mod registry;

use std::{future::Future, sync::Arc};

use deadpool_postgres::{Object, Pool};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use self::failure::Failure;
pub(crate) use self::failure::Verdict;
pub(crate) use self::registry::{Borrowed, Erased, Factory, Judgement, Registry};
use crate::{
    Error, Result,
    codec::Codec,
    connect::{ANSWER_MS_MAX, bounded},
    message::{Message, Priority},
    publish::Publisher,
};

/// Settings of a connection that handlers, or their publisher, use.
pub(crate) const SETTINGS: &str = "SET plan_cache_mode = force_generic_plan";

/// Handles the messages of one kind. One value lives in each worker, so its state needs no lock; it is built anew
/// after a panic.
///
/// A handler may run more than once for one message (at-least-once). What it writes through [`Context::transaction`]
/// happens exactly once. It is cancelled at an `.await` when its queue's deadline runs out, and when the stop grace does; then a
/// handler of a high message, which has a thread of its own, is left behind instead: its message is handed back, its transaction
/// never commits.
pub trait Handler: Send + 'static {
    /// What it handles.
    type Message: Message;

    /// Handles one message. `?` on any error means: retry later, with the queue's backoff.
    fn handle(
        &mut self,
        message: Self::Message,
        cx: &mut Context<'_>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Handles whatever kind arrives on a queue, undecoded: for bridges and for programs in other languages.
pub trait AnyHandler: Send + 'static {
    /// Handles one message, found in [`Context::incoming`].
    fn handle(&mut self, cx: &mut Context<'_>) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// A message as it arrived.
#[derive(Debug)]
#[non_exhaustive]
pub struct Incoming {
    /// The message's number, unique in the schema and kept over all its tries.
    pub id: i64,
    /// The id its producer made.
    pub message_id: Uuid,
    /// The queue it was taken from.
    pub queue: Arc<str>,
    /// Its kind.
    pub kind: String,
    /// The version its producer wrote.
    pub version: u16,
    /// How its body is written.
    pub codec: Codec,
    /// Its body.
    pub body: Vec<u8>,
    /// Free fields beside the body.
    pub headers: Option<serde_json::Value>,
    /// Its ordering key.
    pub ordering_key: Option<String>,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// How urgent it is.
    pub priority: Priority,
    /// The instance that published it (`sql` for a plain SQL client).
    pub source: Option<String>,
    /// When it was published, on the server's clock.
    pub created_at: std::time::SystemTime,
}

/// What a handler may know and do while it runs.
pub struct Context<'a> {
    incoming: &'a Incoming,
    lent: &'a Lent,
    transaction: OnceCell<OpenTransaction>,
    cancelled: CancellationToken,
}

/// What the runtime lends to every handler.
#[derive(Clone)]
pub(crate) struct Lent {
    pub(crate) pool: Pool,
    pub(crate) publisher: Publisher,
    pub(crate) instance: Arc<str>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(incoming: &'a Incoming, lent: &'a Lent, cancelled: CancellationToken) -> Self {
        Self { incoming, lent, transaction: OnceCell::new(), cancelled }
    }

    /// The message as it arrived.
    pub fn incoming(&self) -> &'a Incoming {
        self.incoming
    }

    /// The message's number, the same in all its tries: the key by which an outside effect can be made once only.
    pub fn id(&self) -> i64 {
        self.incoming.id
    }

    /// Which try this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.incoming.attempt
    }

    /// The name of the instance that runs this handler.
    pub fn instance(&self) -> &str {
        &self.lent.instance
    }

    /// Publishes beside this message's own fate; to tie a publish to it, use `publish_in` with [`Self::transaction`].
    pub fn publisher(&self) -> &Publisher {
        &self.lent.publisher
    }

    /// Resolves when the handler should come to an end: its runtime's stop grace is over.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + use<> {
        let token = self.cancelled.clone();
        async move { token.cancelled().await }
    }

    /// The transaction whose effects happen exactly once: on `Ok` the runtime settles the message as its last
    /// statement and commits, rolling back unless the claim was still ours; otherwise it rolls back.
    /// Opened at the first call (READ COMMITTED); later calls give the same one. Never send COMMIT or ROLLBACK on it.
    /// It holds one of the `handler_connections` to the end of the handler (high messages have as many of their own); a call waits at most 5 s for one. A COMMIT that is not
    /// answered within 30 s counts as failed; if it did happen, what follows from that is fenced.
    ///
    /// A handler that catches an error of this transaction must not return `Ok`: Postgres has aborted it, so the settle fails too,
    /// and the message is retried.
    ///
    /// # Errors
    /// When no connection can be had or BEGIN fails; as a handler's `?`, that is a retry.
    pub async fn transaction(&self) -> Result<&tokio_postgres::Client> {
        let open = self
            .transaction
            .get_or_try_init(|| async {
                let phase = || format!("transaction for message {}", self.incoming.id);
                let object = self.lent.pool.get().await.map_err(|e| Error::pool(phase(), e))?;
                // From here on the connection must not go back to the pool with a transaction open.
                let open = OpenTransaction(Some(object));
                let begin = open.client().batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED");
                bounded(&phase(), ANSWER_MS_MAX, async { begin.await.map_err(|e| Error::database(phase(), e)) })
                    .await?;
                Ok(open)
            })
            .await?;
        Ok(open.client())
    }

    /// The transaction, if the handler opened one.
    pub(crate) fn into_transaction(self) -> Option<OpenTransaction> {
        self.transaction.into_inner()
    }
}

/// A pooled connection inside a transaction. Dropped, it is closed instead of returned: the server rolls back.
pub(crate) struct OpenTransaction(Option<Object>);

impl OpenTransaction {
    pub(crate) fn object(&self) -> &Object {
        self.0.as_ref().expect("taken only by value")
    }

    fn client(&self) -> &tokio_postgres::Client {
        self.object()
    }

    /// Gives the connection back after COMMIT or ROLLBACK was answered.
    pub(crate) fn finished(mut self) {
        drop(self.0.take());
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}
