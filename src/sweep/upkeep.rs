//! The leader's duties that can wait: burials, sessions that left messages behind, retention.

use super::{SWEEP_BATCH_MAX, Sweeper, logged};
use crate::{Error, Result, connect::bounded_on, store::Ended};

/// Longest that a duty which can wait may take, in ms; the next round goes on with it.
const DUTY_MS_MAX: u64 = 60_000;
/// Most dead letters, and most dedup keys, that are removed at once: due rows wait for it.
const RETENTION_BATCH_MAX: i32 = 10_000;
/// How long it is remembered how far a spool was forwarded that nothing came from, in days. Its folder remembers it, too.
const SPOOL_DAYS: i32 = 90;

/// What nobody will take any more.
#[derive(Clone, Copy)]
pub(super) enum Bury {
    Undecodable,
    AddresseeGone,
    DeletedQueue,
}

impl Sweeper {
    pub(super) async fn bury(&self, what: Bury) -> Result<()> {
        let w = &self.wiring;
        let ms = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let mut c = self.connection().await?;
        let tx = c.transaction().await.map_err(|e| Error::database("bury", e))?;
        let judged = match what {
            Bury::Undecodable => w.store.bury_undecodable(&tx, ms(w.config.unknown_grace_ms)).await?,
            Bury::AddresseeGone => {
                w.store.bury_addressee_gone(&tx, ms(w.config.addressee_ttl_ms), SWEEP_BATCH_MAX).await?
            }
            Bury::DeletedQueue => w.store.bury_deleted_queue(&tx, SWEEP_BATCH_MAX).await?,
        };
        self.release(&tx, &judged).await?;
        tx.commit().await.map_err(|e| Error::database("bury: COMMIT", e))
    }

    /// Duties that can wait some minutes. Answers whether retention has more to remove.
    pub(super) async fn slow(&self) -> bool {
        // One that fails must not keep the others from being done.
        self.duty(self.bury(Bury::AddresseeGone)).await;
        self.duty(self.bury(Bury::DeletedQueue)).await;
        self.duty(self.stranded()).await;
        self.duty(self.take_back_readdressed()).await;
        self.duty(self.partitions()).await;
        self.duty(self.old_partitions()).await;
        let mut more = false;
        self.duty(async {
            more = self.retention().await?;
            Ok(())
        })
        .await;
        more
    }

    async fn duty(&self, duty: impl Future<Output = Result<()>>) {
        logged(bounded_on(&self.wiring.pool, "sweep", DUTY_MS_MAX, duty).await);
    }

    /// What was readdressed to an instance that stopped.
    async fn take_back_readdressed(&self) -> Result<()> {
        let c = self.connection().await?;
        self.wiring.store.take_back_readdressed(&c, SWEEP_BATCH_MAX).await
    }

    async fn stranded(&self) -> Result<()> {
        let w = &self.wiring;
        let c = self.connection().await?;
        let sessions = w.store.stranded(&c, w.session).await?;
        drop(c);
        for session in sessions {
            self.rescue(session, Ended::Died).await?;
        }
        Ok(())
    }

    async fn partitions(&self) -> Result<()> {
        self.wiring.store.ensure_partitions(&self.connection().await?).await
    }

    async fn old_partitions(&self) -> Result<()> {
        let w = &self.wiring;
        let (history, dead) = (w.config.history_days, w.config.dead_days);
        w.store.drop_partitions(&self.connection().await?, history.into(), dead.into()).await
    }

    async fn retention(&self) -> Result<bool> {
        let w = &self.wiring;
        let (dead, dedup) = (w.config.dead_days, w.config.dedup_days);
        let c = self.connection().await?;
        w.store.retention(&c, dead.into(), dedup.into(), SPOOL_DAYS, RETENTION_BATCH_MAX).await
    }
}
