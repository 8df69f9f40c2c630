//! The floor's program: the same SQL on a copy of the tables without triggers, by tokio-postgres and nothing else.

use std::{pin::pin, time::SystemTime};

use futures_util::future::{try_join, try_join4};
use tokio_postgres::{
    Client, Row, Statement,
    binary_copy::BinaryCopyInWriter,
    types::{ToSql, Type},
};

use super::arena::{Ball, QUEUE, failed};
use crate::{
    Error, Outgoing, Result, connect,
    store::{Lane, NONCE_END, Store, Way},
};

/// Plans as the runtime's own connections have them.
const SETTINGS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off; \
     SET enable_mergejoin = off; SET jit = off";
const SOURCE: &str = "floor";
/// Whose claims the floor's are.
const SESSION: i32 = 0;
/// The column of the body in a claim's answer.
const BODY: usize = 10;

/// The copy and its queue.
pub(super) struct Floor {
    pub(super) store: Store,
    pub(super) way: Way,
    url: String,
    low: i32,
}

/// Claimed messages: their ids, and their tokens in the same order.
pub(super) type Claimed = (Vec<i64>, Vec<i64>);

/// A connection with its statements prepared.
pub(super) struct Prepared {
    pub(super) client: Client,
    /// The lanes that its claims read, in this order.
    pub(super) lanes: Vec<i32>,
    insert: Statement,
    claim: Statement,
    settle: Statement,
    settle_one: Statement,
}

impl Floor {
    /// `client` owns the schema: the wake-up triggers go.
    pub(super) async fn new(url: &str, schema: &str, client: &Client) -> Result<Self> {
        let store = Store::new(schema);
        let row = client.query_one(&store.sql.find_queue, &[&QUEUE]).await.map_err(failed)?;
        let way = Way { queue_id: row.get(0), lane: Lane { id: row.get(3), fence: row.get(6) } };
        client.batch_execute(&format!("DROP TRIGGER pgflow_wake ON {schema}.pgflow_ready")).await.map_err(failed)?;
        Ok(Self { store, way, url: url.to_owned(), low: row.get(4) })
    }

    /// The channel of the unconditional NOTIFY.
    pub(super) fn channel(&self) -> String {
        format!("pgflow_{}_floor", self.store.space)
    }

    /// One more connection; `notify`: its inserts notify, always.
    pub(super) async fn connect(&self, notify: bool) -> Result<Prepared> {
        let client = connect(&self.url, "pgflow bench floor").await?;
        client.batch_execute(SETTINGS).await.map_err(failed)?;
        let insert = format!(
            "INSERT INTO \"{}\".pgflow_ready (lane_id, message_id, kind, version, codec, body, headers, source) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING seq",
            self.store.schema
        );
        let insert = if notify {
            format!("WITH i AS ({insert}) SELECT seq, pg_notify('{}', '') FROM i", self.channel())
        } else {
            insert
        };
        Ok(Prepared {
            insert: client.prepare(&insert).await.map_err(failed)?,
            claim: client.prepare(&self.store.sql.claim).await.map_err(failed)?,
            settle: client.prepare(&self.store.sql.settle_done).await.map_err(failed)?,
            settle_one: client.prepare(&self.store.sql.settle_one).await.map_err(failed)?,
            lanes: vec![self.way.lane.id, self.low],
            client,
        })
    }

    /// Publishes one message in a transaction of its own.
    pub(super) async fn insert(&self, c: &Prepared, out: &Outgoing) -> Result<()> {
        let (lane, version, codec) = (self.way.lane.id, i32::from(out.version), out.codec as i16);
        c.client
            .query_one(
                &c.insert,
                &[&lane, &out.message_id, &out.kind, &version, &codec, &out.body, &out.headers, &SOURCE],
            )
            .await
            .map_err(failed)?;
        Ok(())
    }

