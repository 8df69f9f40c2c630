//! Publishing many rows at once: a COPY for plain ones, a function for the others, a copy each for a broadcast.

use std::{pin::pin, time::SystemTime};

use deadpool_postgres::Transaction;
use tokio_postgres::{
    binary_copy::BinaryCopyInWriter,
    error::SqlState,
    types::{ToSql, Type},
};
use uuid::Uuid;

use super::{Lane, Store};
use crate::{Error, Result, message::Outgoing};

/// Where a message of a batch goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) queue_id: i32,
    pub(crate) lane: Lane,
}

/// One copy of a broadcast.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copied {
    pub(crate) id: i64,
    pub(crate) message_id: Uuid,
    pub(crate) lane: i32,
}

/// A message's place, and when it was drawn by the server's clock.
pub(crate) type Drawn = (i64, SystemTime);

const COPY_READY: [Type; 10] = [
    Type::INT4,
    Type::INT8,
    Type::TIMESTAMPTZ,
    Type::UUID,
    Type::TEXT,
    Type::INT4,
    Type::INT2,
    Type::BYTEA,
    Type::JSONB,
    Type::TEXT,
];

fn fail(e: tokio_postgres::Error) -> Error {
    Error::database("publish a batch", e)
}

impl Store {
    /// Draws as many rising seqs as there are ways. None: one of the lanes is closed.
    pub(crate) async fn draw_seqs(&self, tx: &Transaction<'_>, ways: &[Way]) -> Result<Option<Vec<Drawn>>> {
        let count = i32::try_from(ways.len()).map_err(|e| Error::input("publish a batch", e.to_string()))?;
        let mut lanes: Vec<i32> = ways.iter().map(|w| w.lane.id).collect();
        lanes.sort_unstable();
        lanes.dedup();
        tx.batch_execute(&self.sql.lock_ready).await.map_err(fail)?;
        let statement = tx.prepare_cached(&self.sql.draw_seqs).await.map_err(fail)?;
        let rows = tx.query(&statement, &[&count, &lanes]).await.map_err(fail)?;
        Ok((rows.len() == ways.len()).then(|| rows.iter().map(|r| (r.get(0), r.get(1))).collect()))
    }

    /// Writes plain messages under seqs drawn before.
    pub(crate) async fn copy_ready(
        &self,
        tx: &Transaction<'_>,
        ways: &[Way],
        drawn: &[Drawn],
        out: &[Outgoing],
        source: &str,
    ) -> Result<()> {
        let statement = tx.prepare_cached(&self.sql.copy_ready).await.map_err(fail)?;
        let sink = tx.copy_in(&statement).await.map_err(fail)?;
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &COPY_READY));
        for ((way, (seq, now)), m) in ways.iter().zip(drawn).zip(out) {
            let row: [&(dyn ToSql + Sync); 10] = [
                &way.lane.id,
                seq,
                now,
                &m.message_id,
                &m.kind,
                &m.version_code(),
                &m.codec_code(),
                &m.body,
                &m.headers,
                &source,
            ];
            writer.as_mut().write(&row).await.map_err(fail)?;
        }
        writer.finish().await.map_err(fail)?;
        Ok(())
    }

    /// Writes messages of all sorts in the order given; answers id and message id of each. None: a lane is closed.
    pub(crate) async fn put_many(
        &self,
        tx: &Transaction<'_>,
        ways: &[Way],
        out: &[Outgoing],
        source: &str,
    ) -> Result<Option<Vec<(i64, Uuid)>>> {
        fn column<'a, T>(out: &'a [Outgoing], of: impl Fn(&'a Outgoing) -> T) -> Vec<T> {
            out.iter().map(of).collect()
        }
        let statement = tx.prepare_cached(&self.sql.put_many).await.map_err(fail)?;
        let rows = tx
            .query(
                &statement,
                &[
                    &ways.iter().map(|w| w.queue_id).collect::<Vec<_>>(),
                    &ways.iter().map(|w| w.lane.id).collect::<Vec<_>>(),
                    &column(out, |m| m.message_id),
                    &column(out, |m| m.kind.as_str()),
                    &column(out, Outgoing::version_code),
                    &column(out, Outgoing::codec_code),
                    &column(out, |m| m.body.as_slice()),
                    &column(out, |m| m.headers.as_ref()),
                    &column(out, |m| m.ordering_key.as_deref()),
                    &column(out, |m| m.dedup_key.as_deref()),
                    &column(out, Outgoing::delay_ms),
                    &source,
                ],
            )
            .await;
        match rows {
            Ok(rows) => Ok(Some(rows.iter().map(|r| (r.get(0), r.get(1))).collect())),
            Err(e) if e.code() == Some(&SqlState::UNDEFINED_OBJECT) => Ok(None),
            Err(e) => Err(fail(e)),
        }
    }

    /// Writes one addressed copy for every live instance that serves the queue, in one statement on any connection.
    pub(crate) async fn broadcast<C: tokio_postgres::GenericClient + Sync>(
        &self,
        c: &C,
        out: &Outgoing,
        broadcast_id: Uuid,
        source: &str,
    ) -> Result<Vec<Copied>> {
        let rows = c
            .query_typed(
                &self.sql.broadcast,
                &[
                    (&out.queue, Type::TEXT),
                    (&out.priority.class(), Type::INT2),
                    (&out.kind, Type::TEXT),
                    (&out.version_code(), Type::INT4),
                    (&out.codec_code(), Type::INT2),
                    (&out.body, Type::BYTEA),
                    (&out.headers, Type::JSONB),
                    (&out.ordering_key, Type::TEXT),
                    (&out.dedup_key, Type::TEXT),
                    (&out.delay_ms(), Type::INT8),
                    (&source, Type::TEXT),
                    (&broadcast_id, Type::UUID),
                ],
            )
            .await
            .map_err(super::publish::unanswered(out))?;
        Ok(rows.iter().map(|r| Copied { id: r.get(0), message_id: r.get(1), lane: r.get(2) }).collect())
    }
}
