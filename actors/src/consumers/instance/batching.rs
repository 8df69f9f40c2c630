//! `flush_metrics` (domain §5.3): what was measured since the last batch goes to central as one message.
//!
//! The first measurement after a batch orders the next, so that an instance that measures nothing sends nothing.

use std::sync::Arc;

use pgflow::Failure;
use time::OffsetDateTime;
use tokio_postgres::Client;

use super::Own;
use crate::batch::{summarise, values_of};
use crate::consumers::{Consume, Context};
use crate::messages::FlushMetrics;
use crate::metrics::Metrics;
use crate::producers::instance::{flush_metrics_later, send_metrics_batch};
use crate::store;

pub(crate) struct Batching(pub(crate) Arc<Own>);

impl Consume for Batching {
    type Payload = FlushMetrics;

    async fn consume(&mut self, message: FlushMetrics, cx: &Context<'_>) -> Result<&'static str, Failure> {
        let own = &self.0;
        own.is_mine(&message.instance_id)?;
        let tx = cx.transaction().await?;
        store::lock_readings(tx, &own.id).await?;
        let readings = store::take_readings(tx, &own.id).await?;
        let Some(first) = readings.first() else { return Ok("nothing_measured") };
        let agents = summarise(&readings);
        send_metrics_batch(cx.transport(), tx, &own.id, agents, (first.at, OffsetDateTime::now_utc())).await?;
        Ok("sent")
    }
}

/// Keeps a measurement for the next batch, as part of the transaction that reports it.
pub(super) async fn note(
    own: &Own,
    cx: &Context<'_>,
    tx: &Client,
    agent_type: &str,
    measured: &Metrics,
) -> Result<(), Failure> {
    let values = values_of(measured);
    if values.is_empty() {
        return Ok(());
    }
    let ordered = store::lock_readings(tx, &own.id).await?;
    store::insert_readings(tx, &own.id, agent_type, &values).await?;
    if !ordered {
        flush_metrics_later(cx.transport(), tx, &own.id, own.settings.windows.batch).await?;
    }
    Ok(())
}
