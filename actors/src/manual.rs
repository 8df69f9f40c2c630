//! A rollback ordered by a person: Guardian's order, with the reason `manual`.

use anyhow::{Context as _, Result, bail};
use pgflow::Publisher;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::breach::MANUAL;
use crate::messages::Limit;
use crate::producers::central::send_rollback_trigger;
use crate::store::{self, Rollback};

/// Orders it.
///
/// # Errors
/// A change that central does not know, or one that was ordered back before.
pub async fn roll_back(publisher: &Publisher, client: &mut Client, proposal: Uuid) -> Result<()> {
    let tx = client.transaction().await?;
    let change =
        store::lock_change(&tx, proposal).await?.with_context(|| format!("central knows no change {proposal}"))?;
    let order = Rollback {
        proposal_id: proposal,
        rollback_id: Uuid::now_v7(),
        instance_id: change.instance_id,
        reason: MANUAL.to_owned(),
        limit: Limit::default(),
        breach_count: 0,
        strategy: store::strategy(&tx, &change.change_type).await?,
    };
    if !store::insert_rollback(&tx, &order).await? {
        bail!("a rollback of {proposal} was ordered before");
    }
    send_rollback_trigger(publisher, &tx, &order).await?;
    tx.commit().await?;
    Ok(())
}
