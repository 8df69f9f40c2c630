//! Roles as processes: started, killed, started again, asked to stop. They end with the test, however that ends.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin, Command};

/// A role ends when its standard input does, if this is set.
const LEASH: &str = "EVOLUTION_ENDS_WITH_STDIN";
const STOP_LIMIT: Duration = Duration::from_secs(20);
const LOG_LINES: usize = 12;

struct Role {
    name: String,
    arguments: Vec<String>,
    child: Child,
    /// Ours as long as it is to run: waiting for a child closes what is left in it.
    _leash: ChildStdin,
}

/// All roles, with their logs in a folder.
pub struct Processes {
    url: String,
    logs: PathBuf,
    roles: Vec<Role>,
}

impl Processes {
    pub fn new(url: &str, logs: &Path) -> Self {
        fs::create_dir_all(logs).unwrap();
        Self { url: url.to_owned(), logs: logs.to_owned(), roles: Vec::new() }
    }

    /// Starts a role with these arguments of `evolution`.
    pub fn start(&mut self, name: &str, arguments: &[&str]) {
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        let (child, leash) = self.spawn(name, &arguments);
        self.roles.push(Role { name: name.to_owned(), arguments, child, _leash: leash });
    }

    /// SIGKILL, and gone when this returns.
    pub async fn kill(&mut self, name: &str) {
        self.role(name).child.kill().await.unwrap();
    }

    pub fn start_again(&mut self, name: &str) {
        let arguments = self.role(name).arguments.clone();
        let (child, leash) = self.spawn(name, &arguments);
        let role = self.role(name);
        (role.child, role._leash) = (child, leash);
    }

    /// Panics when a role has ended by itself.
    pub fn assert_all_run(&mut self) {
        let ended = self.roles.iter_mut().find_map(|r| Some((r.name.clone(), r.child.try_wait().unwrap()?)));
        if let Some((name, status)) = ended {
            panic!("{name} ended by itself ({status}):\n{}", self.log_end(&name));
        }
    }

    /// Asks a role to stop; it must do so well. Answers what it says of itself.
    pub async fn stop(&mut self, name: &str) -> serde_json::Value {
        let at = self.roles.iter().position(|r| r.name == name).unwrap();
        let mut role = self.roles.remove(at);
        let pid = Pid::from_raw(i32::try_from(role.child.id().unwrap()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let status = tokio::time::timeout(STOP_LIMIT, role.child.wait()).await;
        let well = matches!(&status, Ok(Ok(status)) if status.success());
        assert!(well, "{name} did not stop well ({status:?}):\n{}", self.log_end(name));
        let log = self.log(name);
        let summary = log.lines().rev().find_map(|line| line.strip_prefix("summary ")).unwrap();
        serde_json::from_str(summary).unwrap()
    }

    pub fn names(&self) -> Vec<String> {
        self.roles.iter().map(|r| r.name.clone()).collect()
    }

    /// The ends of all logs.
    pub fn told(&self) -> String {
        self.names().iter().map(|name| format!("--- {name}\n{}\n", self.log_end(name))).collect()
    }

    fn role(&mut self, name: &str) -> &mut Role {
        self.roles.iter_mut().find(|r| r.name == name).unwrap()
    }

    fn log(&self, name: &str) -> String {
        let bytes = fs::read(self.logs.join(format!("{name}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_end(&self, name: &str) -> String {
        let log = self.log(name);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    fn spawn(&self, name: &str, arguments: &[String]) -> (Child, ChildStdin) {
        let log = File::options().create(true).append(true).open(self.logs.join(format!("{name}.log"))).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_evolution"))
            .args(arguments)
            .env("PGFLOW_DATABASE_URL", &self.url)
            .env(LEASH, "1")
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let leash = child.stdin.take().unwrap();
        (child, leash)
    }
}
