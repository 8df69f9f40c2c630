//! Before anything is measured: what a run that was cut short left in the workspace is taken out, and what it did to the
//! counters is held against nobody.

use pgflow::Failure;
use tokio_postgres::Client;
use uuid::Uuid;

use super::Own;
use crate::executor::ChangeExecutor;
use crate::metrics::Metrics;
use crate::store;

/// To be called while `Own::measuring` is held: nothing runs then, so what the database calls executing was cut short. A run
/// that has just ended well is waited for: its row is locked until its outcome is committed.
pub(super) async fn tidy(own: &Own, client: &Client) -> Result<(), Failure> {
    let cut_short = store::cut_short(client, &own.id).await?;
    for id in &cut_short {
        own.executor.revert(*id).await?;
    }
    if cut_short.is_empty() || store::watched(client, &own.id).await?.is_empty() {
        return Ok(());
    }
    if let Ok(now) = own.check.run(std::future::pending()).await {
        tracing::info!(target: "evolution", runs = cut_short.len(), "runs were cut short; their neighbours are measured anew");
        store::excuse_neighbours(client, &own.id, Uuid::nil(), (&Metrics::nothing_counted(), &now)).await?;
    }
    Ok(())
}
