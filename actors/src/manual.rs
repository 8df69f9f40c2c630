//! A rollback ordered by a person: Guardian's order, with the reason `manual`.

use anyhow::{Context as _, Result, bail};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::breach::MANUAL;
use crate::messages::Limit;
use crate::producers::central::order_rollback;
use crate::proposal::State;
use crate::store::{self, Rollback};
use crate::transport::Transport;

/// Orders it.
///
/// # Errors
/// A change that central does not know, one with nothing in place to take back, one that was ordered back before.
pub async fn roll_back(transport: &Transport, client: &mut Client, proposal: Uuid) -> Result<()> {
    let tx = client.transaction().await?;
    let change =
        store::lock_change(&tx, proposal).await?.with_context(|| format!("central knows no change {proposal}"))?;
    let state = store::find_proposal(&tx, proposal).await?.map(|known| known.status);
    match state {
        Some(state) if state.may_become(State::RolledBack) && state != State::Failed => {}
        Some(State::RolledBack) => bail!("{proposal} was rolled back already"),
        Some(state) => bail!("{proposal} is {state}: only a change that is executing or applied can be rolled back"),
        None => bail!("no instance of this database knows proposal {proposal}"),
    }
    let order = Rollback {
        proposal_id: proposal,
        rollback_id: Uuid::now_v7(),
        instance_id: change.instance_id,
        reason: MANUAL.to_owned(),
        limit: Limit::default(),
        breach_count: 0,
        strategy: store::strategy(&tx, &change.change_type).await?,
    };
    if !order_rollback(transport, &tx, &order).await? {
        bail!("a rollback of {proposal} was ordered before: `evolution trace {proposal}` tells what became of it");
    }
    tx.commit().await?;
    Ok(())
}
