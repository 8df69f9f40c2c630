//! `execute_proposal`: the phases of an execution (domain §5.4), restartable at every point.
//!
//! A redelivery in `executing` takes back what the run before it wrote, and begins anew; only a settled state is
//! answered `already_processed`. A rollback that arrives meanwhile cancels the run; the state is then the rollback's. When an order
//! is dead, central sends one that says why: it runs nothing, takes back what was left, and fails the proposal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgflow::Failure;
use time::OffsetDateTime;
use tokio_postgres::Client;
use uuid::Uuid;

use super::batching::note;
use super::judging::judge;
use super::tidying::{measure_neighbours_anew, tidy};
use super::{Own, limits, release_target};
use crate::change::read_change;
use crate::check::CheckError;
use crate::consumers::{ALREADY_PROCESSED, Consume, Context, NOT_APPLICABLE};
use crate::events::{
    EXECUTION_FAILED, EXECUTION_MARK_FAILED, EXECUTION_SUCCESS, PROPOSAL_APPLIED, PROPOSAL_EXECUTION_STARTED,
    PROPOSAL_FAILED, RUN_COMPLETED, RUN_FAILED, tell,
};
use crate::executor::ChangeExecutor;
use crate::messages::ExecuteProposal;
use crate::metrics::Metrics;
use crate::producers::instance::{observe_later, report_metrics_to_guardian};
use crate::proposal::{OnExecute, State, on_execute, validate_execution, verify_execution};
use crate::runs::Running;
use crate::settings::STALE_PERIODS;
use crate::store::{self, Proposal, Run};
use crate::workspace::{Reverted, WorkspaceError};

/// How soon to ask again for something that another run holds.
const HELD_PAUSE: Duration = Duration::from_millis(500);

pub(crate) struct Execution(pub(crate) Arc<Own>);

/// Why a run ends without its change in place.
enum End {
    /// For good: the proposal fails.
    Failed(String),
    /// Another try may succeed.
    Again(Failure, String),
    /// A rollback took over.
    Cancelled,
}

impl End {
    fn again(error: &impl std::fmt::Display) -> Self {
        Self::Again(Failure::retry(error), error.to_string())
    }
}

impl From<CheckError> for End {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Cancelled => Self::Cancelled,
            CheckError::NotStarted(_) => Self::again(&error),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<WorkspaceError> for End {
    fn from(error: WorkspaceError) -> Self {
        match &error {
            WorkspaceError::Busy { .. } => Self::Again(Failure::snooze(HELD_PAUSE), error.to_string()),
            _ if error.is_permanent() => Self::Failed(error.to_string()),
            _ => Self::again(&error),
        }
    }
}

impl Consume for Execution {
    type Payload = ExecuteProposal;

    async fn consume(&mut self, order: ExecuteProposal, cx: &Context<'_>) -> Result<&'static str, Failure> {
        let own = &self.0;
        let id = order.proposal_id;
        own.is_mine(&order.instance_id)?;
        let client = own.database.client().await?;
        let Some(proposal) = store::find_proposal(&*client, id).await? else {
            return Err(Failure::retry(format!("proposal_not_found: {id}")));
        };
        match on_execute(proposal.status) {
            OnExecute::AlreadyProcessed => return Ok(ALREADY_PROCESSED),
            OnExecute::NotApproved => return Err(Failure::dead(format!("not_approved: it is {}", proposal.status))),
            OnExecute::Begin | OnExecute::BeginAgain => {}
        }
        // One at a time: a check measures the whole workspace, and what it saw must be this change's doing.
        let _measuring = own.measuring.lock().await;
        tidy(own, &client).await?;
        let patience = own.settings.windows.report * STALE_PERIODS;
        if store::is_condemned(&*client, &own.id, patience).await? {
            return Err(Failure::snooze(HELD_PAUSE));
        }
        let rollbacks = own.rollbacks();
        // Registered before the state says `executing`: whoever sees that state finds the run.
        let Some(running) = own.runs.begin(id) else { return Err(Failure::snooze(HELD_PAUSE)) };
        let Some(proposal) = store::enter_executing(&*client, id).await? else { return Ok(NOT_APPLICABLE) };
        tell!(PROPOSAL_EXECUTION_STARTED, proposal_id = %id, attempt = cx.attempt(), "execution started");
        let begun = Instant::now();
        let mut run = Run::default();
        let end = match order.died {
            None => self.run(&proposal, &running, &mut run).await,
            Some(why) => Err(End::Failed(format!("order_died: {why}"))),
        };
        run.took_ms = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
        let end = match end {
            Err(End::Again(_, why)) if own.settings.is_last(cx.attempt()) => Err(End::Failed(why)),
            end => end,
        };
        let outcome = match end {
            Ok(()) => self.applied(cx, &proposal, &run, rollbacks).await,
            Err(End::Cancelled) => Ok(NOT_APPLICABLE),
            Err(End::Again(failure, _)) => Err(failure),
            Err(End::Failed(why)) => {
                let failed = self.failed(cx, &client, &proposal, &run, &why).await;
                if let Err(reason) = &failed {
                    tell!(EXECUTION_MARK_FAILED, proposal_id = %id, ?reason, "a failure is not recorded yet: {why}");
                }
                failed
            }
        };
        if outcome.is_err() {
            // Not left in place until the next try: others are measured meanwhile.
            self.take_out(&client, id, &run).await?;
        }
        outcome
    }
}

impl Execution {
    /// Phases 1 to 5.
    async fn run(&self, proposal: &Proposal, running: &Running, run: &mut Run) -> Result<(), End> {
        let own = &self.0;
        let id = proposal.proposal_id;
        validate_execution(proposal.risk_score, &proposal.safety_profile, proposal.by_vote)
            .map_err(|e| End::Failed(e.to_string()))?;
        let named = proposal.metadata.get("change_type").and_then(serde_json::Value::as_str);
        let change = read_change(named, &proposal.code_change).map_err(|e| End::Failed(e.to_string()))?;
        // What a run that was cut short left behind must not be in the metrics before.
        own.executor.revert(id).await?;
        run.before = self.measure(running).await?;
        own.executor.apply(id, change).await?;
        if running.is_cancelled() {
            return Err(End::Cancelled);
        }
        run.after = self.measure(running).await?;
        verify_execution(&run.before, &run.after).map_err(|e| End::Failed(e.to_string()))
    }

