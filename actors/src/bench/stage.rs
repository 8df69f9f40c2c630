//! Where the bench takes place: a database, and central and the instances as processes, with all that has to end with it.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use pgflow::devpg::{DevPg, StopMode};
use pgflow_actors::settings::Workers;
use pgflow_actors::store;
use tokio_postgres::Client;

use super::sql;
use crate::demo::children::Children;
use crate::demo::database::live;
use crate::demo::windows::Windows;

/// Nothing is looked at a second time while it is measured.
const WINDOWS: Windows = Windows { observation_s: 3_600, report_s: 3_600, vote_s: 600, batch_s: 3_600 };
/// Connections for all roles and the submitters.
const CONNECTIONS_MAX: &str = "300";
/// How long roles may take to be there.
const START_LIMIT: Duration = Duration::from_secs(20);
/// What an instance measures its workspace with.
const CHECK: &str = r#"echo '{"success_rate": 1.0, "error_rate": 0.0, "latency_p95_ms": 10.0}'"#;
/// Changes that central knows to be safe: as many as it looks at.
pub(crate) const KNOWN_SAFE: i32 = 200;
/// Lines of each, and of each proposal.
pub(crate) const LINES: i32 = 30;
/// Fewest votes that decide, where there are as many instances.
const VOTES_MIN: usize = 3;

/// Everything that was started.
pub(crate) struct Stage {
    /// Where the database is.
    pub(crate) url: String,
    /// Asks it.
    pub(crate) client: Client,
    /// The instances' names.
    pub(crate) instances: Vec<String>,
    children: Children,
    folder: PathBuf,
    server: Option<DevPg>,
}

impl Stage {
    /// Starts a Postgres unless a database is named, then central and the instances.
    pub(crate) async fn set(named: Option<String>, instances: u8, workers: (Workers, Workers)) -> Result<Self> {
        let (url, server) = match named {
            Some(url) => (url, None),
            None => {
                let builder = DevPg::builder().setting("max_connections", CONNECTIONS_MAX);
                let server = tokio::task::spawn_blocking(move || builder.start()).await??;
                (server.url(), Some(server))
            }
        };
        store::init(&url, crate::cli::SCHEMA).await?;
        let client = pgflow::connect(&url, "evolution bench").await?;
        let empty: bool = client.query_one(sql!("bench_is_empty"), &[]).await?.try_get(0)?;
        ensure!(empty, "the database has proposals: a bench fills the one it runs on, so give it an empty one");
        client.execute(sql!("bench_history"), &[&KNOWN_SAFE, &LINES]).await?;
        client.batch_execute(sql!("bench_floor_tables")).await?;
        let folder = std::env::temp_dir().join(format!("evolution-bench-{}", std::process::id()));
        let children = Children::new(&url, WINDOWS, &folder.join("logs"))?;
        let instances = (1..=instances).map(|n| format!("singularity_{n}")).collect();
        let mut stage = Self { url, client, instances, children, folder, server };
        let started = stage.start(workers).await;
        if let Err(error) = started {
            stage.end().await?;
            return Err(error);
        }
        Ok(stage)
    }

    async fn start(&mut self, (of_central, of_instance): (Workers, Workers)) -> Result<()> {
        // Fewer instances than it takes to decide must be said: it is never lowered silently.
        let mut central = vec!["central".to_owned(), format!("--min-votes={}", self.instances.len().min(VOTES_MIN))];
        central.extend(arguments(of_central)?);
        self.children.start("central", &strs(&central))?;
        for name in &self.instances {
            let workspace = self.folder.join(name);
            fs::create_dir_all(&workspace).with_context(|| format!("make {}", workspace.display()))?;
            let workspace = workspace.to_string_lossy();
            let own = ["instance", "--id", name, "--workspace", &workspace, "--check", CHECK];
            let mut instance: Vec<String> = own.map(str::to_owned).to_vec();
            instance.extend(arguments(of_instance)?);
            self.children.start(name, &strs(&instance))?;
        }
        let begun = Instant::now();
        while live(&self.client).await?.len() <= self.instances.len() {
            self.children.all_run()?;
            if begun.elapsed() > START_LIMIT {
                bail!("the roles take too long to start");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Fails if a role has ended by itself.
    pub(crate) fn all_run(&mut self) -> Result<()> {
        self.children.all_run()
    }

    /// Stops everything, and removes the folder and the floor's tables.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.children.stop().await;
        let dropped = self.client.batch_execute(sql!("bench_drop_floor_tables")).await;
        if let Some(server) = self.server {
            tokio::task::spawn_blocking(move || server.stop(StopMode::Immediate)).await??;
        }
        fs::remove_dir_all(&self.folder).with_context(|| format!("remove {}", self.folder.display()))?;
        dropped.context("drop the floor's tables")
    }
}

/// Worker counts as a role takes them.
fn arguments(workers: Workers) -> Result<Vec<String>> {
    let counts = serde_json::to_value(workers)?;
    let counts = counts.as_object().context("worker counts are an object")?;
    Ok(counts.iter().map(|(queue, count)| format!("--{}-workers={count}", queue.replace('_', "-"))).collect())
}

fn strs(owned: &[String]) -> Vec<&str> {
    owned.iter().map(String::as_str).collect()
}
