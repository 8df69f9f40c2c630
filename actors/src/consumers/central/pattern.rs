//! `pattern_discovered` (domain §4.2): reports of the same pattern become one, and a proven one is promoted.

use pgflow::Failure;

use crate::consumers::{Consume, Context};
use crate::events::{PATTERN_RECEIVED, tell};
use crate::messages::PatternDiscovered;
use crate::patterns::record;
use crate::similarity::ShingleCosine;
use crate::store;

pub(crate) struct Patterns;

impl Consume for Patterns {
    type Payload = PatternDiscovered;

    async fn consume(&mut self, mut report: PatternDiscovered, cx: &Context<'_>) -> Result<&'static str, Failure> {
        // The reporter's clock may be wrong, and learning asks how old a pattern is.
        report.timestamp = cx.incoming().created_at.into();
        let tx = cx.transaction().await?;
        store::lock_patterns(tx).await?;
        let mut known = store::patterns(tx, Some(&report.pattern_type)).await?;
        let at = record(&mut known, &report, &ShingleCosine);
        let pattern = &mut known[at];
        if pattern.is_promotable() {
            pattern.promoted = true;
            tracing::info!(target: "evolution", pattern = report.name(), "pattern promoted");
        }
        store::save_pattern(tx, pattern, &report.instance_id).await?;
        tell!(
            PATTERN_RECEIVED,
            instance_id = report.instance_id,
            pattern_type = report.pattern_type,
            success_rate = report.success_rate,
            instances = pattern.instances(),
            score = pattern.consensus_score(),
            "pattern received: {}",
            report.name()
        );
        Ok("pattern_recorded")
    }
}
