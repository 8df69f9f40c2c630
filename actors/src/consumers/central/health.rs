//! `check_health` (domain §6.5): looks at the queues, raises what is wrong and clears what is over, and gives up rollbacks
//! whose trigger is dead, whoever died with it. Each handling publishes the next.

use std::sync::Arc;

use pgflow::{Context, Failure};
use serde_json::json;
use time::OffsetDateTime;
use tokio_postgres::Client;

use super::Own;
use crate::alerts::{Alert, judge};
use crate::consumers::Consume;
use crate::messages::CheckHealth;
use crate::producers::central::check_health_later;
use crate::store::{self, About};

/// Alerts that a look at the queues raises, and clears.
const LOOKED_FOR: [Alert; 4] = [Alert::DeadLetters, Alert::QueueLatency, Alert::ConsumerLag, Alert::DatabaseSize];

pub(crate) struct Health(pub(crate) Arc<Own>);

impl Consume for Health {
    type Payload = CheckHealth;

    async fn consume(&mut self, _: CheckHealth, cx: &Context<'_>) -> Result<&'static str, Failure> {
        let settings = &self.0.settings;
        let tx = cx.transaction().await?;
        give_up_rollbacks(tx).await?;
        let found = judge(&store::look(tx, OffsetDateTime::now_utc(), settings.bytes_max).await?);
        for one in &found {
            let (about, detail) = (About { proposal: None, instance: None }, json!(one.detail));
            store::raise(tx, one.alert, one.urgency, &one.subject, about, &detail).await?;
        }
        for open in store::open_alerts(tx).await? {
            let still = found.iter().any(|f| f.alert == open.alert && f.subject == open.subject);
            if LOOKED_FOR.contains(&open.alert) && !still {
                store::clear_alert(tx, open.alert, &open.subject).await?;
            }
        }
        let period = settings.windows.health;
        check_health_later(cx.publisher(), tx, period, period).await?;
        Ok("checked")
    }
}

async fn give_up_rollbacks(tx: &Client) -> Result<(), Failure> {
    for failed in store::failed_rollbacks(tx).await? {
        let detail = json!({ "error": failed.error });
        store::raise_alert(tx, Alert::RollbackFailed, (failed.proposal_id, &failed.instance_id), &detail).await?;
        let mut strategy = store::strategy(tx, &failed.change_type).await?;
        strategy.learn(false, failed.seconds);
        store::save_strategy(tx, &strategy).await?;
    }
    Ok(())
}
