//! What happens in the demo, in order: roles start, stages of proposals are submitted, an instance is killed, and all
//! comes to its end.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use pgflow::Runtime;
use pgflow_actors::proposal::State;
use tokio_postgres::Client;

use super::invariants::Kill;
use super::live::Live;
use super::script::{Entry, Scene};
use super::watch::Watch;
use super::{backlog, bundle, children::Children, database, kill};

/// How long roles may take to be there.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long a stage may take: votes, execution and observation, several times over where changes wait for each other.
const STAGE_LIMIT: Duration = Duration::from_secs(120);
/// How long the last messages may take.
const REST_LIMIT: Duration = Duration::from_secs(45);
/// Fewest votes that decide, where there are as many instances.
const VOTES_MIN: usize = 3;
/// Time between two looks at whether something has come true.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The demo under way.
pub(crate) struct Play {
    /// What is proposed.
    pub(crate) entries: Vec<Entry>,
    /// Names of the instances.
    pub(crate) instances: Vec<String>,
    /// How many low-priority messages there are to be.
    pub(crate) backlog: usize,
    /// How many there are.
    pub(crate) backlog_published: usize,
    /// The kill, once it happened.
    pub(crate) kill: Option<Kill>,
    /// Who drains the backlog, once somebody does.
    pub(crate) drain: Option<Runtime>,
    /// The roles.
    pub(crate) children: Children,
    /// Asks the database.
    pub(crate) client: Client,
    /// Where the database is.
    pub(crate) database_url: String,
    /// What is seen.
    pub(crate) watch: Watch,
    /// Where progress goes.
    pub(crate) live: Arc<Live>,
    /// The demo's folder.
    pub(crate) folder: PathBuf,
}

impl Play {
    /// Plays it to the end.
    pub(crate) async fn run(&mut self) -> Result<()> {
        self.start_roles().await?;
        let mut stages: Vec<u32> = self.entries.iter().map(|e| e.stage).collect();
        stages.sort_unstable();
        stages.dedup();
        for (number, stage) in stages.into_iter().enumerate() {
            self.play_stage(stage).await?;
            if number == 0 {
                self.learn().await?;
            }
        }
        self.live.event("waiting for the last messages");
        self.until("the last messages", REST_LIMIT, async |play| Ok(database::unfinished(&play.client).await? == 0))
            .await
    }

    /// Where an instance's files are.
    pub(crate) fn workspace(&self, instance: usize) -> PathBuf {
        self.folder.join(&self.instances[instance])
    }

    async fn start_roles(&mut self) -> Result<()> {
        // Fewer instances than it takes to decide must be said: it is never lowered silently.
        let min_votes = format!("--min-votes={}", self.instances.len().min(VOTES_MIN));
        self.children.start("central", &["central", &min_votes])?;
        for (number, name) in self.instances.iter().enumerate() {
            let workspace = self.workspace(number);
            bundle::write_workspace(&workspace).context("write a workspace")?;
            let workspace = workspace.to_string_lossy();
            self.children
                .start(name, &["instance", "--id", name, "--workspace", &workspace, "--check", bundle::CHECK])?;
        }
        self.until("the roles to start", START_LIMIT, async |play| {
            let live = database::live(&play.client).await?;
            Ok(live.len() > play.instances.len() && play.instances.iter().all(|name| live.contains(name)))
        })
        .await?;
        self.live.event(format!("central and {} instances are running", self.instances.len()));
        Ok(())
    }

    async fn play_stage(&mut self, stage: u32) -> Result<()> {
        let entries: Vec<Entry> = self.entries.iter().filter(|e| e.stage == stage).cloned().collect();
        let guardian = entries.iter().any(|e| e.scene == Some(Scene::Guardian));
        if guardian {
            backlog::publish(&self.client, self.backlog).await?;
            self.backlog_published = self.backlog;
            self.live.event(format!("{} low-priority messages are pending on another queue", self.backlog));
        }
        self.submit(stage, &entries).await?;
        for entry in entries.iter().filter(|e| e.scene == Some(Scene::Killed)) {
            self.kill = Some(kill::in_mid_execution(self, entry).await?);
        }
        self.until(&format!("stage {stage} to end"), STAGE_LIMIT, async |play| {
            let view = play.watch.view();
            Ok(entries.iter().all(|e| view.is_over(e.id)))
        })
        .await?;
        if guardian {
            self.drain = Some(backlog::drain(&self.database_url).await?);
            self.live.event("the low-priority messages are being taken now");
        }
        Ok(())
    }

    async fn submit(&self, stage: u32, entries: &[Entry]) -> Result<()> {
        self.live.event(format!("stage {stage}: {} proposals are submitted", entries.len()));
        for (number, name) in self.instances.iter().enumerate() {
            let lines: String = entries.iter().filter(|e| e.instance == number).map(|e| e.line() + "\n").collect();
            if lines.is_empty() {
                continue;
            }
            let step = format!("submit-{stage}-{name}");
            let file = self.folder.join(format!("{step}.jsonl"));
            fs::write(&file, lines).context("write proposals")?;
            let file = file.to_string_lossy();
            self.children.run(&step, &["submit", "--file", &file, "--instance", name]).await?;
        }
        Ok(())
    }

    async fn learn(&self) -> Result<()> {
        if self.instances.len() < 3 {
            return Ok(());
        }
        self.children.run("learn", &["learn"]).await?;
        let applied = self.watch.view().states.values().filter(|s| **s == State::Applied).count();
        self.live.event(format!("the learning loop ran over what {applied} applied changes have shown"));
        Ok(())
    }

    /// Waits until something has come true; a role that ends meanwhile ends the demo.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        limit: Duration,
        come_true: impl AsyncFn(&Self) -> Result<bool>,
    ) -> Result<()> {
        let begun = Instant::now();
        loop {
            if come_true(self).await? {
                return Ok(());
            }
            self.children.all_run()?;
            if begun.elapsed() > limit {
                bail!("waited {} s for {what}", limit.as_secs());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
