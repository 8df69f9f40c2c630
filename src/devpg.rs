//! A Postgres server of our own for development, demonstrations and tests: no installation step, no port, no password.
//!
//! ```no_run
//! # fn main() -> pgflow::Result<()> {
//! let server = pgflow::devpg::DevPg::builder().durable(false).setting("max_connections", "300").start()?;
//! println!("{}", server.url());
//! server.stop(pgflow::devpg::StopMode::Fast)?;
//! # Ok(())
//! # }
//! ```
//!
//! It runs programs that are installed already (see [`DevPg::builder`]), as the same user, or as `postgres` or `nobody`
//! when started by root. By default it can be reached only through a Unix socket in a folder that other users cannot
//! enter; whoever reaches it is superuser. It never outlives the process that started it, not even if that is killed.
//!
//! The calls block the thread: up to a second for a first start, 20 ms for another one, and as long as crash
//! recovery or a checkpoint takes. In async code use `tokio::task::spawn_blocking`.

mod account;
mod binaries;
mod launch;
mod shared;

use std::path::{Path, PathBuf};

use account::{Account, temporary_dir};
use binaries::Binaries;
pub use binaries::PG_BIN_VARIABLE;
use launch::{Hold, Keeper, Launch};
pub use shared::SharedPg;

use crate::error::{Error, Result};

/// Postgres' own default: it is in the name of the socket, even when nothing listens on TCP.
const PORT_DEFAULT: u16 = 5432;

/// How to stop a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Ends all sessions, writes a checkpoint.
    Fast,
    /// As in a crash: no checkpoint; the next start recovers from the log.
    Immediate,
}

impl StopMode {
    fn word(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Immediate => "immediate",
        }
    }
}

/// What to start: see [`DevPg::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    bin_dir: Option<PathBuf>,
    data_dir: Option<PathBuf>,
    durable: bool,
    port: Option<u16>,
    settings: Vec<(String, String)>,
    linger_s: u32,
}

impl Builder {
    /// The folder of `initdb` and `postgres`, instead of a search.
    pub fn bin_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.bin_dir = Some(dir.into());
        self
    }

    /// Keeps the cluster in this folder (in `data`, besides the server's `log` and its socket), and starts it from there
    /// if it exists. Without this it lives in a temporary folder and is removed in the end.
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(dir.into());
        self
    }

    /// False switches `fsync`, `synchronous_commit` and `full_page_writes` off: for tests. Default: true.
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// Listens on this port of 127.0.0.1, too: any user of the machine is then superuser of the server.
    pub fn port(mut self, port: Option<u16>) -> Self {
        self.port = port;
        self
    }

    /// A server setting, such as `max_connections` and `300`. Later ones win.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Starts the server and returns when it accepts connections.
    ///
    /// # Errors
    /// If no programs are found, the folder cannot be used, or the server does not start: the text has the last lines
    /// of its log.
    pub fn start(self) -> Result<DevPg> {
        let account = Account::choose()?;
        let root = match &self.data_dir {
            Some(dir) => prepare(dir, &account)?,
            None => temporary_dir()?,
        };
        let temporary = self.data_dir.is_none();
        let started = self.launch(account, root.clone(), temporary, Hold::Pipe).and_then(|launch| {
            launch.account.must_reach(&launch.root)?;
            launch.account.own(&launch.root)?;
            let keeper = launch.start()?;
            Ok(DevPg { launch, keeper })
        });
        if started.is_err() && temporary {
            let _ = std::fs::remove_dir_all(&root);
        }
        started
    }

    fn launch(self, account: Account, root: PathBuf, temporary: bool, hold: Hold) -> Result<Launch> {
        if self.port == Some(0) {
            return Err(Error::config("embedded Postgres", "port 0: Postgres does not choose one by itself"));
        }
        let binaries = match &self.bin_dir {
            Some(dir) => Binaries::in_dir(dir)?,
            None => Binaries::find()?,
        };
        account.must_reach(&binaries.postgres())?;
        Ok(Launch {
            binaries,
            account,
            root,
            tcp: self.port.is_some(),
            port: self.port.unwrap_or(PORT_DEFAULT),
            durable: self.durable,
            settings: self.settings,
            hold,
            temporary,
        })
    }
}

