//! Consumers: one file a message. Each takes a valid payload and answers the documented tag.

pub(crate) mod central;
pub(crate) mod instance;

use std::time::Duration;

use pgflow::{Builder, Config, Failure, Handler, Incoming, Queue, Runtime};
use tokio_postgres::Client;

use crate::messages::Payload;
use crate::settings::{RETRY_DELAY_MAX, Settings};
use crate::transport::Transport;
use crate::wire::Wire;

/// Takes the messages of one type.
pub(crate) trait Consume: Send + 'static {
    /// Which.
    type Payload: Payload;

    /// Takes one; answers what became of it, in the documented word. `?` means: again, later.
    fn consume(
        &mut self,
        message: Self::Payload,
        cx: &Context<'_>,
    ) -> impl Future<Output = Result<&'static str, Failure>> + Send;
}

/// What a consumer may know and do, whichever way its message came.
pub(crate) struct Context<'a> {
    cx: &'a pgflow::Context<'a>,
    transport: &'a Transport,
}

impl Context<'_> {
    /// Which try this is, from 1.
    pub(crate) fn attempt(&self) -> u32 {
        self.cx.attempt()
    }

    /// The message as it arrived.
    pub(crate) fn incoming(&self) -> &Incoming {
        self.cx.incoming()
    }

    /// The transaction that ends with the message; see [`pgflow::Context::transaction`].
    pub(crate) async fn transaction(&self) -> pgflow::Result<&Client> {
        self.cx.transaction().await
    }

    /// Sends what follows.
    pub(crate) fn transport(&self) -> &Transport {
        self.transport
    }
}

/// A consumer as pgflow calls it.
pub(crate) struct Consumer<C> {
    pub(crate) consumer: C,
    pub(crate) transport: Transport,
}

impl<C: Consume> Handler for Consumer<C> {
    type Message = Wire<C::Payload>;

    async fn handle(&mut self, message: Self::Message, cx: &mut pgflow::Context<'_>) -> Result<(), Failure> {
        let payload = message.into_payload().map_err(Failure::dead)?;
        let id = cx.id();
        let tag = self.consumer.consume(payload, &Context { cx, transport: &self.transport }).await?;
        tracing::debug!(target: "evolution", kind = C::Payload::TYPE, id, tag, "consumed");
        Ok(())
    }
}

/// How a queue is served, whoever carries its messages.
#[derive(Debug, Clone)]
pub(crate) struct Serving {
    pub(crate) name: &'static str,
    /// Messages handled at once.
    pub(crate) workers: usize,
    /// The longest that a handler may take.
    pub(crate) deadline: Option<Duration>,
    /// Tries after the first.
    pub(crate) max_retries: u16,
    /// The first retry's delay; it doubles up to `RETRY_DELAY_MAX`.
    pub(crate) retry_delay: Duration,
}

/// Where consumers are registered: pgflow's queues, or the memory of a process that holds both roles.
pub(crate) trait Register: Sized {
    /// Says how a queue is served.
    fn queue(self, serving: Serving) -> Self;

    /// Registers a consumer on its type's queue; `build` makes one for each worker or message.
    fn consumer<C: Consume>(self, build: impl Fn() -> C + Send + Sync + 'static) -> Self;
}

/// pgflow's queues.
pub(crate) struct OnQueues {
    builder: Builder,
    transport: Transport,
}

impl OnQueues {
    /// Serves the queues of a role, whose consumers `register` names.
    pub(crate) async fn serve(
        mut config: Config,
        settings: &Settings,
        transport: &Transport,
        register: impl FnOnce(Self) -> Self,
    ) -> pgflow::Result<Runtime> {
        config.alert_bytes = config.alert_bytes.or(settings.bytes_max);
        let queues = Self { builder: Runtime::builder(config), transport: transport.clone() };
        register(queues).builder.start().await
    }
}

impl Register for OnQueues {
    fn queue(mut self, serving: Serving) -> Self {
        // Only the one for rollbacks keeps a worker free for high priority.
        let reserve = serving.name == crate::messages::ROLLBACK_TRIGGERS;
        let mut queue = Queue::new(serving.name).workers(serving.workers).high_reserve(reserve);
        queue = queue.max_retries(serving.max_retries).retry_delay(serving.retry_delay, RETRY_DELAY_MAX);
        if let Some(deadline) = serving.deadline {
            queue = queue.deadline(deadline);
        }
        self.builder = self.builder.queue(queue);
        self
    }

    fn consumer<C: Consume>(mut self, build: impl Fn() -> C + Send + Sync + 'static) -> Self {
        let transport = self.transport.clone();
        self.builder = self.builder.handler(move || Consumer { consumer: build(), transport: transport.clone() });
        self
    }
}

/// The tag of a repeat.
pub(crate) const ALREADY_PROCESSED: &str = "already_processed";
/// The tag of something that has no effect any more.
pub(crate) const NOT_APPLICABLE: &str = "not_applicable";
