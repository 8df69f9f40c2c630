//! `pgflow dlq`: dead letters, looked at, sent round again, removed.

use pgflow::Admin;
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
    /// Those of deleted queues, which were asked for with all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    stay: Option<u64>,
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
            let stay = if chosen.all { Some(admin.count_dlq_of_deleted_queues().await?) } else { None };
            let stay = stay.filter(|stay| *stay > 0);
            let also = stay.map_or(String::new(), |stay| format!("; {stay} stay, their queue is deleted"));
            out.done(&Retried { retried, stay }, &format!("{retried} dead letter(s) sent round again{also}"))
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

async fn retry(admin: &Admin, chosen: &Chosen) -> Result<u64, Fault> {
    match chosen.id {
        Some(id) => Ok(admin.retry_dlq_message(id).await.map(|()| 1)?),
        None => Ok(admin.retry_dlq(chosen.queue.as_deref()).await?),
    }
}
