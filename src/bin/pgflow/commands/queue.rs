//! Queues: `queues`, `top`, `stats`, `pending`, `queue create|pause|resume|delete`.

use std::{io::IsTerminal as _, time::Duration};

use pgflow::Queue;
use serde::Serialize;

use crate::{
    args::{Global, QueueCommand},
    database,
    fault::Fault,
    output::{self, Output},
    signals::Signals,
};

/// What a person sees of a queue.
const COLUMNS: [&str; 8] =
    ["queue_name", "pending", "oldest_pending_age_s", "processing", "scheduled", "parked", "dead", "paused"];
/// Between two looks of `top`.
const TOP: Duration = Duration::from_secs(2);

/// All queues with their depths.
pub(crate) async fn list(global: &Global, out: Output) -> Result<(), Fault> {
    let queues = database::admin(global).await?.list_queues().await?;
    out.list(&queues, &COLUMNS)
}

/// The same again and again until a signal, or until the reader leaves. A terminal is cleared before each.
pub(crate) async fn top(global: &Global, out: Output) -> Result<(), Fault> {
    let mut signals = Signals::catch()?;
    let admin = database::admin(global).await?;
    let clear = !out.json && std::io::stdout().is_terminal();
    let mut tick = tokio::time::interval(TOP);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = signals.next() => return Ok(()),
        }
        let queues = admin.list_queues().await?;
        if clear {
            output::text("\x1b[H\x1b[2J")?;
        }
        out.list(&queues, &COLUMNS)?;
    }
}

/// One queue's figures.
pub(crate) async fn stats(global: &Global, queue: &str, out: Output) -> Result<(), Fault> {
    out.object(&database::admin(global).await?.get_queue_stats(queue).await?)
}

/// What waits, in the order of its start.
pub(crate) async fn pending(global: &Global, queue: &str, limit: u32, out: Output) -> Result<(), Fault> {
    let pending = database::admin(global).await?.list_pending_messages(queue, limit).await?;
    out.list(&pending, &["id", "kind", "priority", "retry_count", "created_at", "payload"])
}

#[derive(Serialize)]
struct Done<'a> {
    queue_name: &'a str,
    action: &'static str,
    /// It was there before: only its settings were set.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    existed: bool,
    /// Messages that were cancelled with a deleted queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled: Option<u64>,
}

/// Changes one queue.
pub(crate) async fn change(global: &Global, command: QueueCommand, out: Output) -> Result<(), Fault> {
    let admin = database::admin(global).await?;
    let mut existed = false;
    let (name, action, cancelled) = match command {
        QueueCommand::Create { name, max_retries, retry_delay, retry_delay_max, payload_bytes_max } => {
            let mut queue = Queue::new(&name);
            if let Some(retries) = max_retries {
                queue = queue.max_retries(retries);
            }
            if let (Some(first), Some(max)) = (retry_delay, retry_delay_max) {
                queue = queue.retry_delay(first, max);
            }
            if let Some(bytes) = payload_bytes_max {
                queue = queue.payload_bytes_max(bytes);
            }
            existed = !admin.create_queue(queue).await?;
            (name, "created", None)
        }
        QueueCommand::Pause { name } => {
            admin.pause_queue(&name).await?;
            (name, "paused", None)
        }
        QueueCommand::Resume { name } => {
            admin.resume_queue(&name).await?;
            (name, "resumed", None)
        }
        QueueCommand::Delete { name, force: true } => {
            let cancelled = admin.delete_queue_cancelling(&name).await?;
            (name, "deleted", Some(cancelled))
        }
        QueueCommand::Delete { name, force: false } => {
            let deleted = admin.delete_queue(&name).await;
            // It ends with the way out, "with its messages cancelled".
            deleted.map_err(|e| if e.is_state() { Fault::failed(format!("{e}: --force")) } else { e.into() })?;
            (name, "deleted", Some(0))
        }
    };
    let also = match cancelled {
        Some(n @ 1..) => format!(", {n} waiting message(s) cancelled"),
        _ => String::new(),
    };
    let said = if existed { "there already, its settings are set" } else { action };
    let sentence = format!("queue \"{name}\" is {said}{also}");
    out.done(&Done { queue_name: &name, action, existed, cancelled }, &sentence)
}
