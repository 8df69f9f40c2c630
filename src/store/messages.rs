//! Messages as an operator sees them, and what he can do to them.

use std::time::SystemTime;

use deadpool_postgres::GenericClient;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Store;
use crate::{Error, Result};

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MessageInfo {
    /// Its number.
    pub id: i64,
    /// Where it waits.
    pub queue_name: String,
    /// What it is.
    pub kind: String,
    /// `pending`.
    pub status: String,
    /// Tries made so far.
    pub retry_count: i32,
    /// 10 high, 0 normal, -10 low.
    pub priority: i16,
    /// Its body; none when that is not JSON.
    pub payload: Option<serde_json::Value>,
    /// The body's length.
    pub body_bytes: i32,
    /// When it was published (RFC 3339, UTC).
    pub created_at: String,
    /// The producer's id.
    pub message_id: Uuid,
    /// Its format's version.
    pub version: i32,
    /// Its ordering key.
    pub ordering_key: Option<String>,
    /// The only instance that may take it.
    pub target: Option<String>,
    /// Who published it.
    pub source: Option<String>,
    /// What travels beside the body.
    pub headers: Option<serde_json::Value>,
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its number.
    pub id: i64,
    /// Where it died.
    pub queue_name: String,
    /// What it is.
    pub kind: String,
    /// `dead`.
    pub status: String,
    /// Tries made after the first.
    pub retry_count: i32,
    /// 10 high, 0 normal, -10 low.
    pub priority: i16,
    /// Its body; none when that is not JSON.
    pub payload: Option<serde_json::Value>,
    /// The body's length.
    pub body_bytes: i32,
    /// Why it died.
    pub error: String,
    /// `retries_exhausted`, `rejected`, `process_died`, `unsupported_version`, `addressee_gone` or `queue_deleted`.
    pub error_kind: String,
    /// When it died (RFC 3339, UTC).
    pub created_at: String,
    /// When it was published (RFC 3339, UTC).
    pub published_at: String,
    /// The producer's id.
    pub message_id: Uuid,
    /// Its format's version.
    pub version: i32,
    /// Its ordering key.
    pub ordering_key: Option<String>,
    /// The only instance that may take it.
    pub target: Option<String>,
    /// Who published it.
    pub source: Option<String>,
    /// What travels beside the body.
    pub headers: Option<serde_json::Value>,
}

impl Store {
    /// Up to `limit` pending messages of a queue, in the order of their claim.
    pub(crate) async fn list_pending<C: GenericClient>(
        &self,
        c: &C,
        queue: &str,
        limit: i32,
    ) -> Result<Vec<MessageInfo>> {
        let phase = || format!("list pending messages of queue \"{queue}\"");
        self.objects(c, phase, &self.sql.list_pending, &[&queue, &limit]).await
    }

    /// Up to `limit` dead letters, newest first: of a queue or of all; or the one with this id.
    pub(crate) async fn list_dlq<C: GenericClient>(
        &self,
        c: &C,
        queue: Option<&str>,
        limit: i32,
        id: Option<i64>,
    ) -> Result<Vec<DeadLetter>> {
        self.objects(c, || "list dead letters".into(), &self.sql.list_dlq, &[&queue, &limit, &id]).await
    }

    /// Sends up to `limit` dead letters round again that died before that time, of a queue or of all; or the one with this id.
    /// Answers how many, and the time: without one, it is now.
    pub(crate) async fn retry_dlq<C: GenericClient>(
        &self,
        c: &C,
        queue: Option<&str>,
        limit: i32,
        id: Option<i64>,
        before: Option<SystemTime>,
    ) -> Result<(i64, SystemTime)> {
        let phase = || "retry dead letters".into();
        let row = &self.query(c, phase, &self.sql.retry_dlq, &[&queue, &limit, &id, &before]).await?[0];
        Ok((row.get(0), row.get(1)))
    }

    /// How many dead letters are of deleted queues.
    pub(crate) async fn count_dlq_of_deleted<C: GenericClient>(&self, c: &C) -> Result<i64> {
        Ok(self.query(c, || "count dead letters".into(), &self.sql.count_dlq_of_deleted, &[]).await?[0].get(0))
    }

    /// Moves up to `limit` dead letters into history, of a queue or of all; or the one with this id. Answers how many.
    pub(crate) async fn purge_dlq<C: GenericClient>(
        &self,
        c: &C,
        queue: Option<&str>,
        limit: i32,
        id: Option<i64>,
    ) -> Result<i64> {
        Ok(self.query(c, || "purge dead letters".into(), &self.sql.purge_dlq, &[&queue, &limit, &id]).await?[0].get(0))
    }

    /// Cancels a waiting message and frees its key.
    pub(crate) async fn cancel<C: GenericClient>(&self, c: &C, id: i64) -> Result<()> {
        self.query(c, || format!("cancel message {id}"), &self.sql.cancel, &[&id]).await.map_err(Error::plain)?;
        Ok(())
    }
}
