//! Publishing: a row appears in ready, scheduled or parked.
//!
//! The statements named `…_in` run on a connection that is not ours: they go by the queue's name, take one round trip
//! and prepare nothing, so that they also work behind a transaction pooler and keep nothing that a rollback makes untrue.

use deadpool_postgres::GenericClient;
use tokio_postgres::{
    Row as PgRow,
    types::{ToSql, Type},
};
use uuid::Uuid;

use super::Store;
use crate::{Error, Result, message::Outgoing};

/// What a publisher keeps about a queue. Lane ids stay true for ever: a deleted queue's lanes are closed, never removed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueLanes {
    pub(crate) queue_id: i32,
    pub(crate) payload_bytes_max: i32,
    /// High, normal, low.
    pub(crate) common: [Lane; 3],
}

/// A lane and its fence as they were when they were looked up. A statement that brings another fence writes nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane {
    pub(crate) id: i32,
    pub(crate) fence: i32,
}

/// Raised by `pgflow_put` when the lane's fence is not the one that the publisher brought.
const FENCE_RAISED: &str = "PGF01";

fn phase(out: &Outgoing) -> impl Fn() -> String {
    move || format!("publish to \"{}\"", out.queue)
}

/// After a lost connection nobody knows whether the statement was committed: the text must say so.
pub(super) fn unanswered(out: &Outgoing) -> impl Fn(tokio_postgres::Error) -> Error {
    move |e| {
        let e = Error::database(phase(out)(), e);
        if e.is_closed() { e.in_phase(format!("publish to \"{}\" (outcome unknown)", out.queue)) } else { e }
    }
}

/// Runs a statement that writes one message. A failure before it was sent leaves no doubt; one of it may.
async fn published<C: GenericClient>(
    c: &C,
    out: &Outgoing,
    sql: &str,
    row: &[&(dyn ToSql + Sync)],
) -> Result<Option<PgRow>> {
    let unprepared = |e| Error::database(format!("prepare to publish to \"{}\"", out.queue), e);
    let statement = c.prepare_cached(sql).await.map_err(unprepared)?;
    c.query_opt(&statement, row).await.map_err(unanswered(out))
}

impl Outgoing {
    pub(super) fn version_code(&self) -> i32 {
        i32::from(self.version)
    }

    pub(super) fn codec_code(&self) -> i16 {
        self.codec as i16
    }

    /// [`crate::message::DELAY_MAX`] fits by far.
    pub(super) fn delay_ms(&self) -> Option<i64> {
        self.delay.map(|d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
    }
}

impl Store {
    /// The queue of this name; none when it is unknown or deleted.
    pub(crate) async fn find_queue<C: GenericClient>(&self, c: &C, name: &str) -> Result<Option<QueueLanes>> {
        let rows = self.query(c, || format!("look up queue \"{name}\""), &self.sql.find_queue, &[&name]).await?;
        Ok(rows.first().map(|r| QueueLanes {
            queue_id: r.get(0),
            payload_bytes_max: r.get(1),
            common: [(2, 5), (3, 6), (4, 7)].map(|(id, fence)| Lane { id: r.get(id), fence: r.get(fence) }),
        }))
    }

    /// The lane addressed to one instance, made when it is not there.
    pub(crate) async fn lane<C: GenericClient>(&self, c: &C, queue_id: i32, class: i16, target: &str) -> Result<Lane> {
        let rows = self
            .query(c, || format!("find the lane of \"{target}\""), &self.sql.lane, &[&queue_id, &class, &target])
            .await?;
        Ok(Lane { id: rows[0].get(0), fence: rows[0].get(1) })
    }

    /// The hot path: one plain INSERT. None: the lane is closed, or its fence was raised.
    pub(crate) async fn insert_ready<C: GenericClient>(
        &self,
        c: &C,
        lane: Lane,
        out: &Outgoing,
        source: &str,
    ) -> Result<Option<i64>> {
        let (version, codec) = (out.version_code(), out.codec_code());
        let row: [&(dyn ToSql + Sync); 9] =
            [&lane.id, &out.message_id, &out.kind, &version, &codec, &out.body, &out.headers, &source, &lane.fence];
        Ok(published(c, out, &self.sql.insert_ready, &row).await?.map(|r| r.get(0)))
    }

