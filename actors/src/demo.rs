//! `evolution demo`: the whole system on an embedded Postgres, each role a process, watched and judged.

mod backlog;
mod bundle;
pub(crate) mod children;
pub(crate) mod database;
pub(crate) mod figures;
mod files;
mod invariants;
mod kill;
pub(crate) mod leash;
mod live;
mod play;
mod script;
pub(crate) mod stage;
mod summary;
mod watch;
pub(crate) mod windows;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::cli::output::out;

/// Options of `evolution demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Proposals to submit instead of the bundled ones: one JSON object a line.
    #[arg(long, value_name = "F")]
    proposals: Option<PathBuf>,
    /// How many instances to run.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=20))]
    instances: u8,
    /// How many low-priority messages are pending during the rollback.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    backlog: u32,
}

/// Runs the demo and prints its summary, as one JSON object if asked; fails unless every invariant holds.
pub(crate) async fn run(options: Options, json: bool) -> Result<()> {
    let text = match &options.proposals {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?,
        None => bundle::PROPOSALS.to_owned(),
    };
    let entries = script::read(&text, usize::from(options.instances))?;
    let instances = (1..=options.instances).map(|n| format!("singularity_{n}")).collect();
    let stage = stage::Stage::set(entries, instances, usize::try_from(options.backlog)?).await?;
    let Some(summary) = stage.play_and_judge().await? else {
        bail!("interrupted; every process of the demo was stopped");
    };
    out(if json { summary.json() } else { summary.text() })?;
    if !summary.ok {
        bail!("not every invariant of the demo holds");
    }
    Ok(())
}