/// Makes the folder of a kept cluster. Takes nobody's folder away: it is empty, or holds a cluster of the same user.
fn prepare(dir: &Path, account: &Account) -> Result<PathBuf> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let phase = || format!("use {} as data folder", dir.display());
    // Only the folder itself is closed to others: the server's user must get through those above it.
    dir.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(|e| Error::io(phase(), e))?;
    match std::fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(Error::io(phase(), e)),
        _ => {}
    }
    let root = dir.canonicalize().map_err(|e| Error::io(phase(), e))?;
    let mut entries = std::fs::read_dir(&root).map_err(|e| Error::io(phase(), e))?;
    if entries.next().is_none() {
        return Ok(root);
    }
    match std::fs::metadata(root.join("data/PG_VERSION")) {
        Ok(meta) if meta.uid() == account.server_uid() => Ok(root),
        Ok(meta) => Err(Error::config(phase(), format!("its cluster belongs to user number {}", meta.uid()))),
        // What a start that was cut off leaves behind.
        Err(_) if root.join("log").is_file() => Ok(root),
        Err(_) => Err(Error::config(phase(), "it is not empty and holds no cluster of ours")),
    }
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct DevPg {
    launch: Launch,
    keeper: Keeper,
}

impl DevPg {
    /// A server in a temporary folder, durable, without TCP, unless told otherwise.
    ///
    /// The programs `initdb` and `postgres` are those in the folder that the environment variable `PGFLOW_PG_BIN`
    /// names, else in `pg_config --bindir`, `/usr/lib/postgresql/*/bin` (the newest), Homebrew's, or in `PATH`.
    pub fn builder() -> Builder {
        Builder {
            bin_dir: None,
            data_dir: None,
            durable: true,
            port: None,
            settings: Vec::new(),
            linger_s: shared::LINGER_S_DEFAULT,
        }
    }

    /// The URL of the database `postgres`, for psql and tokio-postgres alike.
    pub fn url(&self) -> String {
        self.url_for("postgres")
    }

    /// The URL of a database of this name; it need not exist yet.
    pub fn url_for(&self, database: &str) -> String {
        socket_url(&self.launch, database)
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.keeper.server_pid
    }

    /// The folder of the server's programs.
    pub fn bin_dir(&self) -> &Path {
        &self.launch.binaries.dir
    }

    /// The server's major version.
    pub fn major(&self) -> u16 {
        self.launch.binaries.major
    }

    /// The folder of the cluster: `data`, `log`, and the socket.
    pub fn root(&self) -> &Path {
        &self.launch.root
    }

    /// The file that the server logs to.
    pub fn log(&self) -> PathBuf {
        self.launch.log()
    }

    /// False once the server has ended, by [`stop_keep`](Self::stop_keep) or by itself.
    pub fn is_running(&mut self) -> bool {
        self.keeper.is_running()
    }

    /// Stops the server, waits until it is gone, and removes its folder if that is a temporary one.
    ///
    /// # Errors
    /// If the server is still there after 40 s.
    pub fn stop(mut self, mode: StopMode) -> Result<()> {
        self.end(mode)
    }

    /// Stops the server and keeps its data, temporary or not, for [`restart`](Self::restart).
    ///
    /// # Errors
    /// If the server is still there after 40 s.
    pub fn stop_keep(&mut self, mode: StopMode) -> Result<()> {
        self.keeper.end(&format!("{} keep", mode.word()))
    }

    /// Stops the server if it runs, and starts it on the same data. The URLs stay the same, the pid changes.
    ///
    /// # Errors
    /// If it does not stop, or does not start.
    pub fn restart(&mut self, mode: StopMode) -> Result<()> {
        self.stop_keep(mode)?;
        self.keeper = self.launch.start()?;
        Ok(())
    }

    fn end(&mut self, mode: StopMode) -> Result<()> {
        let fate = if self.launch.temporary { "remove" } else { "keep" };
        let ended = self.keeper.end(&format!("{} {fate}", mode.word()));
        if self.launch.temporary {
            // The keeper removed it, unless the server had ended before, or the parent folder is not the user's.
            let _ = std::fs::remove_dir_all(&self.launch.root);
        }
        ended
    }
}

impl Drop for DevPg {
    fn drop(&mut self) {
        // Nobody needs a checkpoint of what is about to be removed.
        let _ = self.end(if self.launch.temporary { StopMode::Immediate } else { StopMode::Fast });
    }
}

fn socket_url(launch: &Launch, database: &str) -> String {
    let host = percent_encoded(&launch.root.to_string_lossy());
    let port = if launch.port == PORT_DEFAULT { String::new() } else { format!("&port={}", launch.port) };
    format!("postgresql://postgres@/{}?host={host}{port}", percent_encoded(database))
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
