//! `learning_loop_completed` (domain §1.11): told of, once.

use pgflow::Failure;

use crate::consumers::{Consume, Context};
use crate::events::{LEARNING_LOOP_COMPLETED, tell};
use crate::messages::LearningLoopCompleted;

pub(crate) struct Completed;

impl Consume for Completed {
    type Payload = LearningLoopCompleted;

    async fn consume(&mut self, done: LearningLoopCompleted, _: &Context<'_>) -> Result<&'static str, Failure> {
        tell!(
            LEARNING_LOOP_COMPLETED,
            patterns_processed = done.patterns_processed,
            rules_generated = done.rules_generated,
            thresholds_updated = done.thresholds_updated,
            "learning loop completed"
        );
        Ok("processed")
    }
}
