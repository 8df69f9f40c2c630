//! Both roles in one process, by a transport of the test's choice.

use std::path::Path;
use std::time::Duration;

use pgflow::Config;
use pgflow_actors::instance::InstanceOptions;
use pgflow_actors::settings::{Role, Settings};
use pgflow_actors::single::Single;
use pgflow_actors::transport::{Mode, Transport};
use pgflow_actors::{manual, submit};
use serde_json::Value;
use tempfile::TempDir;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::stage::{CHECK, LIMIT, ORIGINAL};
use crate::support::{TestDb, eventually, query_text};

pub const GRACE: Duration = Duration::from_secs(5);
/// The instance.
pub const ONE: &str = "one";

pub struct Solo {
    pub db: TestDb,
    pub client: Client,
    settings: fn(Role) -> Settings,
    folder: TempDir,
    single: Option<Single>,
}

impl Solo {
    pub async fn new(mode: Mode, settings: fn(Role) -> Settings) -> Self {
        let mut solo = Self::unstarted(settings).await;
        solo.start(mode).await;
        solo
    }

    pub async fn unstarted(settings: fn(Role) -> Settings) -> Self {
        let db = TestDb::new().await;
        let client = db.client().await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.txt"), ORIGINAL).unwrap();
        Self { db, client, settings, folder, single: None }
    }

    /// Starts, once the one before it is gone.
    pub async fn start(&mut self, mode: Mode) {
        let started = eventually(LIMIT, async || match self.try_start(mode).await {
            Ok(single) => Some(single),
            Err(why) => {
                let why = format!("{why:#}");
                assert!(why.contains("a live instance has this name") || why.contains("workspace_in_use"), "{why}");
                None
            }
        });
        self.single = Some(started.await);
    }

    pub async fn try_start(&self, mode: Mode) -> anyhow::Result<Single> {
        let mut config = Config::new(self.db.url());
        config.rescue_grace_ms = 200;
        let settings = |role| Settings { transport: mode, ..(self.settings)(role) };
        let options = InstanceOptions::new(ONE, self.folder.path(), CHECK);
        Single::start(config, (settings(Role::Central), settings(Role::Instance)), options).await
    }

    /// Ends at once, like a killed process.
    pub fn kill(&mut self) {
        drop(self.single.take().unwrap());
    }

    pub fn single(&self) -> &Single {
        self.single.as_ref().unwrap()
    }

    pub fn transport(&self) -> &Transport {
        self.single().transport()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn bytes(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.folder().join(file)).unwrap()
    }

    pub async fn submit(&self, line: Value) -> Uuid {
        let line = submit::read_line(&line.to_string(), ONE).unwrap();
        let mut client = self.db.client().await;
        submit::submit(self.transport(), &mut client, ONE, vec![line]).await.unwrap()[0]
    }

    pub async fn roll_back(&self, proposal: Uuid) {
        let mut client = self.db.client().await;
        manual::roll_back(self.transport(), &mut client, proposal).await.unwrap();
    }

    /// The first column of the first row.
    pub async fn ask(&self, sql: &str) -> String {
        query_text(&self.client, sql).await.first().cloned().unwrap_or_default()
    }

    pub async fn until(&self, sql: &str, answer: &str) {
        let asked = tokio::time::timeout(LIMIT, eventually(2 * LIMIT, async || self.ask(sql).await == answer)).await;
        if asked.is_err() {
            let all =
                "SELECT string_agg(concat_ws(' ', status, execution_error, kept_at), '; ') FROM evolution_proposals";
            panic!("{sql}\nis {}, not {answer}\n{}", self.ask(sql).await, self.ask(all).await);
        }
    }

    pub async fn until_status(&self, id: Uuid, status: &str) {
        self.until(&format!("SELECT status FROM evolution_proposals WHERE proposal_id = '{id}'"), status).await;
    }

    pub async fn until_kept(&self, id: Uuid) {
        let kept = format!("SELECT kept_at IS NOT NULL FROM evolution_proposals WHERE proposal_id = '{id}'");
        self.until(&kept, "t").await;
    }

    /// How many messages any queue ever had.
    pub async fn queued(&self) -> String {
        self.ask("SELECT count(*) FROM pgflow_messages").await
    }

    /// Stops; the database stays until the answer is dropped.
    pub async fn end(self) -> TestDb {
        self.single.unwrap().stop(GRACE).await.unwrap();
        self.db
    }
}
