//! `consensus_deadline` (domain §2.4): the voting time is over. A delayed message is the timer, so that central may be
//! killed at any point in between.

use std::sync::Arc;
use std::time::Duration;

use pgflow::{Context, Failure};
use time::OffsetDateTime;

use super::{Own, try_to_decide};
use crate::consensus::Status;
use crate::consumers::{ALREADY_PROCESSED, Consume};
use crate::messages::ConsensusDeadline;
use crate::store;

/// After a start, votes that came while central was away are counted before a deadline closes them out.
const START_GRACE: Duration = Duration::from_secs(3);

pub(crate) struct Deadlines(pub(crate) Arc<Own>);

impl Consume for Deadlines {
    type Payload = ConsensusDeadline;

    async fn consume(&mut self, message: ConsensusDeadline, cx: &Context<'_>) -> Result<&'static str, Failure> {
        let id = message.proposal_id;
        let tx = cx.transaction().await?;
        let open = store::lock_consensus(tx, id).await?.filter(|open| open.status == Status::Voting);
        let Some(open) = open else { return Ok(ALREADY_PROCESSED) };
        let now = OffsetDateTime::now_utc();
        if let Ok(early) = Duration::try_from(open.deadline - now)
            && !early.is_zero()
        {
            return Err(Failure::snooze(early));
        }
        let grace = START_GRACE.saturating_sub(self.0.started.elapsed());
        if !grace.is_zero() {
            return Err(Failure::snooze(grace));
        }
        try_to_decide(cx, tx, &self.0, (id, &open), now).await?;
        Ok("expired")
    }
}
