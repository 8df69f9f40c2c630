//! Roles as processes.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::stage::LIMIT;
use crate::support::eventually;

/// A role's process; it is killed when dropped.
pub struct Role {
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Role {
    pub fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_evolution"))
            .args(arguments)
            .env_remove("PGFLOW_DATABASE_URL")
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (out, kept) = (child.stdout.take().unwrap(), Arc::clone(&lines));
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if let Ok(value) = serde_json::from_str(&line) {
                    kept.lock().unwrap().push(value);
                }
            }
        });
        Self { child, lines }
    }

    /// Starts it, and again while the name of one that was killed is not free yet; answers when it runs.
    pub async fn running(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut role = Self::start(arguments, environment);
        let running = async {
            loop {
                if role.says("running") {
                    return;
                }
                if role.child.try_wait().unwrap().is_some() {
                    role = Self::start(arguments, environment);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, running).await.unwrap_or_else(|_| panic!("{arguments:?} does not run"));
        role
    }

    fn says(&self, word: &str) -> bool {
        let lines = self.lines.lock().unwrap();
        lines.iter().any(|line| line["fields"]["message"].as_str().is_some_and(|m| m.contains(word)))
    }

    /// The first event of this name, when it is there.
    pub async fn event(&self, name: &str) -> Value {
        eventually(LIMIT, async || {
            let lines = self.lines.lock().unwrap();
            lines.iter().map(|line| line["fields"].clone()).find(|fields| fields["event"] == name)
        })
        .await
    }

    pub async fn page(&self) -> String {
        eventually(LIMIT, async || {
            let lines = self.lines.lock().unwrap();
            let said = |line: &Value| {
                line["fields"]["message"].as_str().filter(|m| m.starts_with("http://")).map(str::to_owned)
            };
            lines.iter().find_map(said)
        })
        .await
    }
}
