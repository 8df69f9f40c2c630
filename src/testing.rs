//! Calls of handlers without a queue: for the unit tests of a handler, and for programs that deliver in memory.
//!
//! A call is a worker's own run: decode, validate, handle, then commit or roll back. No message is stored, nothing is claimed or
//! settled, and no table of pgflow's is touched unless the handler publishes. What is a worker's alone is the caller's here: retries,
//! their backoff, ordering keys, and limits of time.
//!
//! ```no_run
//! # use pgflow::{Config, Context, Failure, Handler, Message, Outgoing, testing::Caller};
//! # #[derive(serde::Serialize, serde::Deserialize)] struct SendReceipt { order_id: i64 }
//! # impl Message for SendReceipt { const KIND: &'static str = "send_receipt"; const QUEUE: &'static str = "mail"; }
//! # struct Mailer;
//! # impl Handler for Mailer {
//! #     type Message = SendReceipt;
//! #     async fn handle(&mut self, _: SendReceipt, _: &mut Context<'_>) -> Result<(), Failure> { Ok(()) }
//! # }
//! # async fn test(url: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let caller = Caller::connect(&Config::new(url)).await?;
//! let receipt = Outgoing::new(&SendReceipt { order_id: 1 })?;
//! let verdict = caller.call(&mut Mailer, &receipt, 1).await;
//! assert!(verdict.is_ok());
//! # Ok(()) }
//! ```

use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::{
    Config, Error, Publisher, Result,
    connect::Target,
    handler::{Borrowed, Failure, Handler, Incoming, Judgement, Lent, OpenTransaction, SETTINGS},
    message::{Message, Outgoing},
    worker::{End, roll_back, run},
};

/// Calls handlers. A clone is cheap and shares connections.
#[derive(Clone)]
pub struct Caller {
    lent: Lent,
}

impl Caller {
    /// With connections of its own: `handler_connections` of the settings for [`crate::Context::transaction`], and as many for
    /// [`crate::Context::publisher`]. They are made as they are needed, on the runtime that calls this.
    ///
    /// # Errors
    /// When a setting cannot work. Whether the server answers shows at the first transaction.
    pub async fn connect(config: &Config) -> Result<Self> {
        config.validate()?;
        let target = Target::parse(&config.url)?;
        let pool = target.pool(&Handle::current(), config.handler_connections, "pgflow handlers", SETTINGS)?;
        let publisher = Publisher::connect(config).await?;
        Ok(Self { lent: Lent { pool, publisher, instance: config.instance.as_str().into() } })
    }

    /// Runs `handler` on `message` as try number `attempt`, counted from 1. `Ok` means that its transaction, if it opened one, is
    /// committed; otherwise it was rolled back. A panic is caught and comes back as a retry: the handler may hold broken state then.
    ///
    /// The message's addressing but its priority and key means nothing here, a delay included. Its number in [`crate::Context::id`]
    /// is negative, made of its message id: the same in all its tries, and no number of the database. It counts as published when it was
    /// made, on this machine's clock.
    ///
    /// Dropping the call ends the handler at its `.await` and rolls back, unless the COMMIT was under way.
    ///
    /// # Errors
    /// The handler's own verdict. [`Failure::is_dead`] for a body that does not decode or validate, and for one that no handler here
    /// reads (another kind, a newer version), which a queue would keep for a program that does. A retry for a failed COMMIT.
    pub async fn call<H: Handler>(&self, handler: &mut H, message: &Outgoing, attempt: u32) -> Result<(), Failure> {
        if message.kind != <H::Message as Message>::KIND {
            let (kind, own) = (&message.kind, <H::Message as Message>::KIND);
            return Err(Failure::dead(format!("no handler for kind \"{kind}\": this one takes \"{own}\"")));
        }
        let incoming = self.incoming(message, attempt);
        // Who drops the call cuts it: nothing else does.
        let never = CancellationToken::new();
        let span = tracing::info_span!(target: "pgflow::handle", "call", queue = %incoming.queue, kind = %incoming.kind, attempt);
        let mut handler = Borrowed(handler);
        let (end, transaction) = run(&mut handler, &incoming, &self.lent, &never, None).instrument(span).await;
        let failure = match end {
            End::Judged(Judgement::Done) => return commit(transaction).await,
            End::Judged(Judgement::Failed(failure)) => failure,
            End::Judged(Judgement::Undecodable(why)) => Failure::dead(format!("unsupported_version: {why}")),
            End::Judged(Judgement::Malformed(_, why)) => Failure::dead(why),
            End::Panicked(text) => Failure::retry(format!("panic: {text}")),
            // Neither a deadline nor a cut was given.
            End::TimedOut | End::Cut => Failure::retry("cut"),
        };
        if let Some(transaction) = transaction {
            roll_back(transaction).await;
        }
        Err(failure)
    }

    fn incoming(&self, message: &Outgoing, attempt: u32) -> Incoming {
        Incoming {
            id: number(message),
            message_id: message.message_id,
            queue: message.queue.as_str().into(),
            kind: message.kind.clone(),
            version: message.version,
            codec: message.codec,
            body: message.body.clone(),
            headers: message.headers.clone(),
            ordering_key: message.ordering_key.clone(),
            attempt,
            priority: message.priority,
            source: Some(self.lent.instance.to_string()),
            created_at: made_at(message),
        }
    }
}

/// Below zero, where no number of the database is, by the id's last 63 bits, which are random in one that is made here.
fn number(message: &Outgoing) -> i64 {
    let (_, random) = message.message_id.as_u64_pair();
    -1 - i64::try_from(random >> 1).unwrap_or_default()
}

/// By the id that is made with the message; now, where another kind of id was given.
fn made_at(message: &Outgoing) -> SystemTime {
    let made = message.message_id.get_timestamp().map(|made| made.to_unix());
    made.map_or_else(SystemTime::now, |(seconds, nanos)| SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos))
}

async fn commit(transaction: Option<OpenTransaction>) -> Result<(), Failure> {
    let Some(transaction) = transaction else { return Ok(()) };
    // As in a settle: one that Postgres has aborted answers COMMIT with a rollback and no error, so a statement comes before it.
    let ended = transaction.object().batch_execute("SELECT; COMMIT").await;
    match ended {
        Ok(()) => {
            transaction.finished();
            Ok(())
        }
        Err(e) => Err(Failure::from(Error::database("commit of the handler's transaction", e))),
    }
}
