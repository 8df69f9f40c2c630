//! The consumers of a process, by the type of message, each called by a worker's own run.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use pgflow::testing::Caller;
use pgflow::{Failure, Outgoing};
use tokio::sync::Semaphore;

use crate::consumers::{Consume, Consumer, Register, Serving};
use crate::messages::Payload;
use crate::transport::Transport;

/// Calls a consumer with a message, as this try.
pub(super) type Call = Box<dyn Fn(Arc<Outgoing>, u32) -> Called + Send + Sync>;
type Called = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// A queue's settings, and its workers.
pub(super) struct Line {
    pub(super) serving: Serving,
    pub(super) workers: Semaphore,
}

/// A consumer.
pub(super) struct Taker {
    pub(super) line: Arc<Line>,
    pub(super) call: Call,
}

/// All consumers of a process, one role after the other.
#[derive(Default)]
pub(crate) struct Lines {
    lines: HashMap<&'static str, Arc<Line>>,
    pub(super) takers: HashMap<&'static str, Arc<Taker>>,
}

impl Lines {
    /// Registers the consumers of a role, which runs by this name and sends by this transport.
    pub(crate) fn of(self, caller: Caller, transport: Transport) -> InMemory {
        InMemory { lines: self, caller, transport }
    }
}

/// Registers consumers in memory.
pub(crate) struct InMemory {
    pub(crate) lines: Lines,
    caller: Caller,
    transport: Transport,
}

impl Register for InMemory {
    fn queue(mut self, serving: Serving) -> Self {
        let line = Line { workers: Semaphore::new(serving.workers), serving };
        self.lines.lines.insert(line.serving.name, Arc::new(line));
        self
    }

    fn consumer<C: Consume>(mut self, build: impl Fn() -> C + Send + Sync + 'static) -> Self {
        let (caller, transport) = (self.caller.clone(), self.transport.clone());
        let Some(line) = self.lines.lines.get(C::Payload::QUEUE).map(Arc::clone) else {
            // A role names the queue first, then its consumers.
            unreachable!("no settings for the queue {}", C::Payload::QUEUE)
        };
        let call = move |out: Arc<Outgoing>, attempt| -> Called {
            let mut consumer = Consumer { consumer: build(), transport: transport.clone() };
            let caller = caller.clone();
            Box::pin(async move { caller.call(&mut consumer, &out, attempt).await })
        };
        self.lines.takers.insert(C::Payload::TYPE, Arc::new(Taker { line, call: Box::new(call) }));
        self
    }
}
