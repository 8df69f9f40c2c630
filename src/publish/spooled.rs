//! Publishing with a spool: into Postgres while nothing is spooled, else behind what is.
//!
//! The order of a process' messages is kept so: whoever begins a publish after another one's `Ok` gets a place behind it. For a publish
//! goes past the spool only if nothing in it waits, records on their way to the disk included; and a record stops waiting only
//! when the COMMIT that brought it into Postgres was answered.

use super::{Publisher, Receipt, Tried, lanes};
use crate::{
    Error, Result,
    connect::{ANSWER_MS_MAX, bounded},
    message::Outgoing,
    spool::{Entry, Spool, Spooled},
};

impl Publisher {
    /// What waits in the spool; none without one.
    pub fn spooled(&self) -> Option<Spooled> {
        self.spool.as_ref().map(Spool::held)
    }

    /// Waits until nothing is spooled any more, or one try to forward has failed. At once without a spool. Cancellation safe.
    ///
    /// # Errors
    /// Why the try has failed; what is spooled stays, and goes on being tried.
    pub async fn drain(&self) -> Result<()> {
        match &self.spool {
            Some(spool) => spool.drained().await,
            None => Ok(()),
        }
    }

    /// Into Postgres if it may go past the spool, else into the spool. `direct` is the way into Postgres.
    pub(super) async fn or_spooled(
        &self,
        batch: &[Outgoing],
        direct: impl Future<Output = Result<Vec<Receipt>, Tried>>,
    ) -> Result<Vec<Receipt>> {
        let Some(spool) = &self.spool else { return direct.await.map_err(|tried| tried.error) };
        if !spool.lets_pass().await {
            return self.append(spool, batch, false, "what was published before waits there, too").await;
        }
        match direct.await {
            Ok(receipts) => Ok(receipts),
            Err(tried) if !tried.error.is_away() => Err(tried.error),
            // It waits for somebody's open transaction, as one with an ordering key may: all others can go on.
            Err(tried) if tried.error.is_timeout() && self.is_answered().await => Err(tried.error),
            Err(Tried { error, doubtful }) => {
                let why = format!("Postgres is away ({error})");
                tracing::warn!(target: "pgflow::spool", dir = %spool.dir().display(), %error, "Postgres is away: spooling");
                self.append(spool, batch, doubtful, &why).await
            }
        }
    }

    /// Whether Postgres answers on a new connection.
    async fn is_answered(&self) -> bool {
        let ask = async {
            let c = self.connection("").await?;
            c.simple_query("").await.map_err(|e| Error::database("ask whether Postgres is there", e))
        };
        bounded("ask whether Postgres is there", ANSWER_MS_MAX, ask).await.is_ok()
    }

    async fn append(&self, spool: &Spool, batch: &[Outgoing], doubtful: bool, why: &str) -> Result<Vec<Receipt>> {
        for out in batch {
            // Better now than set aside later. A queue that nobody published to yet is known to Postgres alone.
            if let Some(max) = self.inner.lanes.payload_limit(&out.queue) {
                lanes::check_payload(out, max)?;
            }
        }
        let entries: Vec<Entry> = batch.iter().map(|out| Entry::new(out, &self.inner.source, doubtful)).collect();
        spool.append(entries, why).await.map_err(|e| if doubtful { e.or_sent_after_all() } else { e })?;
        metrics::counter!("pgflow_spooled_total").increment(batch.len() as u64);
        Ok(batch.iter().map(|out| Receipt::spooled(out.message_id)).collect())
    }

    /// A broadcast cannot be spooled, for only Postgres knows who is live; nor may it overtake what is.
    pub(super) fn check_nothing_spooled(&self, queue: &str) -> Result<()> {
        match self.spooled() {
            Some(Spooled { messages, .. }) if messages > 0 => Err(Error::away(
                format!("broadcast to \"{queue}\""),
                format!(
                    "{messages} messages wait in the spool, which a broadcast can neither join nor overtake: try again when they are forwarded"
                ),
            )),
            _ => Ok(()),
        }
    }
}
