//! Claiming: ready rows become active ones under a token.

use std::time::SystemTime;

use deadpool_postgres::GenericClient;
use uuid::Uuid;

use super::Store;
use crate::Result;

/// Claims' random numbers are below it, as seqs are: mixed, they stay positive.
pub(crate) const NONCE_END: i64 = 1 << 62;

/// What to claim: up to `limit` rows of these lanes in this order, at most `most[i]` of lane i.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) queue_id: i32,
    pub(crate) queue: &'a str,
    pub(crate) lanes: &'a [i32],
    pub(crate) most: &'a [i32],
    /// The place from which on lane i is read: 0, or its low-water mark.
    pub(crate) lows: &'a [i64],
    pub(crate) limit: i32,
    pub(crate) session: i32,
    /// Whether its commit waits for the disk whatever it takes.
    pub(crate) durable: bool,
}

/// A claimed row as the database gave it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) token: i64,
    pub(crate) seq: i64,
    pub(crate) attempt: i32,
    pub(crate) lane: i32,
    pub(crate) version: i32,
    pub(crate) codec: i16,
    pub(crate) message_id: Uuid,
    pub(crate) created_at: SystemTime,
    pub(crate) kind: String,
    pub(crate) body: Vec<u8>,
    pub(crate) headers: Option<serde_json::Value>,
    pub(crate) ordering_key: Option<String>,
    pub(crate) source: Option<String>,
    /// Why a part of the row could not be read: one such row must not take the others of its claim along.
    pub(crate) unreadable: Option<String>,
}

impl Store {
    /// Claims rows; they come back in lane order, then by seq. An empty answer is the pre-sleep scan's "nothing there".
    ///
    /// A claim that a crash of the server forgot left its messages ready: who runs them meanwhile cannot settle.
    pub(crate) async fn claim<C: GenericClient>(&self, c: &C, claim: &Claim<'_>) -> Result<Vec<Row>> {
        let nonce = rand::random_range(0..NONCE_END);
        let rows = self
            .query(
                c,
                || format!("claim on queue \"{}\"", claim.queue),
                &self.sql.claim,
                &[
                    &claim.queue_id,
                    &claim.lanes,
                    &claim.most,
                    &claim.limit,
                    &claim.session,
                    &claim.lows,
                    &nonce,
                    &claim.durable,
                ],
            )
            .await?;
        let mut rows: Vec<Row> = rows
            .into_iter()
            .map(|r| {
                let headers = r.try_get(11);
                let unreadable =
                    headers.as_ref().err().map(|e: &tokio_postgres::Error| format!("its headers cannot be read: {e}"));
                Row {
                    id: r.get(0),
                    token: r.get(1),
                    seq: r.get(2),
                    attempt: r.get(3),
                    lane: r.get(4),
                    version: r.get(5),
                    codec: r.get(6),
                    message_id: r.get(7),
                    created_at: r.get(8),
                    kind: r.get(9),
                    body: r.get(10),
                    headers: headers.unwrap_or_default(),
                    ordering_key: r.get(12),
                    source: r.get(13),
                    unreadable,
                }
            })
            .collect();
        let place = |lane: i32| claim.lanes.iter().position(|l| *l == lane).unwrap_or(usize::MAX);
        rows.sort_by_key(|r| (place(r.lane), r.seq));
        Ok(rows)
    }

    /// The transactions that may be writing into ready, or those of `among` that still may.
    pub(crate) async fn ready_writers<C: GenericClient>(&self, c: &C, among: Option<&[String]>) -> Result<Vec<String>> {
        let rows = self.query(c, || "look at who publishes".into(), &self.sql.ready_writers, &[&among]).await?;
        Ok(rows.iter().map(|r| r.get(0)).collect())
    }

    /// The first taken place of each lane from its low on; a lane without one is left out.
    pub(crate) async fn first_places<C: GenericClient>(
        &self,
        c: &C,
        lanes: &[i32],
        lows: &[i64],
    ) -> Result<Vec<(i32, i64)>> {
        let rows = self.query(c, || "find the first places".into(), &self.sql.first_places, &[&lanes, &lows]).await?;
        Ok(rows.iter().map(|r| (r.get(0), r.get(1))).collect())
    }
}
