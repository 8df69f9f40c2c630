//! `run_learning` (domain §4.4): rules from proven patterns, thresholds to every instance, trust for like changes.

use std::sync::Arc;

use pgflow::Failure;
use time::OffsetDateTime;

use super::Own;
use crate::consumers::{ALREADY_PROCESSED, Consume, Context};
use crate::learning::{changed, learn};
use crate::messages::{GENESIS_SOURCE, RunLearning};
use crate::producers::central::{announce_learning, send_safety_profile_update};
use crate::store::{self, Figures, LearnedProfile};

pub(crate) struct Learning(pub(crate) Arc<Own>);

impl Consume for Learning {
    type Payload = RunLearning;

    async fn consume(&mut self, order: RunLearning, cx: &Context<'_>) -> Result<&'static str, Failure> {
        let tx = cx.transaction().await?;
        store::lock_patterns(tx).await?;
        let now = OffsetDateTime::now_utc();
        let known = store::patterns(tx, None).await?;
        let lesson = learn(&known, store::live_instances(tx).await?, now, &self.0.settings.learning);
        for rule in &lesson.rules {
            store::save_rule(tx, rule).await?;
        }
        store::trust_patterns(tx, &lesson.trusted).await?;
        let mut sent = 0_i64;
        for (agent_type, profile) in lesson.profiles {
            let last = store::learned_profile(tx, &agent_type).await?;
            if !changed(last.as_ref(), &profile) {
                continue;
            }
            let learned = LearnedProfile { agent_type, profile, source: GENESIS_SOURCE.to_owned(), learned_at: now };
            // Kept for whoever comes late, and sent to whoever is here.
            store::save_learned_profile(tx, &learned).await?;
            send_safety_profile_update(cx.transport(), tx, &learned).await?;
            sent += 1;
        }
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let figures = Figures {
            patterns_processed: count(lesson.trusted.len()),
            rules_generated: count(lesson.rules.len()),
            thresholds_updated: sent,
        };
        if !store::save_learning_run(tx, order.run_id, figures, now).await? {
            return Ok(ALREADY_PROCESSED);
        }
        announce_learning(cx.transport(), tx, figures, now).await?;
        Ok("learned")
    }
}