    /// One message with a key, a dedup key or a delay: its id and message id (a repeat answers the first one's).
    /// None: the lane is closed, or its fence was raised.
    pub(crate) async fn put<C: GenericClient>(
        &self,
        c: &C,
        lane: Lane,
        out: &Outgoing,
        source: &str,
    ) -> Result<Option<(i64, Uuid)>> {
        let (version, codec, delay_ms) = (out.version_code(), out.codec_code(), out.delay_ms());
        let row: [&(dyn ToSql + Sync); 12] = [
            &lane.id,
            &out.message_id,
            &out.kind,
            &version,
            &codec,
            &out.body,
            &out.headers,
            &out.ordering_key,
            &out.dedup_key,
            &delay_ms,
            &source,
            &lane.fence,
        ];
        match published(c, out, &self.sql.put, &row).await {
            Err(e) if e.sqlstate().is_some_and(|code| code.code() == FENCE_RAISED) => Ok(None),
            put => Ok(put?.map(|r| (r.get(0), r.get(1)))),
        }
    }

    /// Like [`Self::insert_ready`], inside the caller's transaction. None: unknown queue, or body over its limit.
    pub(crate) async fn insert_ready_in<C: tokio_postgres::GenericClient + Sync>(
        &self,
        c: &C,
        out: &Outgoing,
        source: &str,
    ) -> Result<Option<i64>> {
        let rows = c
            .query_typed(
                &self.sql.insert_ready_in,
                &[
                    (&out.queue, Type::TEXT),
                    (&out.priority.class(), Type::INT2),
                    (&out.message_id, Type::UUID),
                    (&out.kind, Type::TEXT),
                    (&out.version_code(), Type::INT4),
                    (&out.codec_code(), Type::INT2),
                    (&out.body, Type::BYTEA),
                    (&out.headers, Type::JSONB),
                    (&source, Type::TEXT),
                ],
            )
            .await
            .map_err(|e| Error::database(phase(out)(), e))?;
        Ok(rows.first().map(|r| r.get(0)))
    }

    /// Like [`Self::put`], inside the caller's transaction, also for an addressed message.
    pub(crate) async fn put_in<C: tokio_postgres::GenericClient + Sync>(
        &self,
        c: &C,
        out: &Outgoing,
        source: &str,
    ) -> Result<Option<(i64, Uuid)>> {
        let rows = c
            .query_typed(
                &self.sql.put_in,
                &[
                    (&out.queue, Type::TEXT),
                    (&out.priority.class(), Type::INT2),
                    (&out.target, Type::TEXT),
                    (&out.message_id, Type::UUID),
                    (&out.kind, Type::TEXT),
                    (&out.version_code(), Type::INT4),
                    (&out.codec_code(), Type::INT2),
                    (&out.body, Type::BYTEA),
                    (&out.headers, Type::JSONB),
                    (&out.ordering_key, Type::TEXT),
                    (&out.dedup_key, Type::TEXT),
                    (&out.delay_ms(), Type::INT8),
                    (&source, Type::TEXT),
                ],
            )
            .await
            .map_err(|e| Error::database(phase(out)(), e))?;
        Ok(rows.first().map(|r| (r.get(0), r.get(1))))
    }

    /// The payload limit of a queue, asked on the caller's connection; none when the queue is unknown or deleted.
    pub(crate) async fn payload_limit_in<C: tokio_postgres::GenericClient + Sync>(
        &self,
        c: &C,
        queue: &str,
    ) -> Result<Option<i32>> {
        let rows = c
            .query_typed(&self.sql.find_queue, &[(&queue, Type::TEXT)])
            .await
            .map_err(|e| Error::database(format!("look up queue \"{queue}\""), e))?;
        Ok(rows.first().map(|r| r.get(1)))
    }
}