    /// Publishes many messages in one transaction.
    pub(super) async fn copy(&self, c: &Prepared, out: &[Outgoing]) -> Result<()> {
        let sql = format!(
            "COPY \"{}\".pgflow_ready (lane_id, created_at, message_id, kind, version, codec, body, headers, source) FROM STDIN BINARY",
            self.store.schema
        );
        let types = [
            Type::INT4,
            Type::TIMESTAMPTZ,
            Type::UUID,
            Type::TEXT,
            Type::INT4,
            Type::INT2,
            Type::BYTEA,
            Type::JSONB,
            Type::TEXT,
        ];
        let sink = c.client.copy_in(&sql).await.map_err(failed)?;
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
        let now = SystemTime::now();
        for m in out {
            let (version, codec) = (i32::from(m.version), m.codec as i16);
            let row: [&(dyn ToSql + Sync); 9] =
                [&self.way.lane.id, &now, &m.message_id, &m.kind, &version, &codec, &m.body, &m.headers, &SOURCE];
            writer.as_mut().write(&row).await.map_err(failed)?;
        }
        writer.finish().await.map_err(failed)?;
        Ok(())
    }

    /// Claims up to `limit` messages: their ids and tokens.
    pub(super) async fn claim(&self, c: &Prepared, limit: i32) -> Result<Claimed> {
        Ok(keys(&self.claim_rows(c, limit).await?))
    }

    /// Claims up to `limit` messages and reads them: their numbers, ids and tokens.
    pub(super) async fn claim_balls(&self, c: &Prepared, limit: i32) -> Result<(Vec<u64>, Claimed)> {
        let rows = self.claim_rows(c, limit).await?;
        let read = |row: &Row| serde_json::from_slice(row.get(BODY)).map(|ball: Ball| ball.n);
        let numbers = rows.iter().map(read).collect::<std::result::Result<_, _>>();
        let numbers = numbers.map_err(|e| Error::state("bench: read a message of the floor's", e.to_string()))?;
        Ok((numbers, keys(&rows)))
    }

    async fn claim_rows(&self, c: &Prepared, limit: i32) -> Result<Vec<Row>> {
        let (most, lows) = (vec![limit; c.lanes.len()], vec![0_i64; c.lanes.len()]);
        let nonce = rand::random_range(0..NONCE_END);
        let asked: [&(dyn ToSql + Sync); 8] =
            [&self.way.queue_id, &c.lanes, &most, &limit, &SESSION, &lows, &nonce, &false];
        c.client.query(&c.claim, &asked).await.map_err(failed)
    }

    /// Settles claimed messages as done.
    pub(super) async fn settle(&self, c: &Prepared, claimed: &Claimed) -> Result<()> {
        c.client.query(&c.settle, &[&claimed.0, &claimed.1]).await.map_err(failed)?;
        Ok(())
    }

    /// Settles a claimed message as done in one transaction with this statement, all sent at once.
    pub(super) async fn settle_with(&self, c: &Prepared, statement: &str, (id, token): (i64, i64)) -> Result<()> {
        let keys: [&(dyn ToSql + Sync); 4] = [&id, &token, &None::<i32>, &None::<&str>];
        let (begin, effect) = (c.client.batch_execute("BEGIN"), c.client.batch_execute(statement));
        let settled = c.client.query(&c.settle_one, &keys);
        // Who settles what is not its own is told by the server, which then rolls back.
        try_join4(begin, effect, settled, c.client.batch_execute("COMMIT")).await.map_err(failed)?;
        Ok(())
    }

    /// The same in three round trips: what does not depend on an answer is sent with what comes before it.
    pub(super) async fn settle_after(&self, c: &Prepared, statement: &str, (id, token): (i64, i64)) -> Result<()> {
        c.client.batch_execute("BEGIN").await.map_err(failed)?;
        c.client.batch_execute(statement).await.map_err(failed)?;
        let keys: [&(dyn ToSql + Sync); 4] = [&id, &token, &None::<i32>, &None::<&str>];
        try_join(c.client.query(&c.settle_one, &keys), c.client.batch_execute("COMMIT")).await.map_err(failed)?;
        Ok(())
    }
}

fn keys(claimed: &[Row]) -> Claimed {
    claimed.iter().map(|row| (row.get::<_, i64>(0), row.get::<_, i64>(1))).unzip()
}
