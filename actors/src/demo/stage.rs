//! The stage the demo plays on: a folder, a Postgres, and their end, whatever happens.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use pgflow::devpg::{DevPg, StopMode};
use pgflow_actors::proposal::State;
use tokio::signal::unix::{SignalKind, signal};

use super::children::Children;
use super::invariants::{BACKLOG, Facts, RoleEnd};
use super::live::Live;
use super::play::Play;
use super::script::Entry;
use super::summary::Summary;
use super::watch::Watch;
use super::{backlog, database, files, windows};

/// Connections for all roles, the drain and the demo itself.
const CONNECTIONS_MAX: &str = "300";

/// Everything the demo has started.
pub(crate) struct Stage {
    play: Play,
    server: DevPg,
}

impl Stage {
    /// Makes the folder and starts Postgres.
    pub(crate) async fn set(entries: Vec<Entry>, instances: Vec<String>, backlog: usize) -> Result<Self> {
        let live = Arc::new(Live::new());
        let folder = std::env::temp_dir().join(format!("evolution-demo-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let builder = DevPg::builder().setting("max_connections", CONNECTIONS_MAX);
        let server = tokio::task::spawn_blocking(move || builder.start()).await??;
        live.event(format!("an embedded Postgres {} is running", server.major()));
        let url = server.url();
        let mut client = pgflow::connect(&url, "evolution demo").await?;
        pgflow::migrate::migrate(&mut client, pgflow::migrate::SCHEMA_DEFAULT).await?;
        let watching = pgflow::connect(&url, "evolution demo, watching").await?;
        let watch = Watch::start(watching, &entries, Arc::clone(&live));
        let children = Children::new(&url, windows::DEMO, &folder.join("logs"))?;
        let play = Play {
            entries,
            instances,
            backlog,
            backlog_published: 0,
            kill: None,
            drain: None,
            children,
            client,
            database_url: url,
            watch,
            live,
            folder,
        };
        Ok(Self { play, server })
    }

    /// Plays, stops everything, and judges; `None` when it was interrupted.
    pub(crate) async fn play_and_judge(self) -> Result<Option<Summary>> {
        let Self { mut play, server } = self;
        let outcome = tokio::select! {
            outcome = play.run() => Some(outcome),
            interrupted = interrupted() => interrupted.map(|()| None)?,
        };
        play.live.event("stopping");
        let summary = match outcome {
            Some(outcome) => Some(judge(play, outcome.err().map(|e| format!("{e:#}"))).await),
            None => {
                play.children.stop().await;
                play.live.end();
                let _ = fs::remove_dir_all(&play.folder);
                None
            }
        };
        tokio::task::spawn_blocking(move || server.stop(StopMode::Immediate)).await??;
        summary.transpose()
    }
}

/// Ctrl-C, or a polite kill.
pub(crate) async fn interrupted() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed.context("wait for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
    }
}

/// Stops the roles and judges what they leave behind.
async fn judge(mut play: Play, broke_off: Option<String>) -> Result<Summary> {
    let mut facts = Facts { kill: play.kill, backlog: play.backlog_published, ..Facts::default() };
    facts.learned = database::learned(&play.client).await.unwrap_or_default();
    if let Some(runtime) = play.drain.take() {
        let found = backlog::stop(runtime).await;
        facts.roles.push(RoleEnd { name: BACKLOG.into(), well: found.is_ok(), found_by_heartbeat: found.ok() });
    }
    for (name, status) in play.children.stop().await {
        let found_by_heartbeat = found_by_heartbeat(&play.children.log_text(&name));
        facts.roles.push(RoleEnd { name, well: status.is_some_and(|s| s.success()), found_by_heartbeat });
    }
    let seconds = play.live.seconds();
    let gathered = gather(&play, &mut facts).await;
    // What broke it off explains more than what is missing since.
    facts.broke_off = broke_off.or_else(|| gathered.err().map(|e| format!("{e:#}")));
    facts.instances.clone_from(&play.instances);
    play.live.end();
    let summary = Summary::new(&play.entries, &facts, windows::DEMO, seconds, play.folder.join("logs"));
    if summary.ok {
        fs::remove_dir_all(&play.folder).with_context(|| format!("remove {}", play.folder.display()))?;
    }
    Ok(summary)
}

/// Asks the database and the folders.
async fn gather(play: &Play, facts: &mut Facts) -> Result<()> {
    facts.messages = database::messages(&play.client, BACKLOG, &play.watch.waits()).await?;
    facts.dead_letters = database::dead_letters(&play.client).await?;
    facts.fates = database::states(&play.client).await?;
    facts.executed = database::executed(&play.client).await?;
    for number in 0..play.instances.len() {
        facts.differences.push((play.instances[number].clone(), differences(play, facts, number)));
    }
    Ok(())
}

/// What a role says of itself when it stops: its last line that begins with `summary `.
fn found_by_heartbeat(log: &str) -> Option<u64> {
    let line = log.lines().rev().find_map(|line| line.strip_prefix("summary "))?;
    let object: serde_json::Value = serde_json::from_str(line).ok()?;
    object.get("found_by_heartbeat")?.as_u64()
}

/// What differs in a workspace from the program with the changes that its proposals must have left in place.
fn differences(play: &Play, facts: &Facts, instance: usize) -> Vec<String> {
    let stays = |entry: &&Entry| {
        let fate = entry.expect.or_else(|| facts.fates.get(&entry.id).copied());
        entry.instance == instance && fate == Some(State::Applied)
    };
    let mut kept: Vec<&Entry> = play.entries.iter().filter(stays).collect();
    // Where two changed the same file, the later one stands.
    kept.sort_by_key(|e| facts.executed.iter().position(|id| *id == e.id));
    let changes = kept.iter().filter_map(|e| e.proposal.get("code_change")?.as_object());
    let expected: PathBuf = play.folder.join("expected").join(&play.instances[instance]);
    let compared = files::write_expected(&expected, changes)
        .and_then(|()| Ok(files::differences(&expected, &play.workspace(instance))?));
    compared.unwrap_or_else(|e| vec![format!("{e:#}")])
}

#[cfg(test)]
mod tests {
    use super::found_by_heartbeat;

    #[test]
    fn the_last_summary_counts() {
        let log = "started\nsummary {\"found_by_heartbeat\":7}\nstarted again\nsummary {\"found_by_heartbeat\":0}\nbye";
        assert_eq!(found_by_heartbeat(log), Some(0));
        assert_eq!(found_by_heartbeat("killed"), None);
        assert_eq!(found_by_heartbeat("summary nonsense"), None);
    }
}
