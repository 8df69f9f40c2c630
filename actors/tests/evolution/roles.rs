//! Roles as processes.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

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
