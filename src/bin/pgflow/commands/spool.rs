//! `pgflow spool`: what was published while Postgres was away.

use std::path::Path;

use pgflow::{Publisher, spool};
use serde::Serialize;

use crate::{
    args::{Global, SpoolCommand},
    database,
    fault::Fault,
    output::{self, Output},
};

/// Shows or forwards.
pub(crate) async fn run(global: &Global, dir: &Path, command: SpoolCommand, out: Output) -> Result<(), Fault> {
    match command {
        SpoolCommand::Show => show(dir, out).await,
        SpoolCommand::Drain => drain(global, dir, out).await,
    }
}

async fn show(dir: &Path, out: Output) -> Result<(), Fault> {
    let found = look(dir).await?;
    if out.json {
        return out.object(&found);
    }
    #[derive(Serialize)]
    struct Shown {
        in_use: bool,
        messages: u64,
        bytes: u64,
        oldest_at: Option<String>,
        set_aside: usize,
    }
    let (messages, bytes, set_aside) = (found.spooled.messages, found.spooled.bytes, found.aside.len());
    out.object(&Shown { in_use: found.in_use, messages, bytes, oldest_at: found.oldest_at, set_aside })?;
    // Whole lines, no table: what to do stands at the reasons' ends.
    let said = found.aside.iter().map(|line| {
        let value = output::to_value(line)?;
        let [fate, first, last, reason] = ["fate", "first", "last", "reason"].map(|field| output::cell(&value[field]));
        Ok(format!("{fate}  {first} to {last}: {reason}\n"))
    });
    output::text(&said.collect::<Result<String, Fault>>()?)
}

/// Reading all of it blocks.
async fn look(dir: &Path) -> Result<spool::Inspection, Fault> {
    let dir = dir.to_owned();
    let read = tokio::task::spawn_blocking(move || spool::inspect(dir)).await;
    Ok(read.map_err(|e| Fault::failed(format!("read the spool: {e}")))??)
}

async fn drain(global: &Global, dir: &Path, out: Output) -> Result<(), Fault> {
    #[derive(Serialize)]
    struct Drained {
        forwarded: u64,
        set_aside: usize,
    }
    // A folder that is not there is a slip of the pen: it is not made.
    let before = look(dir).await?;
    let publisher = Publisher::connect(&database::config(global)?.spool_dir(dir)).await?;
    publisher.drain().await?;
    let set_aside = look(dir).await?.aside.len();
    let newly = set_aside.saturating_sub(before.aside.len()) as u64;
    let forwarded = before.spooled.messages.saturating_sub(newly);
    let text = format!(
        "forwarded {forwarded} messages; {set_aside} things are set aside in {}",
        dir.join("aside.jsonl").display()
    );
    out.done(&Drained { forwarded, set_aside }, &text)
}
