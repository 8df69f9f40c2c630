//! The sweeper's statements: rescue, due rows, messages nobody can take, retention.

use deadpool_postgres::GenericClient;

use super::{Judged, Store};
use crate::Result;

/// An active row of our own session.
#[derive(Debug)]
pub(crate) struct Orphan {
    pub(crate) id: i64,
    pub(crate) token: i64,
    pub(crate) queue_id: i32,
    pub(crate) ordering_key: Option<String>,
}

impl Store {
    /// Active rows of a session claimed more than `age_ms` ago.
    pub(crate) async fn orphans<C: GenericClient>(&self, c: &C, session: i32, age_ms: i64) -> Result<Vec<Orphan>> {
        let rows = self.query(c, || "look for orphans".into(), &self.sql.orphans, &[&session, &age_ms]).await?;
        Ok(rows
            .iter()
            .map(|r| Orphan { id: r.get(0), token: r.get(1), queue_id: r.get(2), ordering_key: r.get(3) })
            .collect())
    }

    /// Sessions that own active messages though they are not live.
    pub(crate) async fn stranded<C: GenericClient>(&self, c: &C, session: i32) -> Result<Vec<i32>> {
        let rows = self.query(c, || "look for stranded messages".into(), &self.sql.stranded, &[&session]).await?;
        Ok(rows.iter().map(|r| r.get(0)).collect())
    }

    /// Takes up to `limit` active messages of a dead session back.
    pub(crate) async fn rescue<C: GenericClient>(
        &self,
        c: &C,
        session: i32,
        lease_ms: i64,
        limit: i32,
    ) -> Result<Vec<Judged>> {
        let rows = self.query(c, || "rescue".into(), &self.sql.rescue, &[&session, &lease_ms, &limit]).await?;
        Ok(Judged::read(&rows))
    }

    /// Makes up to `limit` due messages ready; answers how many.
    pub(crate) async fn promote<C: GenericClient>(&self, c: &C, limit: i32) -> Result<u64> {
        let phase = |e| crate::Error::database("promote due messages", e);
        let statement = c.prepare_cached(&self.sql.promote).await.map_err(phase)?;
        c.execute(&statement, &[&limit]).await.map_err(phase)
    }

    /// Milliseconds until the next scheduled message falls due.
    pub(crate) async fn next_due<C: GenericClient>(&self, c: &C) -> Result<Option<f64>> {
        Ok(self.query(c, || "next due".into(), &self.sql.next_due, &[]).await?[0].get(0))
    }

    /// Re-enters up to `limit` undecodable messages, addressed to an instance that decodes them.
    pub(crate) async fn readdress<C: GenericClient>(&self, c: &C, limit: i32) -> Result<()> {
        self.query(c, || "readdress".into(), &self.sql.readdress, &[&limit]).await?;
        Ok(())
    }

    /// Up to `limit` messages that were readdressed to somebody who is gone wait anew for one who can read them.
    pub(crate) async fn take_back_readdressed<C: GenericClient>(&self, c: &C, limit: i32) -> Result<()> {
        self.query(c, || "take back what was readdressed".into(), &self.sql.take_back_readdressed, &[&limit])
            .await
            .map(drop)
    }

    /// Undecodable messages whose grace is over go to the DLQ.
    pub(crate) async fn bury_undecodable<C: GenericClient>(&self, c: &C, grace_ms: i64) -> Result<Vec<Judged>> {
        Ok(Judged::read(&self.query(c, || "bury undecodable".into(), &self.sql.bury_undecodable, &[&grace_ms]).await?))
    }

    /// Messages whose addressee has been gone for `ttl_ms` go to the DLQ.
    pub(crate) async fn bury_addressee_gone<C: GenericClient>(
        &self,
        c: &C,
        ttl_ms: i64,
        limit: i32,
    ) -> Result<Vec<Judged>> {
        let rows =
            self.query(c, || "bury unaddressable".into(), &self.sql.bury_addressee_gone, &[&ttl_ms, &limit]).await?;
        Ok(Judged::read(&rows))
    }

    /// Up to `limit` strays of deleted queues go to the DLQ.
    pub(crate) async fn bury_deleted_queue<C: GenericClient>(&self, c: &C, limit: i32) -> Result<Vec<Judged>> {
        let rows = self.query(c, || "bury strays".into(), &self.sql.bury_deleted_queue, &[&limit]).await?;
        Ok(Judged::read(&rows))
    }

    /// Old dead letters, dedup keys and instances are removed, and spools that are gone.
    pub(crate) async fn retention<C: GenericClient>(
        &self,
        c: &C,
        dead: i32,
        dedup: i32,
        spools: i32,
        limit: i32,
    ) -> Result<bool> {
        let rows = self.query(c, || "retention".into(), &self.sql.retention, &[&dead, &dedup, &spools, &limit]).await?;
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }

    /// Old day partitions are dropped.
    pub(crate) async fn drop_partitions<C: GenericClient>(&self, c: &C, history: i32, attempts: i32) -> Result<()> {
        self.query(c, || "drop old partitions".into(), &self.sql.drop_partitions, &[&history, &attempts]).await?;
        Ok(())
    }
}
