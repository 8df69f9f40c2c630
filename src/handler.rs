//! What a user writes: a handler per message type, and what it may know and do while it runs.

use std::{collections::HashMap, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use deadpool_postgres::{Object, Pool};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Error, Result,
    codec::{Codec, Encoded},
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

/// A verdict other than done. Its text is kept with the message, cut at 4 KiB.
#[derive(Debug)]
pub struct Failure(pub(crate) Verdict);

#[derive(Debug)]
pub(crate) enum Verdict {
    Retry { error: String, delay: Option<Duration> },
    Snooze { delay: Duration },
    Dead { error: String },
}

impl Failure {
    /// Try again after the queue's backoff; counts as a try.
    pub fn retry(error: impl fmt::Display) -> Self {
        Self(Verdict::Retry { error: error.to_string(), delay: None })
    }

    /// Try again after this delay, in whole milliseconds, without jitter; counts as a try.
    pub fn retry_in(delay: Duration, error: impl fmt::Display) -> Self {
        Self(Verdict::Retry { error: error.to_string(), delay: Some(delay) })
    }

    /// Come back after this delay, in whole milliseconds; does not count as a try, so it may go on for ever.
    pub fn snooze(delay: Duration) -> Self {
        Self(Verdict::Snooze { delay })
    }

    /// Can never succeed: into the DLQ at once.
    pub fn dead(error: impl fmt::Display) -> Self {
        Self(Verdict::Dead { error: error.to_string() })
    }

    /// Why; empty for a snooze.
    pub fn error(&self) -> &str {
        match &self.0 {
            Verdict::Retry { error, .. } | Verdict::Dead { error } => error,
            Verdict::Snooze { .. } => "",
        }
    }

    /// Whether trying again is of no use.
    pub fn is_dead(&self) -> bool {
        matches!(self.0, Verdict::Dead { .. })
    }

    /// Whether it is no failed try, but comes back later.
    pub fn is_snooze(&self) -> bool {
        matches!(self.0, Verdict::Snooze { .. })
    }

    /// The delay that it asks for; none where the queue's backoff holds, or nothing is tried again.
    pub fn delay(&self) -> Option<Duration> {
        match self.0 {
            Verdict::Retry { delay, .. } => delay,
            Verdict::Snooze { delay } => Some(delay),
            Verdict::Dead { .. } => None,
        }
    }
}

/// `?` on an error means retry. (`Failure` itself is no `Error`, so that this can cover every error type.)
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(s) = source {
            let s_text = s.to_string();
            if !text.contains(&s_text) {
                text.push_str(": ");
                text.push_str(&s_text);
            }
            source = s.source();
        }
        Self::retry(text)
    }
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
    /// It holds one of the `handler_connections` to the end of the handler; a call waits at most 5 s for one. A COMMIT that is not
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

/// What a call of a handler ended with.
pub(crate) enum Judgement {
    Done,
    Failed(Failure),
    /// Another instance may be able to decode it.
    Undecodable(String),
    /// Nobody can: the error kind and why.
    Malformed(&'static str, String),
}

type Called<'a> = Pin<Box<dyn Future<Output = Judgement> + Send + 'a>>;

/// A handler whose message type is no longer visible.
pub(crate) trait Erased: Send {
    fn call<'a>(&'a mut self, cx: &'a mut Context<'_>) -> Called<'a>;
}

struct Typed<H>(H);

impl<H: Handler> Erased for Typed<H> {
    fn call<'a>(&'a mut self, cx: &'a mut Context<'_>) -> Called<'a> {
        Box::pin(handle(&mut self.0, cx))
    }
}

/// A typed handler that stays its caller's.
pub(crate) struct Borrowed<'h, H>(pub(crate) &'h mut H);

impl<H: Handler> Erased for Borrowed<'_, H> {
    fn call<'a>(&'a mut self, cx: &'a mut Context<'_>) -> Called<'a> {
        Box::pin(handle(self.0, cx))
    }
}

/// Decode, validate, handle.
async fn handle<H: Handler>(handler: &mut H, cx: &mut Context<'_>) -> Judgement {
    let incoming = cx.incoming();
    let encoded = Encoded { version: incoming.version, codec: incoming.codec, body: &incoming.body };
    let message = match <H::Message as Message>::decode(encoded) {
        Ok(message) => message,
        Err(e) if e.is_unsupported() => return Judgement::Undecodable(e.to_string()),
        Err(e) => return Judgement::Malformed("invalid_format", format!("invalid_format: {e}")),
    };
    if let Err(why) = message.validate() {
        return Judgement::Malformed("invalid_message", why);
    }
    handler.handle(message, cx).await.map_or_else(Judgement::Failed, |()| Judgement::Done)
}

struct Any<H>(H);

impl<H: AnyHandler> Erased for Any<H> {
    fn call<'a>(&'a mut self, cx: &'a mut Context<'_>) -> Called<'a> {
        Box::pin(async move { self.0.handle(cx).await.map_or_else(Judgement::Failed, |()| Judgement::Done) })
    }
}

/// Builds a worker's own handler.
pub(crate) type Factory = Arc<dyn Fn() -> Box<dyn Erased> + Send + Sync>;

/// Which handlers a queue has.
#[derive(Clone, Default)]
pub(crate) struct Registry {
    by_kind: HashMap<&'static str, (u16, Factory)>,
    any: Option<Factory>,
}

impl Registry {
    pub(crate) fn add<H: Handler>(&mut self, build: impl Fn() -> H + Send + Sync + 'static) -> Result<()> {
        let kind = <H::Message as Message>::KIND;
        let factory: Factory = Arc::new(move || Box::new(Typed(build())));
        match self.by_kind.insert(kind, (H::Message::VERSION, factory)) {
            None => Ok(()),
            Some(_) => Err(Error::config(
                format!("queue \"{}\"", <H::Message as Message>::QUEUE),
                format!("two handlers for kind \"{kind}\""),
            )),
        }
    }

    pub(crate) fn add_any<H: AnyHandler>(&mut self, build: impl Fn() -> H + Send + Sync + 'static) {
        self.any = Some(Arc::new(move || Box::new(Any(build()))));
    }

    pub(crate) fn find(&self, kind: &str) -> Option<&Factory> {
        self.by_kind.get(kind).map(|(_, f)| f).or(self.any.as_ref())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_kind.is_empty() && self.any.is_none()
    }

    /// `{"kind": newest version}`, as an instance advertises it.
    pub(crate) fn decodes(&self) -> serde_json::Value {
        let mut map: serde_json::Map<String, serde_json::Value> =
            self.by_kind.iter().map(|(kind, (version, _))| ((*kind).to_owned(), (*version).into())).collect();
        if self.any.is_some() {
            map.insert("*".into(), u16::MAX.into());
        }
        map.into()
    }
}
