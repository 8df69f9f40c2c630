//! `check_health` (domain §6.5): gives up what a dead letter was to do, whoever died with it: rollbacks, and executions, whose
//! instances are told to take back what was left. Each handling publishes the next, and orders the next daily learning run: that one
//! may die, and orders nothing. The queues themselves are looked at by pgflow.

use std::sync::Arc;

use pgflow::Failure;
use time::OffsetDateTime;
use tokio_postgres::Client;

use super::Own;
use crate::alerts::Alert;
use crate::consumers::{Consume, Context};
use crate::messages::CheckHealth;
use crate::producers::PublishError;
use crate::producers::central::{check_health_later, order_daily_learning};
use crate::producers::instance::order_execution;
use crate::store::{self, DeadExecution};

pub(crate) struct Health(pub(crate) Arc<Own>);

impl Consume for Health {
    type Payload = CheckHealth;

    async fn consume(&mut self, look: CheckHealth, cx: &Context<'_>) -> Result<&'static str, Failure> {
        let period = self.0.settings.windows.health;
        let tx = cx.transaction().await?;
        check_health_later(cx.transport(), tx, look.due, (period, period)).await?;
        order_daily_learning(cx.transport(), tx, OffsetDateTime::now_utc()).await?;
        // Whatever a look finds, the next one comes.
        store::begin_try(tx).await?;
        match self.look(cx, tx).await {
            Ok(()) => store::end_try(tx).await?,
            Err(reason) => {
                store::undo_try(tx).await?;
                tracing::error!(target: "evolution", ?reason, "looking for what dead letters were to do failed");
            }
        }
        Ok("checked")
    }
}

impl Health {
    async fn look(&self, cx: &Context<'_>, tx: &Client) -> Result<(), Failure> {
        self.give_up_rollbacks(tx).await?;
        self.give_up_executions(cx, tx).await
    }

    async fn give_up_rollbacks(&self, tx: &Client) -> Result<(), Failure> {
        for failed in store::failed_rollbacks(tx).await? {
            let detail = format!("on {}: {}", failed.instance_id, failed.error);
            self.0.alarms.raise(tx, Alert::RollbackFailed, failed.proposal_id, &detail).await?;
            let mut strategy = store::strategy(tx, &failed.change_type).await?;
            strategy.learn(false, failed.seconds);
            store::save_strategy(tx, &strategy).await?;
        }
        Ok(())
    }

    async fn give_up_executions(&self, cx: &Context<'_>, tx: &Client) -> Result<(), Failure> {
        for DeadExecution { proposal, error, again } in store::dead_executions(tx).await? {
            let id = proposal.proposal_id;
            if again {
                let detail = format!("on {}: what a failed execution left: {error}", proposal.instance_id);
                self.0.alarms.raise(tx, Alert::RollbackFailed, id, &detail).await?;
                continue;
            }
            match order_execution(cx.transport(), tx, &proposal, Some(error)).await {
                Ok(_) => {
                    tracing::warn!(target: "evolution", proposal_id = %id, "an execution's order is dead: it is to fail");
                }
                // Memory does not reach that instance. Nothing was written: the other looks go on.
                Err(PublishError::Direct(reason)) => {
                    tracing::warn!(target: "evolution", proposal_id = %id, %reason, "an execution's order is dead");
                }
                Err(reason) => return Err(reason.into()),
            }
        }
        Ok(())
    }
}
