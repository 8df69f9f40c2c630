//! The roles as processes: started from this very program, logged to files, ended with the demo.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin, Command};

use super::leash::{self, LEASH_VARIABLE};
use super::windows::Windows;

/// How long a role may take to stop by itself.
const STOP_GRACE: Duration = Duration::from_secs(15);
/// How long `submit` and `learn` may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// One role that runs.
struct Role {
    name: String,
    arguments: Vec<String>,
    process: Process,
}

/// A process and our end of its leash, which waiting would drop if it were left in the child.
struct Process {
    child: Child,
    leash: Option<ChildStdin>,
}

/// All roles of the demo.
pub(crate) struct Children {
    program: PathBuf,
    database_url: String,
    windows: Windows,
    logs: PathBuf,
    roles: Vec<Role>,
}

impl Children {
    /// Runs this program's roles on a database; logs go to `logs`.
    pub(crate) fn new(database_url: &str, windows: Windows, logs: &Path) -> Result<Self> {
        fs::create_dir_all(logs).with_context(|| format!("make {}", logs.display()))?;
        let program = std::env::current_exe().context("find this program's file")?;
        Ok(Self { program, database_url: database_url.to_owned(), windows, logs: logs.to_owned(), roles: Vec::new() })
    }

    /// Starts a role that stays.
    pub(crate) fn start(&mut self, name: &str, arguments: &[&str]) -> Result<()> {
        let own = arguments.iter().map(|a| (*a).to_owned());
        let arguments: Vec<String> = own.chain(self.windows.arguments()).collect();
        let process = self.spawn(name, &arguments)?;
        self.roles.push(Role { name: name.to_owned(), arguments, process });
        Ok(())
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, name: &str, arguments: &[&str]) -> Result<()> {
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        let Process { mut child, leash } = self.spawn(name, &arguments)?;
        let ended = tokio::time::timeout(COMMAND_LIMIT, child.wait()).await;
        drop(leash);
        let status =
            ended.with_context(|| format!("{name} takes too long; its log is {}", self.log(name).display()))??;
        if !status.success() {
            bail!("{name} failed ({status}); its log ends with: {}", self.log_end(name));
        }
        Ok(())
    }

    /// Kills a role with SIGKILL and waits until it is gone.
    pub(crate) async fn kill(&mut self, name: &str) -> Result<()> {
        let role = self.role(name)?;
        role.process.child.kill().await.with_context(|| format!("kill {name}"))
    }

    /// Starts a role again that has ended.
    pub(crate) fn restart(&mut self, name: &str) -> Result<()> {
        let arguments = self.role(name)?.arguments.clone();
        let process = self.spawn(name, &arguments)?;
        self.role(name)?.process = process;
        Ok(())
    }

    /// Fails if a role has ended by itself.
    pub(crate) fn all_run(&mut self) -> Result<()> {
        for role in &mut self.roles {
            if let Some(status) = role.process.child.try_wait()? {
                let name = role.name.clone();
                bail!("{name} ended by itself ({status}); its log ends with: {}", self.log_end(&name));
            }
        }
        Ok(())
    }

    /// Asks all roles to stop, kills those that do not, and tells how each ended.
    pub(crate) async fn stop(&mut self) -> Vec<(String, Option<ExitStatus>)> {
        for role in &self.roles {
            if let Some(pid) = role.process.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
                // An error means that it has ended.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        let mut ended = Vec::new();
        for mut role in self.roles.drain(..) {
            let status = match tokio::time::timeout(STOP_GRACE, role.process.child.wait()).await {
                Ok(status) => status.ok(),
                Err(_) => {
                    let _ = role.process.child.kill().await;
                    None
                }
            };
            ended.push((role.name, status));
        }
        ended
    }

    /// What a role's log holds.
    pub(crate) fn log_text(&self, name: &str) -> String {
        fs::read(self.log(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn role(&mut self, name: &str) -> Result<&mut Role> {
        self.roles.iter_mut().find(|r| r.name == name).with_context(|| format!("no role is called {name}"))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    fn log_end(&self, name: &str) -> String {
        let text = self.log_text(name);
        let lines: Vec<&str> = text.trim().lines().collect();
        lines[lines.len().saturating_sub(3)..].join(" | ")
    }

    fn spawn(&self, name: &str, arguments: &[String]) -> Result<Process> {
        let log = File::options().create(true).append(true).open(self.log(name)).context("open a log")?;
        let mut command = Command::new(&self.program);
        command.args(arguments);
        command
            .env("PGFLOW_DATABASE_URL", &self.database_url)
            .env(LEASH_VARIABLE, "1")
            .stdin(leash::held())
            .stdout(Stdio::from(log.try_clone().context("open a log")?))
            .stderr(Stdio::from(log))
            // Ctrl-C on a terminal reaches the demo alone, which then stops everything in order.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("start {name}"))?;
        let leash = child.stdin.take();
        Ok(Process { child, leash })
    }
}
