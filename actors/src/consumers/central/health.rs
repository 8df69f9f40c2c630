//! `check_health` (domain §6.5): gives up rollbacks whose trigger is dead, whoever died with it. Each handling publishes the next.
//! The queues themselves are looked at by pgflow.

use std::sync::Arc;

use pgflow::Failure;
use tokio_postgres::Client;

use super::Own;
use crate::alerts::Alert;
use crate::consumers::{Consume, Context};
use crate::messages::CheckHealth;
use crate::producers::central::check_health_later;
use crate::store;

pub(crate) struct Health(pub(crate) Arc<Own>);

impl Consume for Health {
    type Payload = CheckHealth;

    async fn consume(&mut self, _: CheckHealth, cx: &Context<'_>) -> Result<&'static str, Failure> {
        let period = self.0.settings.windows.health;
        let tx = cx.transaction().await?;
        self.give_up_rollbacks(tx).await?;
        check_health_later(cx.transport(), tx, period, period).await?;
        Ok("checked")
    }
}

impl Health {
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
}
