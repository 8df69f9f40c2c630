//! Stub.
use crate::{
    Error, Result,
    message::{Message, Outgoing},
    store::Store,
};
use deadpool_postgres::Pool;
use std::sync::Arc;
/// stub
#[derive(Clone)]
pub struct Publisher {
    store: Arc<Store>,
    pool: Pool,
    instance: String,
}
/// stub
#[derive(Debug)]
pub struct Receipt {
    /// id
    pub id: i64,
}
impl Publisher {
    pub(crate) fn new(store: Arc<Store>, pool: Pool, instance: String) -> Self {
        Self { store, pool, instance }
    }
    pub(crate) fn with_nudge(self, _n: Arc<dyn Fn(i32) + Send + Sync>) -> Self {
        self
    }
    /// stub
    pub async fn publish<M: Message>(&self, m: &M) -> Result<Receipt> {
        let o = Outgoing::new(m)?;
        let c = self.pool.get().await.map_err(|e| Error::pool("publish", e))?;
        let s = &self.store.schema;
        let row = c.query_one(&format!("SELECT {s}.pgflow_put(q.queue_id, {s}.pgflow_lane(q.queue_id, $2::smallint, $3), $4, $5, 1, 1::smallint, $6, null, $7, null, null, null, null) FROM {s}.pgflow_queues q WHERE name=$1"), &[&o.queue, &o.priority.class(), &o.target, &o.message_id, &o.kind, &o.body, &o.ordering_key]).await.map_err(|e| Error::database("publish", e))?;
        Ok(Receipt { id: row.get(0) })
    }
}
