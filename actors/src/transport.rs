//! How messages travel: by pgflow's queues, or in memory to a consumer of the same process.
//!
//! Every message passes through [`Transport`], as part of its sender's transaction: what the transaction takes back is sent by
//! neither way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use pgflow::{Config, Outgoing, Publisher, Receipt};
use serde::{Deserialize, Serialize};
use tokio_postgres::GenericClient;

use crate::direct::{Hub, Letter};
use crate::messages::Payload;
use crate::producers::Result;
use crate::store;
use crate::wire::Wire;

/// Which way the messages of a process take that holds both roles. Separate roles know only the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Durable: by pgflow's queues
    #[default]
    Queue,
    /// In memory, without a queue: what is under way ends with the process, timers too
    Direct,
    /// By the queue; in memory what the queue does not take
    Auto,
}

/// Sends messages. A clone is cheap.
#[derive(Clone)]
pub struct Transport {
    publisher: Publisher,
    memory: Option<Memory>,
}

#[derive(Clone)]
struct Memory {
    hub: Hub,
    /// Cleared for good in `direct`, and in `auto` while nobody here reads the queues.
    queue_first: Arc<AtomicBool>,
}

/// By the queue alone.
impl From<Publisher> for Transport {
    fn from(publisher: Publisher) -> Self {
        Self { publisher, memory: None }
    }
}

impl Transport {
    /// By the queue alone; signs with the instance's name.
    ///
    /// # Errors
    /// When a setting cannot work.
    pub async fn connect(config: &Config) -> pgflow::Result<Self> {
        Ok(Publisher::connect(config).await?.into())
    }

    /// In memory; if `queue_first`, only what the queue does not take.
    pub(crate) fn with_memory(publisher: Publisher, hub: Hub, queue_first: bool) -> Self {
        let memory = Memory { hub, queue_first: Arc::new(AtomicBool::new(queue_first)) };
        Self { publisher, memory: Some(memory) }
    }

    /// The same hub, signing with another name.
    pub(crate) fn signed(&self, publisher: Publisher) -> Self {
        Self { publisher, memory: self.memory.clone() }
    }

    /// Nobody here reads the queues: from now on everything goes in memory.
    pub(crate) fn leave_queue(&self) {
        if let Some(memory) = &self.memory {
            memory.queue_first.store(false, Ordering::Relaxed);
        }
    }

    /// Whether a send may be under way beside other statements of its transaction: one that may go back to a savepoint would take
    /// them along.
    pub(crate) fn may_overlap(&self) -> bool {
        self.memory.is_none()
    }

    /// Sends to one consumer. In memory there is no number, and no receipt.
    pub(crate) async fn send<C, P>(&self, client: &C, payload: P, address: Address) -> Result<Option<Receipt>>
    where
        C: GenericClient + Sync,
        P: Payload,
    {
        let wire = Wire::of(payload);
        let out = address.on(wire.outgoing()?);
        let Some(memory) = &self.memory else { return Ok(Some(self.publisher.send_in(client, out).await?)) };
        if let Some(queued) = memory.by_queue(client, self.publisher.send_in(client, out.clone())).await? {
            return Ok(Some(queued));
        }
        memory.hub.post(client, Letter::new::<P>(&wire, out, address)).await?;
        Ok(None)
    }

    /// Sends a copy to every live instance: by the queue their receipts; in memory none, to the one of this process.
    pub(crate) async fn broadcast<C, P>(&self, client: &C, payload: P) -> Result<Option<Vec<Receipt>>>
    where
        C: GenericClient + Sync,
        P: Payload,
    {
        let wire = Wire::of(payload);
        let Some(memory) = &self.memory else {
            return Ok(Some(self.publisher.broadcast_in(client, &wire).await?));
        };
        let queued = memory.by_queue(client, self.publisher.broadcast_in(client, &wire)).await?;
        if queued.is_none() {
            memory.hub.post(client, Letter::new::<P>(&wire, wire.outgoing()?, Address::default())).await?;
        }
        Ok(queued)
    }
}

impl Memory {
    /// What the queue answered; none when it is not asked, or took nothing. A failed statement would abort the caller's
    /// transaction, so it is tried behind a savepoint.
    async fn by_queue<C, T>(
        &self,
        client: &C,
        publish: impl Future<Output = pgflow::Result<T>> + Send,
    ) -> Result<Option<T>>
    where
        C: GenericClient + Sync,
    {
        if !self.queue_first.load(Ordering::Relaxed) {
            return Ok(None);
        }
        store::begin_try(client).await?;
        match publish.await {
            Ok(sent) => {
                store::end_try(client).await?;
                Ok(Some(sent))
            }
            // The message's own fault: in memory it would be no better.
            Err(refused) if refused.is_input() && !refused.is_unknown_queue() => {
                store::undo_try(client).await?;
                Err(refused.into())
            }
            Err(reason) => {
                // A connection that is gone takes nothing back: then this is the error that counts.
                if store::undo_try(client).await.is_err() {
                    return Err(reason.into());
                }
                tracing::warn!(target: "evolution", %reason, "the queue does not take a message: it goes in memory");
                Ok(None)
            }
        }
    }
}

/// Where and when a message goes, beside what its type says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Address {
    pub(crate) target: Option<String>,
    pub(crate) delay: Duration,
    pub(crate) ordering_key: Option<String>,
    pub(crate) dedup_key: Option<String>,
}

impl Address {
    /// Only this instance takes it.
    pub(crate) fn target(mut self, instance: &str) -> Self {
        self.target = Some(instance.to_owned());
        self
    }

    /// Not before so much time has passed.
    pub(crate) fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// One message of this key at a time, in the order they were sent.
    pub(crate) fn ordering_key(mut self, key: String) -> Self {
        self.ordering_key = Some(key);
        self
    }

    /// A second message of this key does nothing: by the queue for days, in memory while the first is there.
    pub(crate) fn dedup_key(mut self, key: String) -> Self {
        self.dedup_key = Some(key);
        self
    }

    /// The message with this address, for the queue.
    fn on(&self, mut out: Outgoing) -> Outgoing {
        if !self.delay.is_zero() {
            out = out.delay(self.delay);
        }
        if let Some(instance) = &self.target {
            out = out.target(instance);
        }
        if let Some(key) = &self.ordering_key {
            out = out.ordering_key(key);
        }
        if let Some(key) = &self.dedup_key {
            out = out.dedup_key(key);
        }
        out
    }
}

/// A message that memory cannot carry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectError {
    /// Memory reaches only this process.
    #[error("{kind} is addressed to {target}, which is not in this process: only the queue reaches it")]
    Elsewhere {
        /// The message's type.
        kind: &'static str,
        /// The addressee.
        target: String,
    },
    /// As much is under way as may be.
    #[error("{limit} messages are under way in memory: no more fit")]
    Full {
        /// The limit.
        limit: usize,
    },
    /// The process stops.
    #[error("the process stops: nothing is taken any more")]
    Stopping,
}
