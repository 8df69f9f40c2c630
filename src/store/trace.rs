//! What befell a message, and what it waits for.

use deadpool_postgres::GenericClient;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Store;
use crate::Result;

/// One thing that befell a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TraceEvent {
    /// The message's number.
    pub id: i64,
    /// When, on the server's clock (RFC 3339, UTC). Of `scheduled`: the time it waits for.
    pub at: String,
    /// `published`, `started`, then `failed`, `panicked`, `timed_out`, `snoozed`, `handed_back`, `undecodable`, `readdressed`,
    /// `rescued` (its process died), `retried`, `purged`; where it is now or ended: `parked`, `scheduled`, `done`, `dead`,
    /// `cancelled`. A pending message has no event for that.
    pub event: String,
    /// Which try, from 1; 0 before the first.
    pub attempt: Option<i32>,
    /// The instance that published it or worked on it.
    pub instance: Option<String>,
    /// That instance's start.
    pub session_id: Option<i32>,
    /// More in words: an error, a key, an addressee.
    pub detail: Option<String>,
}

/// What decides whether a message runs, as the database has it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Facts {
    pub(crate) id: i64,
    pub(crate) queue_name: String,
    pub(crate) status: String,
    pub(crate) kind: String,
    pub(crate) version: i32,
    pub(crate) attempt: i32,
    pub(crate) reason: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) ordering_key: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) paused: bool,
    pub(crate) queue_deleted: bool,
    pub(crate) run_at: Option<String>,
    pub(crate) claimed_at: Option<String>,
    pub(crate) instance: Option<String>,
    pub(crate) serving: i64,
    pub(crate) decoding: i64,
    pub(crate) key_head: Option<i64>,
    pub(crate) key_ahead: Option<i64>,
    pub(crate) ahead: Option<i64>,
    pub(crate) processing: i64,
}

impl Store {
    /// The ids under which a producer's id is known.
    pub(crate) async fn find_message<C: GenericClient>(&self, c: &C, message_id: Uuid) -> Result<Vec<i64>> {
        Ok(super::ids(&self.query(c, || "find a message".into(), &self.sql.find_message, &[&message_id]).await?))
    }

    /// What befell these messages, in time order, at most `limit` events.
    pub(crate) async fn trace<C: GenericClient>(&self, c: &C, ids: &[i64], limit: i32) -> Result<Vec<TraceEvent>> {
        self.objects(c, || "trace a message".into(), &self.sql.trace, &[&ids, &limit]).await
    }

    /// What decides whether a message runs; none when it is unknown.
    pub(crate) async fn explain<C: GenericClient>(&self, c: &C, id: i64) -> Result<Option<Facts>> {
        Ok(self.objects(c, || format!("explain message {id}"), &self.sql.explain, &[&id]).await?.pop())
    }
}
