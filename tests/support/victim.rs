//! A process that is killed.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use pgflow::{Config, Queue};
use tokio_postgres::Client;

use super::{probe::*, query_text};

/// What a victim process runs: an instance whose handlers write effects, until it is killed. Nothing without its environment.
///
/// A test file that has victims calls it from a test named `victim`.
pub async fn run() {
    let Ok(url) = std::env::var("PGFLOW_VICTIM_URL") else { return };
    let name = std::env::var("PGFLOW_VICTIM_NAME").unwrap();
    let mut c = quick(&url, &name);
    if let Ok(lease) = std::env::var("PGFLOW_VICTIM_LEASE_MS") {
        c.lease_ms = lease.parse().unwrap();
    }
    let seen = Seen::new();
    let _running = probing_queue(c, victims_queue(), &seen).await;
    let gate = std::env::var("PGFLOW_VICTIM_GATE").unwrap_or_default();
    while !std::path::Path::new(&gate).exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    seen.open();
    std::future::pending::<()>().await;
}

/// Few workers, few and quick retries.
pub fn victims_queue() -> Queue {
    Queue::new("probe").workers(4).max_retries(3).retry_delay(Duration::from_millis(10), Duration::from_millis(50))
}

/// Deaths are seen soon.
pub fn quick(url: &str, name: &str) -> Config {
    let mut c = config(url, name);
    (c.heartbeat_ms, c.rescue_grace_ms) = (200, 0);
    c
}

/// A victim, killed at the latest when the test ends.
pub struct Victim(pub Child);

impl Victim {
    pub fn start(url: &str, name: &str) -> Self {
        Self::start_with(url, name, &[])
    }
    pub fn start_with(url: &str, name: &str, env: &[(&str, &str)]) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "victim", "--nocapture", "--test-threads=1"])
            .env("PGFLOW_VICTIM_URL", url)
            .env("PGFLOW_VICTIM_NAME", name)
            .envs(env.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
    pub fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether an instance of this name is live.
pub async fn live(client: &Client, name: &str) -> bool {
    !query_text(client, &format!("SELECT 'x' FROM pgflow_instances WHERE name = '{name}' AND ended_at IS NULL"))
        .await
        .is_empty()
}