    async fn measure(&self, running: &Running) -> Result<Metrics, End> {
        let mut metrics = self.0.check.run(running.cancelled()).await?;
        metrics.timestamp = metrics.timestamp.or_else(|| Some(OffsetDateTime::now_utc()));
        Ok(metrics)
    }

    /// Phases 6 and 7 of a run that went well.
    async fn applied(
        &self,
        cx: &Context<'_>,
        proposal: &Proposal,
        run: &Run,
        rollbacks: u64,
    ) -> Result<&'static str, Failure> {
        let own = &self.0;
        let id = proposal.proposal_id;
        let tx = cx.transaction().await?;
        let limits = limits(own, tx, proposal).await?;
        let until = OffsetDateTime::now_utc() + own.settings.observation(limits.window);
        if !store::enter_applied(tx, id, run, until).await? {
            return Ok(NOT_APPLICABLE);
        }
        let metrics = (&run.before, &run.after);
        let reading = judge(own, tx, proposal, &limits, metrics).await?;
        if own.rollbacks() != rollbacks {
            // Something was taken back while this was measured: begin anew.
            return Err(Failure::snooze(HELD_PAUSE));
        }
        report_metrics_to_guardian(cx.transport(), tx, proposal, State::Applied, metrics, reading.shadowed).await?;
        note(own, cx, tx, &proposal.agent_type, &run.after).await?;
        observe_later(cx.transport(), tx, proposal, until, own.settings.windows.report).await?;
        tell!(PROPOSAL_APPLIED, proposal_id = %id, target = proposal.target_key, "applied");
        tell!(RUN_COMPLETED, proposal_id = %id, execution_time_ms = run.took_ms, "execution completed");
        tell!(EXECUTION_SUCCESS, proposal_id = %id, "execution succeeded");
        Ok("applied")
    }

    /// The file as before; what the run did to the counters is held against nobody, also where it ended without a reading.
    async fn take_out(&self, client: &Client, id: Uuid, run: &Run) -> Result<(), Failure> {
        let own = &self.0;
        if own.executor.revert(id).await? == Reverted::NeverApplied {
            return Ok(());
        }
        if !own.executor.verify(id).await? {
            return Err(Failure::retry("the file is not as it was before"));
        }
        measure_neighbours_anew(own, client, id, &run.before).await?;
        // Only now: a run that is cut short before this has its neighbours measured by whoever tidies.
        Ok(own.executor.forget(id).await?)
    }

    /// Phases 6 and 7 of a run that did not: first the file, then the state.
    async fn failed(
        &self,
        cx: &Context<'_>,
        client: &Client,
        proposal: &Proposal,
        run: &Run,
        why: &str,
    ) -> Result<&'static str, Failure> {
        let id = proposal.proposal_id;
        self.take_out(client, id, run).await?;
        let tx = cx.transaction().await?;
        if !store::enter_failed(tx, id, why, run).await? {
            return Ok(NOT_APPLICABLE);
        }
        let metrics = (&run.before, &run.after);
        report_metrics_to_guardian(cx.transport(), tx, proposal, State::Failed, metrics, BTreeMap::new()).await?;
        release_target(cx, tx, proposal).await?;
        tell!(PROPOSAL_FAILED, proposal_id = %id, reason = why, "failed, and taken back: {why}");
        tell!(RUN_FAILED, proposal_id = %id, execution_time_ms = run.took_ms, reason = why, "execution failed");
        tell!(EXECUTION_FAILED, proposal_id = %id, "execution failed");
        Ok("failed")
    }
}
