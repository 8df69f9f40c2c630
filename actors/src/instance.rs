//! Singularity: an instance proposes, votes, executes in its own workspace, reports, and takes back.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context as _, Result};
use pgflow::{Config, Runtime};
use tokio::sync::Mutex;

use crate::alerts::Alarms;
use crate::check::Check;
use crate::consumers::OnQueues;
use crate::consumers::instance::{Own, register};
use crate::events::{PROFILE_UPDATED, tell};
use crate::executor::FileExecutor;
use crate::hooks::Agents;
use crate::producers::instance::send_proposals;
use crate::runs::Runs;
use crate::settings::Settings;
use crate::store::{self, Database};
use crate::transport::Transport;
use crate::voter::{RecordVoter, Voter};
use crate::workspace::Workspace;

/// What makes an instance this one.
pub struct InstanceOptions {
    /// Its name, unique among live ones; messages find it by this name.
    pub id: String,
    /// The folder it owns.
    pub workspace: PathBuf,
    /// The command that measures the workspace, given to `sh -c`.
    pub check: String,
    /// The command for a rollback's steps that are not about files (caches, agents, services), given to `sh -c` with
    /// EVOLUTION_STEP, EVOLUTION_TARGET and EVOLUTION_PROPOSAL; without it they are passed over.
    pub steps: Option<String>,
    /// Who is told what becomes of their changes.
    pub agents: Agents,
    /// How it votes.
    pub voter: Box<dyn Voter>,
}

impl InstanceOptions {
    /// With the default voter.
    pub fn new(id: impl Into<String>, workspace: impl Into<PathBuf>, check: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            workspace: workspace.into(),
            check: check.into(),
            steps: None,
            agents: Agents::default(),
            voter: Box::new(RecordVoter),
        }
    }
}

/// A running instance.
pub struct Instance {
    runtime: Runtime,
}

impl Instance {
    /// Locks the workspace, puts the tables in place if they are not, starts, and takes in what was learned before.
    ///
    /// # Errors
    /// When the workspace or the database cannot be had, or an instance of this name is live.
    pub async fn start(config: Config, settings: Settings, options: InstanceOptions) -> Result<Self> {
        let config = config.instance(&options.id);
        let own = prepare(&config, settings, options).await?;
        store::init(&config.url, &config.schema).await.context("put the tables in place")?;
        let transport = Transport::connect(&config).await?;
        let runtime = serve(config.clone(), &own, &transport).await?;
        begin(&config.url, &own, &transport).await?;
        Ok(Self { runtime })
    }

    /// Its runtime.
    pub const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Stops; an execution that does not end in time is handed back, and begins anew at the next start.
    ///
    /// # Errors
    /// When outcomes could not be written in time.
    pub async fn stop(self, grace: Duration) -> Result<()> {
        Ok(self.runtime.stop(grace).await?)
    }
}

/// Locks the workspace; what its consumers share.
pub(crate) async fn prepare(config: &Config, settings: Settings, options: InstanceOptions) -> Result<Arc<Own>> {
    let InstanceOptions { id, workspace, check, steps, agents, voter } = options;
    let workspace = Workspace::open(&workspace).with_context(|| format!("workspace {}", workspace.display()))?;
    let check = Check {
        command: check,
        workspace: workspace.root().to_owned(),
        env: vec![("INSTANCE_ID".to_owned(), id.clone())],
        timeout: settings.windows.check,
    };
    Ok(Arc::new(Own {
        id,
        settings,
        database: Database::new(&config.url),
        alarms: Alarms::new(config).await?,
        executor: FileExecutor::new(workspace),
        check,
        steps,
        agents,
        runs: Runs::default(),
        measuring: Mutex::default(),
        rollbacks: AtomicU64::default(),
        voter,
    }))
}

/// Serves its queues.
pub(crate) async fn serve(config: Config, own: &Arc<Own>, transport: &Transport) -> pgflow::Result<Runtime> {
    OnQueues::serve(config, &own.settings, transport, |queues| register(queues, own)).await
}

/// Takes in what was learned before, and has what waits sent. To be called when it takes messages already: so a profile that is
/// sent from here on arrives as a message, and none falls between.
pub(crate) async fn begin(url: &str, own: &Own, transport: &Transport) -> Result<()> {
    let mut client = pgflow::connect(url, "evolution").await?;
    for learned in store::learned_profiles(&client).await? {
        if store::save_safety_profile(&client, &own.id, &learned).await? {
            tell!(PROFILE_UPDATED, agent_type = learned.agent_type, source = learned.source, "learned before");
        }
    }
    let tx = client.transaction().await?;
    send_proposals(transport, &tx, &own.id).await?;
    Ok(tx.commit().await?)
}
