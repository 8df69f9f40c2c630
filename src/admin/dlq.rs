//! Dead letters: looked at, sent round again, removed.

use deadpool_postgres::Object;

#[cfg(doc)]
use super::LIST_MAX;
use super::{Admin, DeadLetter, unknown};
use crate::{Error, Result};

/// Dead letters purged in one transaction.
const PURGE_BATCH: i32 = 5_000;

impl Admin {
    /// Up to `limit` (at most [`LIST_MAX`]) dead letters, of one queue or of all, the newest first.
    ///
    /// # Errors
    /// [`Error::is_input`] when the queue never was.
    pub async fn list_dlq_messages(&self, queue: Option<&str>, limit: u32) -> Result<Vec<DeadLetter>> {
        let c = self.connection().await?;
        let dead = self.store.list_dlq(&c, queue, super::limit(limit), None).await?;
        if dead.is_empty() {
            self.check_named(&c, "list", queue).await?;
        }
        Ok(dead)
    }

    /// One dead letter.
    ///
    /// # Errors
    /// [`Error::is_input`] when there is no such dead letter.
    pub async fn get_dlq_message(&self, id: i64) -> Result<DeadLetter> {
        let found = self.store.list_dlq(&self.connection().await?, None, 1, Some(id)).await?.pop();
        found.ok_or_else(|| no_dead_letter("show", id))
    }

    /// Removes one dead letter. It stays in the history as `dead` for its retention.
    ///
    /// # Errors
    /// [`Error::is_input`] when there is no such dead letter.
    pub async fn purge_dlq_message(&self, id: i64) -> Result<()> {
        match self.store.purge_dlq(&self.connection().await?, None, 1, Some(id)).await? {
            0 => Err(no_dead_letter("purge", id)),
            _ => Ok(()),
        }
    }

    /// Sends a dead letter round again under its old id, its tries counted from nothing. A keyed one comes next after the
    /// unfinished message of its key. Its death stays in its trace.
    ///
    /// # Errors
    /// [`Error::is_input`] when there is no such dead letter; a plain error when its queue is deleted.
    pub async fn retry_dlq_message(&self, id: i64) -> Result<()> {
        self.store.retry_dead(&self.connection().await?, id).await
    }

    /// Empties the dead letters of one queue or of all; answers how many. They stay in the history as `dead` for its
    /// retention. Works in batches: a call that was cut short has purged some.
    ///
    /// # Errors
    /// [`Error::is_input`] when the queue never was.
    pub async fn purge_dlq(&self, queue: Option<&str>) -> Result<u64> {
        let c = self.connection().await?;
        let mut purged = 0;
        loop {
            let batch = self.store.purge_dlq(&c, queue, PURGE_BATCH, None).await?;
            purged += batch.unsigned_abs();
            if batch < i64::from(PURGE_BATCH) {
                break;
            }
        }
        if purged == 0 {
            self.check_named(&c, "purge", queue).await?;
        }
        Ok(purged)
    }

    /// An empty list is no answer for a name that nobody ever gave to a queue.
    async fn check_named(&self, c: &Object, what: &str, queue: Option<&str>) -> Result<()> {
        match queue {
            Some(queue) if !self.store.queue_exists(c, queue).await? => Err(unknown(what, queue)),
            _ => Ok(()),
        }
    }
}

fn no_dead_letter(what: &str, id: i64) -> Error {
    Error::input(format!("{what} dead letter {id}"), "there is none with this id: `pgflow dlq list` shows them")
}
