//! A start that may find less in the queues than is to do: what a process carried in memory ended with it. What it was about is in
//! the database, and says what comes next; every consumer takes a repeat for one.
//!
//! A message that a queue still holds is left to it. Lost for good are only a pattern, a batch of measurements and an event on their
//! way: others follow.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use anyhow::Result;
use time::OffsetDateTime;
use tokio_postgres::{Client, Transaction};
use uuid::Uuid;

use crate::consensus::Status;
use crate::messages::{
    ConsensusDeadline, ConsensusResult, ExecuteProposal, ExecutionMetrics, ObserveChange, Payload,
    ProposalForConsensus, RollbackTrigger, WatchChange,
};
use crate::producers::central::{open_vote, send_consensus_result, send_rollback_trigger, watch_later};
use crate::producers::instance::{
    flush_metrics_later, observe_later, order_execution, propose_for_consensus, report_metrics_to_guardian,
};
use crate::proposal::State;
use crate::settings::STALE_PERIODS;
use crate::store::{self, FoundVote, HalfWay};
use crate::transport::Transport;

/// Who sends again, and how long things take.
pub(crate) struct Resume<'a> {
    pub(crate) instance: &'a str,
    /// Signs for each role.
    pub(crate) by_central: &'a Transport,
    pub(crate) by_instance: &'a Transport,
    /// How often an applied change is reported.
    pub(crate) report: Duration,
    /// This process reads the queues: what they hold is under way.
    pub(crate) reads_queues: bool,
}

impl Resume<'_> {
    /// Sends again what is nowhere under way, all of it or nothing; answers how many proposals that concerned.
    pub(crate) async fn run(&self, client: &mut Client) -> Result<usize> {
        let tx = client.transaction().await?;
        let found = store::half_way(&tx, self.instance).await?;
        let rollbacks = store::open_rollbacks(&tx, self.instance).await?;
        let ids: Vec<Uuid> =
            found.iter().map(|f| f.proposal.proposal_id).chain(rollbacks.iter().map(|r| r.proposal_id)).collect();
        let waiting = if self.reads_queues { store::waiting_messages(&tx, &ids).await? } else { HashSet::new() };
        let waits = |id: Uuid, kind: &str| waiting.contains(&(id, kind.to_owned()));
        let mut again = HashSet::new();
        for order in rollbacks.iter().filter(|order| !waits(order.proposal_id, RollbackTrigger::TYPE)) {
            let sent = send_rollback_trigger(self.by_central, &tx, order).await?;
            if let Some(number) = sent.and_then(|receipt| receipt.id()) {
                store::note_trigger(&tx, order.proposal_id, number).await?;
            }
            again.insert(order.proposal_id);
        }
        for one in &found {
            let id = one.proposal.proposal_id;
            if one.is_watched && !waits(id, WatchChange::TYPE) {
                watch_later(self.by_central, &tx, (id, one.awaits_first), self.report * STALE_PERIODS).await?;
                again.insert(id);
            }
            if self.next_step(&tx, one, |kind| waits(id, kind)).await? {
                again.insert(id);
            }
        }
        // The order to send them may be lost; a second one finds nothing.
        if store::lock_readings(&tx, self.instance).await? {
            flush_metrics_later(self.by_instance, &tx, self.instance, Duration::ZERO).await?;
        }
        tx.commit().await?;
        Ok(again.len())
    }

    /// Sends what leads on from the proposal's state; false when that is under way, or nothing is to follow.
    async fn next_step(&self, tx: &Transaction<'_>, one: &HalfWay, waits: impl Fn(&str) -> bool) -> Result<bool> {
        let proposal = &one.proposal;
        match (proposal.status, &one.vote) {
            (State::SentForConsensus, None) if !waits(ProposalForConsensus::TYPE) => {
                propose_for_consensus(self.by_instance, tx, std::slice::from_ref(proposal)).await?;
            }
            (State::SentForConsensus, Some(vote)) if vote.decision.status == Status::Voting => {
                if waits(ConsensusDeadline::TYPE) {
                    return Ok(false);
                }
                self.ask_again(tx, vote).await?;
            }
            (State::SentForConsensus, Some(vote)) if !waits(ConsensusResult::TYPE) => {
                let votes = store::votes_on(tx, proposal.proposal_id).await?;
                let to = (proposal.instance_id.as_str(), proposal.proposal_id);
                send_consensus_result(self.by_central, tx, to, &votes, &vote.decision).await?;
            }
            (State::ConsensusReached | State::Executing, _) if !waits(ExecuteProposal::TYPE) => {
                order_execution(self.by_instance, tx, proposal, None).await?;
            }
            (State::Applied, _) if !proposal.rollback_requested && !waits(ObserveChange::TYPE) => {
                let Some(until) = one.left_until else { return Ok(false) };
                observe_later(self.by_instance, tx, proposal, until, Duration::ZERO).await?;
            }
            // Central does not know yet how it ended.
            (ended @ (State::Failed | State::RolledBack), _) if !waits(ExecutionMetrics::TYPE) => {
                let last = proposal.measured_from().unwrap_or_default();
                report_metrics_to_guardian(self.by_instance, tx, proposal, ended, (&last, &last), BTreeMap::new())
                    .await?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The votes that were on their way are cast again, and the time that is left runs.
    async fn ask_again(&self, tx: &Transaction<'_>, vote: &FoundVote) -> Result<()> {
        let left = Duration::try_from(vote.deadline - OffsetDateTime::now_utc()).unwrap_or_default();
        open_vote(self.by_central, tx, &vote.asked, vote.deadline, left).await?;
        Ok(())
    }
}
