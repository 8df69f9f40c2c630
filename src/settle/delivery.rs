//! A claimed message that somebody answers for: every one is settled, once, whatever becomes of who had it.

use std::sync::Arc;

use metrics::counter;

use super::{COMMIT_MS_MAX, Claimed, Outcome, Settler};
use crate::{
    Result,
    connect::bounded,
    handler::{Incoming, OpenTransaction},
};

/// A claimed message on its way to a worker. Dropped unsettled, it hands itself back, or fails if it had been started.
pub(crate) struct Delivery {
    pub(crate) incoming: Arc<Incoming>,
    claimed: Claimed,
    settler: Settler,
    started: bool,
    settled: bool,
}

impl Delivery {
    pub(super) fn new(incoming: Incoming, claimed: Claimed, settler: Settler) -> Self {
        Self { incoming: Arc::new(incoming), claimed, settler, started: false, settled: false }
    }

    pub(crate) fn id(&self) -> i64 {
        self.claimed.id
    }

    /// From here on a drop counts as a failed try: the handler may have run.
    pub(crate) fn start(&mut self) {
        self.started = true;
    }

    /// Gives the outcome to the settler.
    pub(crate) fn settle(mut self, outcome: Outcome) {
        self.settled = true;
        self.settler.put(self.claimed.clone(), outcome);
    }

    /// Settles as done inside the handler's transaction, as its last statement, and commits.
    /// False: the claim was no longer ours, nothing was committed. An error: the outcome is unknown or failed; the
    /// delivery is settled as failed, which the fence turns into nothing if the commit did happen.
    pub(crate) async fn settle_in(mut self, transaction: OpenTransaction) -> Result<bool> {
        let Claimed { id, token, queue_id, ordering_key } = &self.claimed;
        let key = ordering_key.as_deref().map(|key| (*queue_id, key));
        let commit = self.settler.shared.store.settle_one_and_commit(transaction.object(), (*id, *token), key);
        let outcome = bounded("settle: COMMIT", COMMIT_MS_MAX, commit).await;
        self.settled = true;
        match outcome {
            Ok(ours) => {
                transaction.finished();
                self.settler.answer([self.claimed.token]);
                counter!("pgflow_settled_total", "outcome" => if ours { "done" } else { "fenced" }).increment(1);
                Ok(ours)
            }
            Err(e) => {
                let error = format!("commit of the handler's transaction: {e}");
                self.settler.put(self.claimed.clone(), Outcome::Failed { event: "failed", error, delay_ms: None });
                Err(e)
            }
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.settled {
            let outcome = if self.started {
                Outcome::Failed { event: "failed", error: "its worker died".into(), delay_ms: None }
            } else {
                Outcome::HandBack
            };
            self.settler.put(self.claimed.clone(), outcome);
        }
    }
}
