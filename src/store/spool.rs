//! Forwarding a spool: how far it came, and which of its doubtful messages are in the tables already.

use deadpool_postgres::GenericClient;
use uuid::Uuid;

use super::Store;
use crate::Result;

impl Store {
    /// How far this spool was forwarded; holds its row until the transaction ends.
    pub(crate) async fn meet_spool<C: GenericClient>(&self, tx: &C, spool: Uuid, forwarded: i64) -> Result<i64> {
        let phase = || "look how far the spool was forwarded".into();
        Ok(self.query(tx, phase, &self.sql.meet_spool, &[&spool, &forwarded]).await?[0].get(0))
    }

    /// Says how far this spool is forwarded once the transaction commits.
    pub(crate) async fn advance_spool<C: GenericClient>(&self, tx: &C, spool: Uuid, forwarded: i64) -> Result<()> {
        let phase = || "note how far the spool is forwarded".into();
        self.query(tx, phase, &self.sql.advance_spool, &[&spool, &forwarded]).await.map(drop)
    }

    /// INSERTs under way into these lanes that have not begun write nothing from now on.
    pub(crate) async fn raise_fences<C: GenericClient>(&self, c: &C, lanes: &[i32]) -> Result<()> {
        self.query(c, || "raise the fences of lanes".into(), &self.sql.raise_fences, &[&lanes]).await.map(drop)
    }

    /// The transactions that may publish now, or those of `among` that still may.
    pub(crate) async fn publishing<C: GenericClient>(&self, c: &C, among: Option<&[String]>) -> Result<Vec<String>> {
        let rows = self.query(c, || "look at who publishes".into(), &self.sql.publishing, &[&among]).await?;
        Ok(rows.iter().map(|r| r.get(0)).collect())
    }

    /// Which of these messages, each an id and a kind, are in the tables, created since that time of the Unix epoch.
    pub(crate) async fn find_published<C: GenericClient>(
        &self,
        c: &C,
        ids: &[Uuid],
        kinds: &[&str],
        since_ms: i64,
    ) -> Result<Vec<Uuid>> {
        let phase = || "look for messages whose publish was not answered".into();
        let rows = self.query(c, phase, &self.sql.find_published, &[&ids, &kinds, &since_ms]).await?;
        Ok(rows.iter().map(|r| r.get(0)).collect())
    }
}
