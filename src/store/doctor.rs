//! The symptoms that a doctor judges.

use deadpool_postgres::GenericClient;
use serde::Deserialize;

use super::Store;
use crate::{Error, Result};

/// Without a written heartbeat for so long, in ms, an instance is silent: the default lease.
const LEASE_MS: i64 = 60_000;

/// What the database shows of itself.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Symptoms {
    pub(crate) server_version: String,
    pub(crate) server_version_num: i32,
    pub(crate) fsync: bool,
    pub(crate) synchronous_commit: bool,
    pub(crate) read_only: bool,
    pub(crate) mode: String,
    pub(crate) wake_triggers: i64,
    pub(crate) partitions_missing: i64,
    pub(crate) open_pid: Option<i32>,
    pub(crate) open_name: Option<String>,
    pub(crate) open_state: Option<String>,
    pub(crate) open_query: Option<String>,
    pub(crate) open_seconds: Option<f64>,
    pub(crate) prepared: Vec<String>,
    /// The replication slot whose reader keeps the oldest rows, and how many transactions have begun since.
    pub(crate) slot: Option<String>,
    pub(crate) slot_transactions: Option<i64>,
    pub(crate) connections_max: i64,
    pub(crate) connections: i64,
    pub(crate) instances: i64,
    /// Instances whose connection is no session (W10).
    pub(crate) polling: Vec<String>,
    pub(crate) silent: Vec<String>,
    pub(crate) unserved: Vec<String>,
    pub(crate) slowest_queue: Option<String>,
    pub(crate) slowest_seconds: Option<f64>,
    pub(crate) paused: Vec<String>,
    pub(crate) dead: i64,
    pub(crate) undecodable: i64,
}

impl Store {
    /// Looks at the database's health.
    pub(crate) async fn doctor<C: GenericClient>(&self, c: &C) -> Result<Symptoms> {
        let phase = || "look for symptoms".to_owned();
        let row = self.objects(c, phase, &self.sql.doctor, &[&LEASE_MS]).await?.pop();
        row.ok_or_else(|| Error::state(phase(), "no answer"))
    }
}
