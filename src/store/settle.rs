//! Settling: an active row leaves under its token, or does not leave.

use deadpool_postgres::GenericClient;
use futures_util::future::join;
use tokio_postgres::{Row as PgRow, types::ToSql};

use super::{Store, ids};
use crate::{Error, Result};

/// A try that did not succeed.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) id: i64,
    pub(crate) token: i64,
    /// `failed`, `panicked`, `timed_out` or `snoozed`; for a dead one its error kind.
    pub(crate) event: &'static str,
    pub(crate) error: String,
    /// In ms; none: the queue's backoff.
    pub(crate) delay_ms: Option<i64>,
}

/// What became of a failed or rescued row.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) id: i64,
    pub(crate) dead: bool,
    pub(crate) queue_id: i32,
    pub(crate) ordering_key: Option<String>,
}

impl Judged {
    pub(super) fn read(rows: &[PgRow]) -> Vec<Self> {
        rows.iter().map(|r| Self { id: r.get(0), dead: r.get(1), queue_id: r.get(2), ordering_key: r.get(3) }).collect()
    }
}

/// What `settle_one` raises when the claim is no longer ours.
const FENCED: &str = "PGF01";
/// Longest error text kept, in bytes.
const ERROR_BYTES_MAX: usize = 4_096;

/// Cuts an error text to its limit, and out of it the NUL that Postgres cannot store.
fn storable(error: &str) -> String {
    let mut end = error.len().min(ERROR_BYTES_MAX);
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    error[..end].replace('\0', "\u{fffd}")
}

fn split(pairs: &[(i64, i64)]) -> (Vec<i64>, Vec<i64>) {
    pairs.iter().copied().unzip()
}

fn phase(what: &'static str) -> impl Fn() -> String {
    move || format!("settle ({what})")
}

impl Store {
    /// Finishes messages; answers the ids that were still ours.
    pub(crate) async fn settle_done<C: GenericClient>(&self, c: &C, done: &[(i64, i64)]) -> Result<Vec<i64>> {
        let (i, t) = split(done);
        Ok(ids(&self.query(c, phase("done"), &self.sql.settle_done, &[&i, &t]).await?))
    }

    /// Finishes one message in its handler's transaction, frees its key, and commits, in one round trip. False: the claim was no longer
    /// ours, and the transaction was rolled back.
    pub(crate) async fn settle_one_and_commit<C: GenericClient>(
        &self,
        c: &C,
        (id, token): (i64, i64),
        key: Option<(i32, &str)>,
    ) -> Result<bool> {
        let error = |e| Error::database("settle (done)", e);
        let settle = c.prepare_cached(&self.sql.settle_one).await.map_err(error)?;
        let (queue, key) = key.unzip();
        let params: [&(dyn ToSql + Sync); 4] = [&id, &token, &queue, &key];
        // Sent in this order without waiting: a settle that fails aborts the transaction, and its COMMIT rolls back.
        match join(c.query(&settle, &params), c.batch_execute("COMMIT")).await {
            (Ok(_), Ok(())) => Ok(true),
            (Err(e), Ok(())) if e.code().is_some_and(|code| code.code() == FENCED) => Ok(false),
            (Err(e), _) => Err(error(e)),
            (Ok(_), Err(e)) => Err(Error::database("settle: COMMIT", e)),
        }
    }

    /// Puts failed messages back to wait, or into the DLQ when their retries are used up.
    pub(crate) async fn settle_failed<C: GenericClient>(&self, c: &C, failed: &[Failed]) -> Result<Vec<Judged>> {
        let (i, t): (Vec<i64>, Vec<i64>) = failed.iter().map(|f| (f.id, f.token)).unzip();
        let events: Vec<&str> = failed.iter().map(|f| f.event).collect();
        let errors: Vec<String> = failed.iter().map(|f| storable(&f.error)).collect();
        let delays: Vec<Option<i64>> = failed.iter().map(|f| f.delay_ms).collect();
        let rows = self.query(c, phase("retry"), &self.sql.settle_failed, &[&i, &t, &events, &errors, &delays]).await?;
        Ok(Judged::read(&rows))
    }

    /// Puts messages into the DLQ at once.
    pub(crate) async fn settle_dead<C: GenericClient>(&self, c: &C, dead: &[Failed]) -> Result<Vec<Judged>> {
        let (i, t): (Vec<i64>, Vec<i64>) = dead.iter().map(|f| (f.id, f.token)).unzip();
        let errors: Vec<String> = dead.iter().map(|f| storable(&f.error)).collect();
        let kinds: Vec<&str> = dead.iter().map(|f| f.event).collect();
        Ok(Judged::read(&self.query(c, phase("dead"), &self.sql.settle_dead, &[&i, &t, &errors, &kinds]).await?))
    }

    /// Hands messages back unstarted: same place, same attempt count.
    pub(crate) async fn hand_back<C: GenericClient>(&self, c: &C, back: &[(i64, i64)]) -> Result<Vec<i64>> {
        let (i, t) = split(back);
        Ok(ids(&self.query(c, phase("hand back"), &self.sql.hand_back, &[&i, &t]).await?))
    }

    /// Parks messages that this instance cannot decode.
    pub(crate) async fn park_undecodable<C: GenericClient>(&self, c: &C, parked: &[Failed]) -> Result<Vec<i64>> {
        let (i, t): (Vec<i64>, Vec<i64>) = parked.iter().map(|f| (f.id, f.token)).unzip();
        let why: Vec<String> = parked.iter().map(|f| storable(&f.error)).collect();
        Ok(ids(&self.query(c, phase("park"), &self.sql.park_undecodable, &[&i, &t, &why]).await?))
    }

    /// Frees the keys of settled heads; must run in the settle's own transaction.
    pub(crate) async fn release_keys<C: GenericClient>(&self, c: &C, queues: &[i32], keys: &[String]) -> Result<()> {
        self.query(c, phase("release keys"), &self.sql.release_keys, &[&queues, &keys]).await?;
        Ok(())
    }

    /// The tokens of those (id, token) that were settled by us after all: asked after an unanswered COMMIT.
    pub(crate) async fn find_settled<C: GenericClient>(&self, c: &C, asked: &[(i64, i64)]) -> Result<Vec<i64>> {
        let (i, t) = split(asked);
        Ok(ids(&self.query(c, phase("look up"), &self.sql.find_settled, &[&i, &t]).await?))
    }

    /// Makes missing day partitions: called when a settle found none for today.
    pub(crate) async fn ensure_partitions<C: GenericClient>(&self, c: &C) -> Result<()> {
        self.query(c, || "make partitions".into(), &self.sql.ensure_partitions, &[]).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fear: an error text with a NUL or a cut inside a character makes the settle itself fail, for ever.
    #[test]
    fn error_texts_are_cut_and_cleaned() {
        let long = "é".repeat(ERROR_BYTES_MAX);
        assert!(storable(&long).len() <= ERROR_BYTES_MAX);
        assert_eq!(storable("a\0b"), "a\u{fffd}b");
    }
}
