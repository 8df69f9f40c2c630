//! What a run wrote that did not end well is taken out of the workspace, and what it did to the counters meanwhile is held
//! against nobody.

use pgflow::Failure;
use tokio_postgres::Client;
use uuid::Uuid;

use super::Own;
use crate::executor::ChangeExecutor;
use crate::metrics::Metrics;
use crate::store;
use crate::workspace::Reverted;

/// Before anything is measured. To be called while `Own::measuring` is held: nothing runs then, so what the database calls executing
/// was cut short, or waits for its next try with nothing written. A run that has just ended well is waited for: its row is locked
/// until its outcome is committed.
pub(super) async fn tidy(own: &Own, client: &Client) -> Result<(), Failure> {
    let mut taken_out = Vec::new();
    for id in store::cut_short(client, &own.id).await? {
        match own.executor.revert(id).await {
            Ok(Reverted::NeverApplied) => {}
            // Also what was taken back already: nobody may have come to measure its neighbours.
            Ok(_) => taken_out.push(id),
            // Its own order to execute ends with this error; the other changes go on.
            Err(reason) => {
                tracing::error!(target: "evolution", proposal_id = %id, %reason, "what a run left cannot be taken out");
            }
        }
    }
    if !taken_out.is_empty() {
        tracing::info!(target: "evolution", runs = taken_out.len(), "runs were cut short; their neighbours are measured anew");
        measure_neighbours_anew(own, client, Uuid::nil(), &Metrics::nothing_counted()).await?;
    }
    for id in taken_out {
        own.executor.forget(id).await?;
    }
    Ok(())
}

/// What the counters gained since `from`, at which `culprit` was written, is not held against its neighbours. It has been taken
/// back: the check now says how far they came.
pub(super) async fn measure_neighbours_anew(
    own: &Own,
    client: &Client,
    culprit: Uuid,
    from: &Metrics,
) -> Result<(), Failure> {
    if store::watched(client, &own.id).await?.is_empty() {
        return Ok(());
    }
    match own.check.run(std::future::pending()).await {
        Ok(now) => store::excuse_neighbours(client, &own.id, culprit, (from, &now)).await?,
        Err(reason) => {
            tracing::warn!(target: "evolution", %reason, "the neighbours of a failed run cannot be measured");
        }
    }
    Ok(())
}
