//! Dead letters: looked at, sent round again, removed.

use deadpool_postgres::Object;

#[cfg(doc)]
use super::LIST_MAX;
use super::{Admin, DeadLetter, unknown};
use crate::{Error, Result};

/// Dead letters purged, or sent round again, in one transaction.
const BATCH: i32 = 5_000;

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
        let c = self.connection().await?;
        if self.store.retry_dlq(&c, None, 1, Some(id), None).await?.0 == 1 {
            return Ok(());
        }
        let found = self.store.list_dlq(&c, None, 1, Some(id)).await?.pop();
        let queue = found.ok_or_else(|| no_dead_letter("retry", id))?.queue_name;
        self.check_standing(&c, &queue).await?;
        Err(Error::state(format!("retry dead letter {id}"), "somebody else retries or removes it just now: look again"))
    }

    /// Sends the dead letters of one queue or of all round again, the oldest first; answers how many. See
    /// [`Self::retry_dlq_message`]. One that dies again meanwhile stays, and so do those of deleted queues. Works in batches: a call
    /// that was cut short has retried some.
    ///
    /// # Errors
    /// [`Error::is_input`] when the queue never was; a plain error when it is deleted.
    pub async fn retry_dlq(&self, queue: Option<&str>) -> Result<u64> {
        let c = self.connection().await?;
        if let Some(queue) = queue {
            self.check_named(&c, "retry", Some(queue)).await?;
            self.check_standing(&c, queue).await?;
        }
        let (mut retried, mut before) = (0, None);
        loop {
            let (batch, began) = self.store.retry_dlq(&c, queue, BATCH, None, before).await?;
            (retried, before) = (retried + batch.unsigned_abs(), Some(began));
            if batch < i64::from(BATCH) {
                return Ok(retried);
            }
        }
    }

    /// How many dead letters are of deleted queues: [`Self::retry_dlq`] leaves them where they are.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn count_dlq_of_deleted_queues(&self) -> Result<u64> {
        self.store.count_dlq_of_deleted(&self.connection().await?).await.map(i64::unsigned_abs)
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
            let batch = self.store.purge_dlq(&c, queue, BATCH, None).await?;
            purged += batch.unsigned_abs();
            if batch < i64::from(BATCH) {
                break;
            }
        }
        if purged == 0 {
            self.check_named(&c, "purge", queue).await?;
        }
        Ok(purged)
    }

    /// Nobody would ever start a message of a deleted queue.
    async fn check_standing(&self, c: &Object, queue: &str) -> Result<()> {
        match self.store.find_queue(c, queue).await? {
            Some(_) => Ok(()),
            None => {
                let why = format!("its queue \"{queue}\" is deleted: make it again first");
                Err(Error::state("retry a dead letter", why))
            }
        }
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
