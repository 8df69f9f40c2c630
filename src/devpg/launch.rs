//! Starts the keeper (`keeper.sh`), which starts the server, and waits until the server answers.
//!
//! The shell in between is what leaves no orphan: it lives in a process group of its own, holds a stream whose other
//! end we hold, and ends the server at the end of file. The kernel closes our end even if we are killed with SIGKILL,
//! and neither `unsafe` nor polling is needed.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::account::Account;
use super::binaries::Binaries;
use crate::error::{Error, Result};

const KEEPER: &str = include_str!("keeper.sh");

/// initdb, and crash recovery of a kept cluster.
const START_LIMIT_MS: u64 = 120_000;
/// The keeper itself goes from SIGINT to SIGKILL within 29 s.
const STOP_LIMIT_MS: u64 = 40_000;
const POLL: Duration = Duration::from_millis(5);
/// The kernel's limit for a socket path, without its closing NUL.
const SOCKET_PATH_BYTES_MAX: usize = 106;
/// How much of the log goes into an error text.
const LOG_TAIL_LINES: usize = 6;

/// Everything that starting the server, again and again, needs to know.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    pub(super) binaries: Binaries,
    pub(super) account: Account,
    /// Holds the cluster (`data`), its log, and its socket.
    pub(super) root: PathBuf,
    pub(super) tcp: bool,
    pub(super) port: u16,
    pub(super) durable: bool,
    pub(super) settings: Vec<(String, String)>,
    pub(super) hold: Hold,
    /// The folder goes when the server ends.
    pub(super) temporary: bool,
}

/// What keeps the server alive.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hold {
    /// Our end of a pipe.
    Pipe,
    /// Anybody's hold on the FIFO `lease`, and this many seconds more.
    Lease { linger_s: u32 },
}

/// A running keeper.
#[derive(Debug)]
pub(super) struct Keeper {
    child: Child,
    orders: Option<ChildStdin>,
    pub(super) server_pid: u32,
}

impl Launch {
    pub(super) fn start(&self) -> Result<Keeper> {
        self.start_with(Stdio::piped())
    }

    /// With the stream that keeps the server alive: a pipe, or a hold on the lease.
    pub(super) fn start_with(&self, stream: Stdio) -> Result<Keeper> {
        self.check_socket_path()?;
        let pid_file = self.root.join("server.pid");
        let _ = std::fs::remove_file(&pid_file);
        let mut child = self.command()?.stdin(stream).spawn().map_err(|e| Error::io("start sh", e))?;
        let orders = child.stdin.take();
        let deadline = Instant::now() + Duration::from_millis(START_LIMIT_MS);
        let server_pid = loop {
            if let Some(pid) = read_pid(&pid_file).filter(|pid| self.is_ready(*pid)) {
                break pid;
            }
            if let Ok(Some(status)) = child.try_wait() {
                return Err(self.failed(&format!("ended with {status}")));
            }
            if Instant::now() >= deadline {
                drop(orders);
                return Err(self.failed(&format!("not ready after {START_LIMIT_MS} ms")));
            }
            std::thread::sleep(POLL);
        };
        Ok(Keeper { child, orders, server_pid })
    }

    fn command(&self) -> Result<Command> {
        let log_path = self.log();
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log_path)
            .map_err(|e| Error::io(format!("open {}", log_path.display()), e))?;
        let (hold, linger_s) = match self.hold {
            Hold::Pipe => ("pipe", 0),
            Hold::Lease { linger_s } => ("lease", linger_s),
        };
        let mut command = Command::new("/bin/sh");
        command.args(["-c", KEEPER, "pgflow-keeper"]).arg(&self.root).args([hold, &linger_s.to_string()]);
        command.arg(if self.temporary { "immediate remove" } else { "fast keep" });
        command.arg(if self.durable { "" } else { "--no-sync" });
        command.arg(self.binaries.initdb()).arg(self.binaries.postgres()).args(self.options());
        command.stdout(Stdio::null()).stderr(log);
        command.current_dir(&self.root).process_group(0);
        // A locale of the caller that this machine lacks would keep the server from starting.
        command.env("LC_ALL", "C");
        for (name, _) in std::env::vars_os() {
            // PGDATA, PGPORT, PGOPTIONS ... mean some other server.
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        if let Some(entry) = &self.account.drop_to {
            command.uid(entry.uid).gid(entry.gid);
        }
        Ok(command)
    }

    pub(super) fn options(&self) -> Vec<String> {
        let mut all: Vec<(&str, String)> = vec![
            ("listen_addresses", if self.tcp { "127.0.0.1".to_owned() } else { String::new() }),
            ("port", self.port.to_string()),
            ("unix_socket_directories", self.root.to_string_lossy().into_owned()),
        ];
        if !self.durable {
            all.extend(["fsync", "synchronous_commit", "full_page_writes"].map(|name| (name, "off".to_owned())));
        }
        all.extend(self.settings.iter().map(|(name, value)| (name.as_str(), value.clone())));
        all.into_iter().flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]).collect()
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.root.join(format!(".s.PGSQL.{}", self.port))
    }

    fn check_socket_path(&self) -> Result<()> {
        let path = self.socket();
        let bytes = path.as_os_str().len();
        if bytes <= SOCKET_PATH_BYTES_MAX && path.to_str().is_some_and(|text| !text.contains([',', '"', '\n'])) {
            return Ok(());
        }
        let why = format!(
            "a socket path is plain text of at most {SOCKET_PATH_BYTES_MAX} bytes, and {} has {bytes}: \
             use a shorter folder, or set TMPDIR=/tmp",
            path.display()
        );
        Err(Error::config("embedded Postgres", why))
    }

    /// The server says so itself, in the eighth line of the file that it locks its folder with. The pid tells our
    /// server from another one on the same folder.
    fn is_ready(&self, pid: u32) -> bool {
        let Ok(text) = std::fs::read_to_string(self.root.join("data/postmaster.pid")) else { return false };
        let mut lines = text.lines();
        lines.next() == Some(pid.to_string().as_str()) && lines.nth(6).is_some_and(|line| line.trim() == "ready")
    }

    fn failed(&self, what: &str) -> Error {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join(" | ");
        Error::state(format!("start Postgres {} in {}", self.binaries.version, self.root.display()), {
            format!("{what}: {tail}")
        })
    }
}

impl Keeper {
    /// Orders the end of the server and waits for it. `how` is one of the orders in `keeper.sh`.
    pub(super) fn end(&mut self, how: &str) -> Result<()> {
        if let Some(mut orders) = self.orders.take() {
            // A broken pipe means that the keeper ended already: then there is nothing to order.
            let _ = writeln!(orders, "{how}");
            let deadline = Instant::now() + Duration::from_millis(STOP_LIMIT_MS);
            while self.exit_status()?.is_none() {
                if Instant::now() >= deadline {
                    return Err(Error::timeout("stop embedded Postgres", STOP_LIMIT_MS));
                }
                std::thread::sleep(POLL);
            }
        }
        Ok(())
    }

    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().map_err(|e| Error::io("wait for the keeper of embedded Postgres", e))
    }
}

/// The number in the first line of a pid file.
pub(super) fn read_pid(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.lines().next()?.trim().parse().ok()
}
