//! Many messages in one transaction, and one message for everybody.

use std::collections::BTreeSet;

use deadpool_postgres::Object;
use uuid::Uuid;

use super::{LOOKS_MAX, Publisher, Receipt, Tried, answered, lanes, note_all};
use crate::{
    Error, Result,
    connect::bounded,
    message::{INSTANCE_BYTES_MAX, KEY_BYTES_MAX, Message, Outgoing},
    store::Way,
};

/// Most messages of one batch.
pub const BATCH_MESSAGES_MAX: usize = 100_000;
/// Most bytes of one batch together, bodies, headers and keys: 256 MiB.
pub const BATCH_BYTES_MAX: usize = 256 << 20;

/// How long the messages of a batch may take to Postgres, in ms: 256 MiB over a slow line. For its COMMIT the limit is that of one message.
const BATCH_MS_MAX: u64 = 300_000;

const PHASE: &str = "publish a batch";

impl Publisher {
    /// Publishes messages in one transaction, in this order: all of them, or none.
    ///
    /// At most [`BATCH_MESSAGES_MAX`] messages and [`BATCH_BYTES_MAX`] bytes of payload, headers and keys. All are in Postgres, or all are
    /// spooled. Dropping the future leaves it open whether they are sent.
    ///
    /// # Errors
    /// Those of [`Publisher::publish`], for any one of them.
    pub async fn publish_many<M: Message>(&self, messages: &[M]) -> Result<Vec<Receipt>> {
        self.send_many(messages.iter().map(Outgoing::new).collect::<Result<_>>()?).await
    }

    /// Publishes messages with their own addressing in one transaction. See [`Self::publish_many`].
    ///
    /// # Errors
    /// Those of [`Self::publish_many`].
    pub async fn send_many(&self, batch: Vec<Outgoing>) -> Result<Vec<Receipt>> {
        check_batch(&batch)?;
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.or_spooled(&batch, self.send_many_direct(&batch)).await
    }

    async fn send_many_direct(&self, batch: &[Outgoing]) -> Result<Vec<Receipt>, Tried> {
        let mut c = self.connection(&batch[0].queue).await?;
        let sent = self.send_many_on(&mut c, batch).await;
        c.give_back_after_copy(sent.as_ref().err().map(|tried| &tried.error));
        let (lanes, receipts) = sent?;
        lanes.into_iter().for_each(|lane| self.committed(lane));
        note_all(batch.iter().zip(receipts.iter().map(Receipt::id)));
        Ok(receipts)
    }

    async fn send_many_on(&self, c: &mut Object, batch: &[Outgoing]) -> Result<(BTreeSet<i32>, Vec<Receipt>), Tried> {
        for _ in 0..LOOKS_MAX {
            let mut ways = Vec::with_capacity(batch.len());
            for out in batch {
                ways.push(answered(self.way(c, out), || PHASE.into()).await?);
            }
            let begin = async { c.transaction().await.map_err(|e| Error::database(PHASE, e)) };
            let tx = answered(begin, || PHASE.into()).await?;
            let write = self.write_many(&tx, &ways, batch, &self.inner.source);
            if let Some(receipts) = bounded(PHASE, BATCH_MS_MAX, write).await? {
                // Only a COMMIT leaves a doubt: without it the server rolls back.
                let commit = async { tx.commit().await.map_err(|e| Error::database(PHASE, e)) };
                answered(commit, || PHASE.into()).await.map_err(|error| {
                    let doubtful = error.is_closed();
                    let unknown = |e: Error| e.in_phase(format!("{PHASE} (outcome unknown)"));
                    Tried { error: if doubtful { unknown(error) } else { error }, doubtful }
                })?;
                return Ok((ways.iter().map(|w| w.lane.id).collect(), receipts));
            }
            let rollback = async { tx.rollback().await.map_err(|e| Error::database(PHASE, e)) };
            answered(rollback, || PHASE.into()).await?;
            batch.iter().for_each(|out| self.forget(&out.queue));
        }
        Err(lanes::unknown_queue(&batch[0].queue).into())
    }

    /// One message with a key is enough to take the slower way for all: their order stays that of the batch.
    pub(crate) async fn write_many(
        &self,
        tx: &deadpool_postgres::Transaction<'_>,
        ways: &[Way],
        batch: &[Outgoing],
        source: &str,
    ) -> Result<Option<Vec<Receipt>>> {
        let store = &self.inner.store;
        if batch.iter().any(Outgoing::needs_put) {
            let put = store.put_many(tx, ways, batch, source).await?;
            return Ok(put.map(|p| p.into_iter().map(|(id, message_id)| Receipt::row(id, message_id)).collect()));
        }
        let Some(drawn) = store.draw_seqs(tx, ways).await? else { return Ok(None) };
        store.copy_ready(tx, ways, &drawn, batch, source).await?;
        Ok(Some(drawn.iter().zip(batch).map(|(&(id, _), m)| Receipt::row(id, m.message_id)).collect()))
    }

