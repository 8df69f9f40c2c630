//! A database, a central and instances, and what tests ask of them.

use std::panic::Location;
use std::path::PathBuf;
use std::time::Duration;

use pgflow::devpg::{DevPg, StopMode};
use pgflow::{Config, Publisher};
use pgflow_actors::central::{CENTRAL, Central};
use pgflow_actors::hooks::Agents;
use pgflow_actors::instance::{Instance, InstanceOptions};
use pgflow_actors::settings::{Role, Settings};
use pgflow_actors::transport::Transport;
use pgflow_actors::{manual, submit};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::{TestDb, connect, eventually, query_text};

pub const LIMIT: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(5);

/// Forty executions a run, counted over all runs, which may be at the same time; six errors a run once `bad` is in a file, forty once `broken` is; waits while `slow` is, or a file
/// `.hold`, or `.hold_better` and something better; is stuck once `stuck` is in one; fails while there is a file `.unusable`, and after
/// 120 errors once `ruinous` is in one.
pub const CHECK: &str = r#"
while [ -e .hold ] || { [ -e .hold_better ] && cat *.txt | grep -q better; } || cat *.txt | grep -q slow; do : > .checking; sleep 0.02; done
if cat *.txt | grep -q stuck; then : > .checking; sleep 1000; fi
[ ! -e .unusable ] || exit 1
if cat *.txt | grep -q ruinous; then echo 120 >> .runs; exit 1; fi
errors=0
if cat *.txt | grep -q bad; then errors=6; fi
if cat *.txt | grep -q broken; then errors=40; fi
echo "$errors" >> .runs
awk '{ e += $1 } END { printf "{\"error_count\":%d,\"execution_count\":%d,\"cpu_usage\":10.0,\"memory\":20.5}\n", e, NR * 40 }' .runs
"#;

/// Notes the steps of a rollback that are not about files.
const STEPS: &str = r#"echo "$EVOLUTION_STEP $EVOLUTION_TARGET" >> .steps"#;

pub const ORIGINAL: &[u8] = b"original \xff\x00 bytes, not even UTF-8\n";

/// Short windows, so that a whole life fits in a test.
pub fn brisk(role: Role) -> Settings {
    let mut settings = Settings::new(role);
    settings.windows.observation = Some(Duration::from_millis(600));
    settings.windows.report = Duration::from_millis(200);
    settings.windows.check = Duration::from_secs(120);
    settings.windows.health = Duration::from_millis(200);
    settings.retry_delay = Duration::from_millis(50);
    settings.consensus.window = time::Duration::seconds(20);
    settings.consensus.min_votes = 1;
    settings.consensus.auto_approve_from = f64::INFINITY;
    settings
}

/// Windows so long that nothing is observed twice.
pub fn calm(role: Role) -> Settings {
    let mut settings = brisk(role);
    settings.windows.observation = Some(Duration::from_secs(3_600));
    settings.windows.report = Duration::from_secs(3_600);
    settings
}

/// Where the tables are.
pub enum Database {
    /// In the server that all tests share.
    Shared(TestDb),
    /// In a server of its own, which may go down.
    Own(DevPg),
}

impl Database {
    pub fn url(&self) -> String {
        match self {
            Self::Shared(db) => db.url(),
            Self::Own(server) => server.url(),
        }
    }

    pub async fn client(&self) -> Client {
        connect(&self.url()).await
    }
}

pub struct Stage {
    pub db: Database,
    pub client: Client,
    pub publisher: Publisher,
    pub transport: Transport,
    settings: fn(Role) -> Settings,
    /// Of instances started from now on.
    pub agents: Agents,
    central: Option<Central>,
    instances: Vec<(String, TempDir, Option<Instance>)>,
}

impl Stage {
    /// Central and instances `s1`, `s2`, …
    pub async fn new(instances: usize, settings: fn(Role) -> Settings) -> Self {
        Self::on(Database::Shared(TestDb::new().await), instances, settings).await
    }

    /// The same, there.
    pub async fn on(db: Database, instances: usize, settings: fn(Role) -> Settings) -> Self {
        let client = db.client().await;
        let publisher = Publisher::connect(&Config::new(db.url()).instance("test")).await.unwrap();
        let transport = publisher.clone().into();
        let mut stage = Self {
            db,
            client,
            publisher,
            transport,
            settings,
            agents: Agents::default(),
            central: None,
            instances: Vec::new(),
        };
        stage.start_central().await;
        for _ in 0..instances {
            stage.add_instance().await;
        }
        stage
    }

    fn config(&self) -> Config {
        let mut config = Config::new(self.db.url());
        config.handler_connections = 4;
        config.rescue_grace_ms = 200;
        config.unknown_grace_ms = 1_000;
        config
    }

    pub async fn start_central(&mut self) {
        let config = || self.config().instance(CENTRAL);
        // The name of one that was killed is free when the server has noticed.
        let started = eventually(LIMIT, async || free(Central::start(config(), (self.settings)(Role::Central)).await));
        self.central = Some(started.await);
    }

    pub async fn add_instance(&mut self) -> String {
        let id = format!("s{}", self.instances.len() + 1);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.txt"), ORIGINAL).unwrap();
        self.instances.push((id.clone(), folder, None));
        self.start_instance(&id).await;
        id
    }

    pub async fn start_instance(&mut self, id: &str) {
        let folder = self.folder(id);
        let started = eventually(LIMIT, async || {
            let options = InstanceOptions {
                steps: Some(STEPS.to_owned()),
                agents: self.agents.clone(),
                ..InstanceOptions::new(id, &folder, CHECK)
            };
            free(Instance::start(self.config(), (self.settings)(Role::Instance), options).await)
        });
        let started = started.await;
        self.slot(id).2 = Some(started);
    }

