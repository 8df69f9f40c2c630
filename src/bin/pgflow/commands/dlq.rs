//! `pgflow dlq`: dead letters, looked at, sent round again, removed.

use std::collections::HashSet;

use pgflow::{Admin, limits::LIST_MAX};
use serde::Serialize;

use crate::{
    args::{Chosen, Dlq, Global},
    database,
    fault::Fault,
    output::Output,
};

#[derive(Serialize)]
struct Retried {
    retried: u64,
}

#[derive(Serialize)]
struct Purged {
    purged: u64,
}

/// Runs one of them.
pub(crate) async fn run(global: &Global, command: Dlq, out: Output) -> Result<(), Fault> {
    let admin = database::admin(global).await?;
    match command {
        Dlq::List { queue, limit } => {
            let dead = admin.list_dlq_messages(queue.as_deref(), limit.limit).await?;
            out.list(&dead, &["id", "queue_name", "kind", "error_kind", "retry_count", "created_at", "error"])
        }
        Dlq::Show { id } => out.object(&admin.get_dlq_message(id).await?),
        Dlq::Retry(chosen) => {
            let retried = retry(&admin, &chosen).await?;
            out.done(&Retried { retried }, &format!("{retried} dead letter(s) sent round again"))
        }
        Dlq::Purge(chosen) => {
            let purged = purge(&admin, &chosen).await?;
            out.done(&Purged { purged }, &format!("{purged} dead letter(s) removed"))
        }
    }
}

async fn purge(admin: &Admin, chosen: &Chosen) -> Result<u64, Fault> {
    match chosen.id {
        Some(id) => Ok(admin.purge_dlq_message(id).await.map(|()| 1)?),
        None => Ok(admin.purge_dlq(chosen.queue.as_deref()).await?),
    }
}

/// Each once, though one may be dead again before we end; one that is gone meanwhile is somebody else's doing.
async fn retry(admin: &Admin, chosen: &Chosen) -> Result<u64, Fault> {
    if let Some(id) = chosen.id {
        return Ok(admin.retry_dlq_message(id).await.map(|()| 1)?);
    }
    let mut seen = HashSet::new();
    let mut retried = 0;
    loop {
        let dead = admin.list_dlq_messages(chosen.queue.as_deref(), LIST_MAX).await?;
        let fresh: Vec<i64> = dead.iter().map(|d| d.id).filter(|id| seen.insert(*id)).collect();
        if fresh.is_empty() {
            return Ok(retried);
        }
        // The oldest first, as they were published.
        for id in fresh.into_iter().rev() {
            match admin.retry_dlq_message(id).await {
                Ok(()) => retried += 1,
                Err(e) if e.is_input() => {}
                Err(e) => return Err(Fault::from(e).at(format!("after {retried} dead letter(s)"))),
            }
        }
    }
}
