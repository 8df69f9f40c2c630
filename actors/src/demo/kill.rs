//! An instance is killed in mid-execution: after it wrote the change, before it knows what that did.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use pgflow_actors::change::read_change;
use pgflow_actors::locate::locate;
use pgflow_actors::proposal::State;

use super::database;
use super::invariants::Kill;
use super::play::Play;
use super::script::Entry;

/// How long it may take until the change is written.
const WRITTEN_LIMIT: Duration = Duration::from_secs(30);

/// Kills the entry's instance with SIGKILL as soon as the change is in its file, and starts it again at once.
pub(crate) async fn in_mid_execution(play: &mut Play, entry: &Entry) -> Result<Kill> {
    let change = entry.proposal.get("code_change").and_then(|c| c.as_object()).context("there is no code_change")?;
    let change = read_change(None, change).map_err(|e| anyhow::anyhow!("{e}"))?;
    let root = play.workspace(entry.instance).canonicalize()?;
    let file = root.join(locate(&root, &change.target)?);
    play.until("a change to be written", WRITTEN_LIMIT, async |play| {
        let executing = database::states(&play.client).await?.get(&entry.id) == Some(&State::Executing);
        Ok(executing && fs::read(&file).is_ok_and(|bytes| bytes == change.content.as_bytes()))
    })
    .await?;
    let name = play.instances[entry.instance].clone();
    let at = database::now(&play.client).await?;
    play.children.kill(&name).await?;
    play.live.event(format!("{name} was killed (SIGKILL) while it executed {}", entry.short_id()));
    play.children.restart(&name)?;
    Ok(Kill { at, proposal: entry.id })
}