    /// Publishes one copy to every live instance that serves the message's queue, in one transaction.
    ///
    /// Answers one receipt a copy: none when nobody is live. An instance that starts later gets nothing. An ordering key
    /// and a dedup key hold for each addressee alone; such a key has at most 383 bytes.
    ///
    /// # Errors
    /// Those of [`Publisher::publish`]; a message with a target of its own. It never spools, for only Postgres knows who is live: while
    /// Postgres is away, and while something is spooled, which it must not overtake, it fails ([`Error::is_closed`]).
    pub async fn broadcast<M: Message>(&self, message: &M) -> Result<Vec<Receipt>> {
        self.broadcast_out(Outgoing::new(message)?).await
    }

    /// Broadcasts a message with its own addressing. See [`Self::broadcast`].
    ///
    /// # Errors
    /// Those of [`Self::broadcast`].
    pub async fn broadcast_out(&self, out: Outgoing) -> Result<Vec<Receipt>> {
        check_broadcast(&out)?;
        self.check_nothing_spooled(&out.queue)?;
        let c = self.connection(&out.queue).await?;
        let phase = format!("broadcast to \"{}\" (outcome unknown)", out.queue);
        let sent = answered(self.write_broadcast(&***c, &out), || phase.clone()).await;
        let sent = sent.map_err(|e| if e.is_closed() { e.in_phase(phase) } else { e });
        c.give_back(sent.as_ref().err());
        let (receipts, lanes) = sent?;
        lanes.into_iter().for_each(|lane| self.committed(lane));
        Ok(receipts)
    }

    /// Broadcasts as part of the caller's transaction. See [`Self::broadcast`] and [`Publisher::publish_in`].
    ///
    /// # Errors
    /// Those of [`Self::broadcast`] and [`Publisher::publish_in`].
    pub async fn broadcast_in<C, M>(&self, client: &C, message: &M) -> Result<Vec<Receipt>>
    where
        C: tokio_postgres::GenericClient + Sync,
        M: Message,
    {
        let out = Outgoing::new(message)?;
        check_broadcast(&out)?;
        Ok(self.write_broadcast(client, &out).await?.0)
    }

    async fn write_broadcast<C: tokio_postgres::GenericClient + Sync>(
        &self,
        client: &C,
        out: &Outgoing,
    ) -> Result<(Vec<Receipt>, Vec<i32>)> {
        let copies = self.inner.store.broadcast(client, out, Uuid::now_v7(), &self.inner.source).await?;
        if copies.is_empty() {
            let limit = self.inner.store.payload_limit_in(client, &out.queue).await?;
            lanes::check_payload(out, limit.ok_or_else(|| lanes::unknown_queue(&out.queue))?)?;
            tracing::warn!(target: "pgflow::publish", queue = out.queue, kind = out.kind, "nobody live to broadcast to");
        }
        note_all(copies.iter().map(|c| (out, Some(c.id))));
        let lanes = copies.iter().map(|c| c.lane).collect();
        Ok((copies.into_iter().map(|c| Receipt::row(c.id, c.message_id)).collect(), lanes))
    }
}

fn check_batch(batch: &[Outgoing]) -> Result<()> {
    if batch.len() > BATCH_MESSAGES_MAX {
        return Err(Error::input(PHASE, format!("{} messages, at most {BATCH_MESSAGES_MAX}", batch.len())));
    }
    batch.iter().try_for_each(Outgoing::check)?;
    let bytes: usize = batch.iter().map(Outgoing::bytes).sum();
    if bytes > BATCH_BYTES_MAX {
        let why = format!("{bytes} bytes of payload, headers and keys, at most {BATCH_BYTES_MAX}");
        return Err(Error::input(PHASE, why));
    }
    Ok(())
}

fn check_broadcast(out: &Outgoing) -> Result<()> {
    out.check()?;
    let fail = |why: String| Err(Error::input(format!("broadcast to \"{}\"", out.queue), why));
    if out.target.is_some() {
        return fail("a broadcast goes to every live instance: it has no target".into());
    }
    // `key@instance` must fit.
    let max = KEY_BYTES_MAX - INSTANCE_BYTES_MAX - 1;
    for (what, key) in [("ordering key", &out.ordering_key), ("dedup key", &out.dedup_key)] {
        if let Some(len) = key.as_ref().map(String::len).filter(|len| *len > max) {
            return fail(format!("{what} of a broadcast must have at most {max} bytes, it has {len}"));
        }
    }
    Ok(())
}
