//! `consensus_deadline` (domain §2.4): the voting time is over. A delayed message is the timer, so that central may be
//! killed at any point in between.
//!
//! What counts is when a vote was published: one that came in time and is still on its way is waited for, so that neither a busy
//! queue, a pause, nor a central that was away shuts it out.

use std::sync::Arc;
use std::time::Duration;

use pgflow::Failure;

use super::{Own, try_to_decide};
use crate::consensus::Status;
use crate::consumers::{ALREADY_PROCESSED, Consume, Context};
use crate::messages::ConsensusDeadline;
use crate::store;

/// How long after the deadline the first look for votes that are on their way is: who published in time may commit a moment later.
const VOTES_PAUSE: Duration = Duration::from_millis(100);
/// The longest time between two looks: each waits half as long again as all before.
const VOTES_PAUSE_MAX: Duration = Duration::from_secs(2);
/// Votes that are not counted so long after the deadline, or after a central's start that was later, are decided without: their queue
/// may be paused, or nobody can read them.
const VOTES_WAITED_FOR_MAX: Duration = Duration::from_secs(60);

pub(crate) struct Deadlines(pub(crate) Arc<Own>);

impl Consume for Deadlines {
    type Payload = ConsensusDeadline;

    async fn consume(&mut self, message: ConsensusDeadline, cx: &Context<'_>) -> Result<&'static str, Failure> {
        let id = message.proposal_id;
        let tx = cx.transaction().await?;
        let open = store::lock_consensus(tx, id).await?.filter(|open| open.status == Status::Voting);
        let Some(open) = open else { return Ok(ALREADY_PROCESSED) };
        let first = open.deadline + VOTES_PAUSE;
        let Ok(late) = Duration::try_from(open.now - first) else {
            return Err(Failure::snooze(Duration::try_from(first - open.now).unwrap_or_default()));
        };
        if may_wait(late, self.0.started.elapsed()) && store::votes_under_way(tx, id, open.deadline).await? {
            return Err(Failure::snooze((late / 2).clamp(VOTES_PAUSE, VOTES_PAUSE_MAX)));
        }
        let votes = store::votes_on(tx, id).await?;
        try_to_decide(cx, tx, &self.0, (id, &open), votes, open.now).await?;
        Ok("expired")
    }
}

/// So long after the deadline, by a central that is up for so long: is there time for votes that are on their way?
fn may_wait(late: Duration, up: Duration) -> bool {
    late.min(up) < VOTES_WAITED_FOR_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fear: a vote that is never counted keeps its proposal open for ever; or a central that was away for long counts none.
    #[test]
    fn votes_are_waited_for_until_a_limit_by_a_central_that_had_the_time() {
        let (soon, late) = (Duration::from_secs(59), Duration::from_secs(60));
        assert!(may_wait(soon, late) && may_wait(Duration::from_secs(86_400), soon));
        assert!(!may_wait(late, late));
    }
}
