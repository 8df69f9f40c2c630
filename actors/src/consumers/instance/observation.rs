//! `observe_change`: an applied change is measured every report period until its window closes (domain §3.3).
//!
//! When the window closes on a clean report, the change is kept: its target is free, and what it showed is reported as a
//! pattern.

use std::sync::Arc;
use std::time::Duration;

use pgflow::Failure;
use serde_json::Value;
use time::OffsetDateTime;
use tokio_postgres::Client;

use super::batching::note;
use super::judging::judge;
use super::tidying::tidy;
use super::{Own, broken, limits, release_target};
use crate::change::content;
use crate::check::CheckError;
use crate::consumers::{Consume, Context, NOT_APPLICABLE};
use crate::executor::ChangeExecutor;
use crate::json::Object;
use crate::messages::ObserveChange;
use crate::producers::instance::{observe_later, report_metrics_to_guardian, report_pattern_to_aggregator};
use crate::proposal::State;
use crate::settings::STALE_PERIODS;
use crate::store::{self, Proposal};

/// How soon to measure again what a rollback fell into.
const AGAIN: Duration = Duration::from_millis(100);

pub(crate) struct Observation(pub(crate) Arc<Own>);

impl Consume for Observation {
    type Payload = ObserveChange;

    async fn consume(&mut self, message: ObserveChange, cx: &Context<'_>) -> Result<&'static str, Failure> {
        let own = &self.0;
        own.is_mine(&message.instance_id)?;
        let client = own.database.client().await?;
        if store::find_proposal(&*client, message.proposal_id).await?.filter(is_watched).is_none() {
            return Ok(NOT_APPLICABLE);
        }
        let measuring = own.measuring.lock().await;
        tidy(own, &client).await?;
        let rollbacks = own.rollbacks();
        let after = match own.check.run(std::future::pending()).await {
            Ok(metrics) => metrics,
            Err(error @ (CheckError::NotStarted(_) | CheckError::Cancelled)) => return Err(Failure::retry(error)),
            // The check passed when the change was applied: a failure now is a breach, not silence.
            Err(error) => broken(&error),
        };
        drop(measuring);
        let tx = cx.transaction().await?;
        let Some(proposal) = store::lock_proposal(tx, message.proposal_id).await?.filter(is_watched) else {
            return Ok(NOT_APPLICABLE);
        };
        let limits = limits(own, tx, &proposal).await?;
        let before = proposal.measured_from().unwrap_or_default();
        let reading = judge(own, tx, &proposal, &limits, (&before, &after)).await?;
        if own.rollbacks() != rollbacks {
            return Err(Failure::snooze(AGAIN));
        }
        let clean = reading.clean;
        report_metrics_to_guardian(cx.transport(), tx, &proposal, State::Applied, (&before, &after), reading.shadowed)
            .await?;

        note(own, cx, tx, &proposal.agent_type, &after).await?;
        let period = own.settings.windows.report;
        let over = OffsetDateTime::now_utc() - message.until;
        // A breach at the end is Guardian's to act on; where a profile forbids it to, nobody waits for ever.
        if (over >= time::Duration::ZERO && clean) || over >= period * STALE_PERIODS {
            return self.keep(cx, tx, &proposal, clean).await;
        }
        let delay = Duration::try_from(-over).ok().filter(|left| !left.is_zero());
        observe_later(cx.transport(), tx, &proposal, message.until, delay.map_or(period, |left| left.min(period)))
            .await?;
        Ok("observed")
    }
}

fn is_watched(proposal: &Proposal) -> bool {
    proposal.status == State::Applied && !proposal.rollback_requested
}

impl Observation {
    async fn keep(
        &self,
        cx: &Context<'_>,
        tx: &Client,
        proposal: &Proposal,
        clean: bool,
    ) -> Result<&'static str, Failure> {
        let own = &self.0;
        if !store::enter_kept(tx, proposal.proposal_id).await? {
            return Ok(NOT_APPLICABLE);
        }
        if clean && own.settings.mine_patterns {
            let success = store::agent_success(tx, &own.id, &proposal.agent_type).await?;
            let pattern = pattern_of(proposal);
            if let Some(agent) = own.agents.of(&proposal.agent_type) {
                agent.on_pattern_learned(&proposal.change_type, &pattern);
            }
            report_pattern_to_aggregator(cx.transport(), tx, proposal, pattern, success).await?;
        }
        release_target(cx, tx, proposal).await?;
        // Before the commit: a change that is kept twice is kept; one that the state calls kept must be.
        own.executor.keep(proposal.proposal_id).await?;
        tracing::info!(target: "evolution", proposal_id = %proposal.proposal_id, clean, "observation over, change kept");
        Ok("kept")
    }
}

/// What a change showed: its description, and the code before and after where the proposal tells.
fn pattern_of(proposal: &Proposal) -> Object {
    let text = |place: &Object, key: &str| {
        place.get(key).and_then(Value::as_str).filter(|text| !text.trim().is_empty()).map(str::to_owned)
    };
    let change = &proposal.code_change;
    let described = text(change, "description").or_else(|| text(&proposal.metadata, "description"));
    let target = proposal.target_key.as_deref().unwrap_or("the program");
    let description = described.unwrap_or_else(|| format!("{} of {target}", proposal.change_type));
    let mut pattern = Object::new();
    pattern.insert("description".to_owned(), description.into());
    for (key, value) in [("name", text(change, "name")), ("before", text(change, "before")), ("after", content(change))]
    {
        if let Some(value) = value {
            pattern.insert(key.to_owned(), value.into());
        }
    }
    pattern
}