    fn slot(&mut self, id: &str) -> &mut (String, TempDir, Option<Instance>) {
        self.instances.iter_mut().find(|(name, ..)| name == id).unwrap()
    }

    /// Ends at once, like a killed process.
    pub fn kill_central(&mut self) {
        drop(self.central.take().unwrap());
    }

    /// Ends at once, like a killed process.
    pub fn kill_instance(&mut self, id: &str) {
        drop(self.slot(id).2.take().unwrap());
    }

    pub fn folder(&self, id: &str) -> PathBuf {
        self.instances.iter().find(|(name, ..)| name == id).unwrap().1.path().to_owned()
    }

    pub fn bytes(&self, id: &str, file: &str) -> Option<Vec<u8>> {
        std::fs::read(self.folder(id).join(file)).ok()
    }

    /// Stops the database's server, until all have noticed.
    pub async fn database_down(&mut self, mode: StopMode) {
        let Database::Own(server) = &mut self.db else { panic!("it is not ours alone") };
        tokio::task::block_in_place(|| server.stop_keep(mode)).unwrap();
        let running = self.instances.iter().filter_map(|(.., instance)| instance.as_ref()).map(Instance::runtime);
        let running: Vec<_> = running.chain(self.central.as_ref().map(Central::runtime)).collect();
        eventually(LIMIT, async || running.iter().all(|runtime| !runtime.is_listening())).await;
    }

    /// Starts it again.
    pub async fn database_up(&mut self) {
        let Database::Own(server) = &mut self.db else { panic!("it is not ours alone") };
        tokio::task::block_in_place(|| server.restart(StopMode::Fast)).unwrap();
        self.client = self.db.client().await;
    }

    /// Submits lines for an instance.
    pub async fn submit(&self, id: &str, lines: &[Value]) -> Vec<Uuid> {
        let lines = lines.iter().map(|line| submit::read_line(&line.to_string(), id).unwrap()).collect();
        let mut client = self.db.client().await;
        submit::submit(&self.transport, &mut client, id, lines).await.unwrap()
    }

    pub async fn roll_back(&self, proposal: Uuid) {
        let mut client = self.db.client().await;
        manual::roll_back(&self.transport, &mut client, proposal).await.unwrap();
    }

    /// The first column of the first row.
    pub async fn ask(&self, sql: &str) -> String {
        query_text(&self.client, sql).await.first().cloned().unwrap_or_default()
    }

    pub async fn status(&self, id: Uuid) -> String {
        self.ask(&format!("SELECT status FROM evolution_proposals WHERE proposal_id = '{id}'")).await
    }

    #[track_caller]
    pub fn until_status(&self, id: Uuid, status: &str) -> impl Future<Output = ()> {
        let sql = format!("SELECT status FROM evolution_proposals WHERE proposal_id = '{id}'");
        self.until_owned(sql, status.to_owned(), Location::caller())
    }

    #[track_caller]
    pub fn until(&self, sql: &str, answer: &str) -> impl Future<Output = ()> {
        self.until_owned(sql.to_owned(), answer.to_owned(), Location::caller())
    }

    /// Fails with the story so far.
    async fn until_owned(&self, sql: String, answer: String, caller: &'static Location<'static>) {
        let asked = tokio::time::timeout(LIMIT, eventually(2 * LIMIT, async || self.ask(&sql).await == answer)).await;
        if asked.is_ok() {
            return;
        }
        let last = self.ask(&sql).await;
        let proposals = "SELECT string_agg(concat_ws(' ', instance_id, target_key, status, execution_error), '; ') FROM evolution_proposals";
        let messages = "SELECT string_agg(concat_ws(' ', kind, target, status, run_at, error), '; ') FROM pgflow_messages WHERE status <> 'done'";
        let (proposals, messages) = (self.ask(proposals).await, self.ask(messages).await);
        panic!("{caller}: {sql}\nis {last}, not {answer}\n{proposals}\n{messages}");
    }

    /// Stops everything; nothing is dead, and no wake-up was lost.
    pub async fn end(mut self) {
        assert_eq!(self.ask("SELECT string_agg(error, '; ') FROM pgflow_dlq").await, "NULL");
        for (name, _, instance) in &mut self.instances {
            let Some(instance) = instance.take() else { continue };
            assert_eq!(instance.runtime().found_by_heartbeat(), 0, "{name}");
            instance.stop(GRACE).await.unwrap();
        }
        if let Some(central) = self.central.take() {
            assert_eq!(central.runtime().found_by_heartbeat(), 0, "central");
            central.stop(GRACE).await.unwrap();
        }
    }
}

/// What started, unless the name or the workspace is still held by one that was killed.
fn free<T>(started: anyhow::Result<T>) -> Option<T> {
    match started {
        Ok(started) => Some(started),
        Err(error) => {
            let why = format!("{error:#}");
            assert!(why.contains("a live instance has this name") || why.contains("workspace_in_use"), "{why}");
            None
        }
    }
}

/// A promising proposal that writes `content` to `file`.
pub fn proposal(file: &str, content: &str) -> Value {
    json!({
        "agent_type": "BugFixerAgent",
        "code_change": { "type": "bug_fix", "file": file, "content": content },
        "impact_score": 8.0, "risk_score": 1.0,
        "safety_profile": { "success_rate": 0.95, "cost_factor": 2.0 },
    })
}

/// One that every default voter vetoes.
pub fn hopeless(file: &str) -> Value {
    let mut line = proposal(file, "hopeless\n");
    line["risk_score"] = 10.0.into();
    line["safety_profile"]["success_rate"] = 0.0.into();
    line
}
