//! `rollback_trigger` (domain §1.7, §3.5): stop the run if there is one, take the change back byte for byte, check
//! again, and only then say so.
//!
//! The first statement marks the proposal, committed at once: from there on no execution of it can begin or end well,
//! in whatever process. Everything after it may be repeated.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pgflow::Failure;
use uuid::Uuid;

use super::{Own, release_target};
use crate::alerts::Alert;
use crate::check::{Check, CheckError};
use crate::consumers::{ALREADY_PROCESSED, Consume, Context, NOT_APPLICABLE};
use crate::events::{ROLLBACK_COMPLETED, tell};
use crate::executor::ChangeExecutor;
use crate::hooks::TakenBack;
use crate::messages::RollbackTrigger;
use crate::metrics::Metrics;
use crate::producers::instance::report_metrics_to_guardian;
use crate::proposal::State;
use crate::store::{self, Proposal};
use crate::strategy::{Step, Strategy};

pub(crate) struct Rollback(pub(crate) Arc<Own>);

impl Consume for Rollback {
    type Payload = RollbackTrigger;

    async fn consume(&mut self, trigger: RollbackTrigger, cx: &Context<'_>) -> Result<&'static str, Failure> {
        let own = &self.0;
        let id = trigger.proposal_id;
        own.is_mine(&trigger.instance_id)?;
        let client = own.database.client().await?;
        let Some(proposal) = store::request_rollback(&*client, id, &own.id).await? else {
            return match store::find_proposal(&*client, id).await? {
                Some(_) => Ok(NOT_APPLICABLE),
                None => Err(Failure::retry(format!("proposal_not_found: {id}"))),
            };
        };
        if own.runs.cancel(id).await {
            tracing::info!(target: "evolution", proposal_id = %id, "execution cancelled by a rollback");
        }
        let restored = match self.take_back(&proposal, trigger.strategy.as_ref()).await {
            Ok(metrics) => metrics,
            Err(why) => {
                if own.settings.is_last(cx.attempt()) {
                    let detail = format!("on {}, ordered for {}: {why}", own.id, trigger.reason);
                    own.alarms.raise(&*client, Alert::RollbackFailed, id, &detail).await?;
                }
                return Err(Failure::retry(format!("rollback_failed: {why}")));
            }
        };
        let tx = cx.transaction().await?;
        store::lock_neighbours(tx, &own.id).await?;
        if !store::enter_rolled_back(tx, id, &trigger.reason).await? {
            return Ok(ALREADY_PROCESSED);
        }
        // Before the commit: who measured meanwhile must see it whenever it sees the new state.
        own.rollbacks.fetch_add(1, Ordering::AcqRel);
        let before = proposal.measured_from();
        // Of a run that was stopped nobody knows from where it counted: everything until now is excused.
        let from = before.clone().unwrap_or_else(Metrics::nothing_counted);
        store::excuse_neighbours(tx, &own.id, id, (&from, &restored)).await?;
        let metrics = (&before.unwrap_or_default(), &restored);
        report_metrics_to_guardian(cx.transport(), tx, &proposal, State::RolledBack, metrics, BTreeMap::new()).await?;
        release_target(cx, tx, &proposal).await?;
        let limit = trigger.threshold.normalised();
        if let Some(agent) = own.agents.of(&proposal.agent_type) {
            let (reason, limit) = (trigger.reason.clone(), limit.clone());
            agent.on_rollback_triggered(&TakenBack { change_id: id, reason, limit });
        }
        tell!(
            ROLLBACK_COMPLETED,
            proposal_id = %id,
            reason = trigger.reason,
            actual = limit.actual,
            threshold = limit.threshold,
            "rolled back: {}",
            trigger.reason
        );
        Ok("rolled_back")
    }
}

impl Rollback {
    /// A step that is not about files, by the owner's command.
    async fn perform(&self, id: Uuid, step: &Step) -> Result<(), CheckError> {
        let own = &self.0;
        let Some(command) = &own.steps else {
            tracing::debug!(target: "evolution", proposal_id = %id, "no command for {} of {}", step.action, step.target);
            return Ok(());
        };
        let mut check = Check { command: command.clone(), ..own.check.clone() };
        let named = |name: &str, value: String| (name.to_owned(), value);
        check.env.extend([
            named("EVOLUTION_STEP", step.action.clone()),
            named("EVOLUTION_TARGET", step.target.clone()),
            named("EVOLUTION_PROPOSAL", id.to_string()),
        ]);
        check.output(std::future::pending()).await.map(drop)
    }

    /// The files as before, the plan's other steps, and the check's word for it.
    async fn take_back(&self, proposal: &Proposal, plan: Option<&Strategy>) -> Result<Metrics, String> {
        let own = &self.0;
        let id = proposal.proposal_id;
        own.executor.revert(id).await.map_err(|e| e.to_string())?;
        if !own.executor.verify(id).await.map_err(|e| e.to_string())? {
            return Err("the file is not as it was before".to_owned());
        }
        for step in plan.into_iter().flat_map(|plan| &plan.steps).filter(|step| !step.restores_files()) {
            self.perform(id, step).await.map_err(|e| format!("step {} of {}: {e}", step.action, step.target))?;
        }
        own.check.run(std::future::pending()).await.map_err(|e| format!("the check after it: {e}"))
    }
}
