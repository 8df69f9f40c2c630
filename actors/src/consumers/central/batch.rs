//! `metrics_batch` (domain §5.3): kept, agent by agent.

use pgflow::Failure;

use crate::consumers::{Consume, Context};
use crate::events::{METRICS_RECEIVED, tell};
use crate::messages::MetricsBatch;
use crate::store;

pub(crate) struct Batches;

impl Consume for Batches {
    type Payload = MetricsBatch;

    async fn consume(&mut self, batch: MetricsBatch, cx: &Context<'_>) -> Result<&'static str, Failure> {
        let tx = cx.transaction().await?;
        for (agent, metrics) in &batch.agents {
            for (metric, summary) in metrics {
                let (key, time) =
                    ((batch.instance_id.as_str(), agent.as_str(), metric.as_str()), (batch.from, batch.timestamp));
                store::save_agent_metrics(tx, key, summary, time).await?;
            }
        }
        tell!(METRICS_RECEIVED, instance_id = batch.instance_id, agents = batch.agents.len(), "metrics batch received");
        Ok("metrics_recorded")
    }
}
