//! One server for many processes, as the tests of one run need it: the first starts it, the last one's end ends it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::account::{Account, temporary_dir};
use super::launch::{Hold, Launch};
use super::{Builder, socket_url};
use crate::error::{Error, Result};

const PHASE: &str = "share embedded Postgres";

/// How long the server outlives its last user: longer than from one test's process to the next one's, shorter than
/// anybody takes to wonder what still runs.
pub(super) const LINGER_S_DEFAULT: u32 = 4;

impl Builder {
    /// How many seconds a shared server outlives its last user. Default: 4.
    pub fn linger_s(mut self, seconds: u32) -> Self {
        self.linger_s = seconds;
        self
    }

    /// Joins the server of this name, or starts it. Users with the same name, settings and programs share one; it
    /// ends, and its folder goes, some [seconds](Self::linger_s) after the last of them dropped its [`SharedPg`] or died.
    ///
    /// # Errors
    /// As [`start`](Self::start); and if a data folder or a port was set, which cannot be shared under a name.
    pub fn share(self, name: &str) -> Result<SharedPg> {
        if self.data_dir.is_some() || self.port.is_some() {
            return Err(Error::config(PHASE, "a shared server has a temporary folder and no port"));
        }
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()) {
            return Err(Error::config(PHASE, format!("{name:?}: a name is made of a-z and 0-9")));
        }
        let account = Account::choose()?;
        let hold = Hold::Lease { linger_s: self.linger_s };
        let mut launch = self.launch(account, PathBuf::new(), true, hold)?;
        // One at a time joins or starts. The file says where the server is; it stays, since removing a lock file
        // that another process is about to lock would let two in.
        let mut place = Place::lock(&launch, name)?;
        if let Some(root) = place.read()? {
            launch.root = root;
            if let Some(lease) = join(&launch) {
                return Ok(SharedPg { launch, _lease: lease });
            }
        }
        // Always a new folder: what the last one's keeper may still be removing is not ours to touch.
        launch.root = temporary_dir()?;
        let lease = start(&launch).inspect_err(|_| {
            let _ = std::fs::remove_dir_all(&launch.root);
        })?;
        place.write(&launch.root)?;
        Ok(SharedPg { launch, _lease: lease })
    }
}

/// A hold on a server that other processes may hold, too. Dropping it lets go.
#[derive(Debug)]
pub struct SharedPg {
    launch: Launch,
    _lease: File,
}

impl SharedPg {
    /// The URL of the database `postgres`, for psql and tokio-postgres alike.
    pub fn url(&self) -> String {
        self.url_for("postgres")
    }

    /// The URL of a database of this name; it need not exist yet.
    pub fn url_for(&self, database: &str) -> String {
        socket_url(&self.launch, database)
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
}

/// The locked file that holds the folder of the current server.
struct Place {
    file: File,
    path: PathBuf,
}

impl Place {
    fn lock(launch: &Launch, name: &str) -> Result<Self> {
        let own_uid = launch.account.own_uid;
        let path = std::env::temp_dir().join(format!("pgflow-{own_uid}-{name}-{:08x}", fingerprint(launch)));
        let failed = |e| Error::io(format!("lock {}", path.display()), e);
        let mut options = OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(options.read(true).write(true).create(true).truncate(false), 0o600);
        let file = options.open(&path).map_err(failed)?;
        if file.metadata().map_err(failed)?.uid() != own_uid {
            return Err(Error::state(PHASE, format!("{} belongs to somebody else", path.display())));
        }
        file.lock().map_err(failed)?;
        Ok(Self { file, path })
    }

    fn read(&mut self) -> Result<Option<PathBuf>> {
        let mut text = String::new();
        self.file.read_to_string(&mut text).map_err(|e| Error::io(format!("read {}", self.path.display()), e))?;
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    }

    fn write(&mut self, root: &Path) -> Result<()> {
        let mut replace = || {
            self.file.rewind()?;
            self.file.set_len(0)?;
            self.file.write_all(root.as_os_str().as_encoded_bytes())
        };
        replace().map_err(|e| Error::io(format!("write {}", self.path.display()), e))
    }
}

/// A hold on the running server; none if it is about to end, or gone.
fn join(launch: &Launch) -> Option<File> {
    let path = launch.root.join("lease");
    let mut lease = open_lease(&path).ok()?;
    // The keeper takes the FIFO's name away before it looks for such lines a last time. So if the name is still there
    // after this, the line is seen.
    lease.write_all(b"user\n").ok()?;
    std::fs::metadata(&path).ok()?;
    UnixStream::connect(launch.socket()).ok()?;
    Some(lease)
}

fn start(launch: &Launch) -> Result<File> {
    let path = launch.root.join("lease");
    launch.account.must_reach(&launch.root)?;
    launch.account.own(&launch.root)?;
    let mut mkfifo = Command::new("mkfifo");
    mkfifo.args(["-m", "600"]).arg(&path).stdin(Stdio::null());
    if let Some(entry) = &launch.account.drop_to {
        mkfifo.uid(entry.uid).gid(entry.gid);
    }
    let made = mkfifo.status().map_err(|e| Error::io("run mkfifo", e))?;
    if !made.success() {
        return Err(Error::state(PHASE, format!("mkfifo {} failed", path.display())));
    }
    let lease = open_lease(&path).map_err(|e| Error::io(format!("open {}", path.display()), e))?;
    launch.start_with(Stdio::from(lease.try_clone().map_err(|e| Error::io("hold the lease", e))?))?;
    Ok(lease)
}

/// For reading, too: then no open waits for the other side.
fn open_lease(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Of what must be equal for two users to mean the same server.
fn fingerprint(launch: &Launch) -> u32 {
    let Launch { binaries, hold, .. } = launch;
    let text = format!("{}|{}|{hold:?}|{:?}", binaries.version, binaries.dir.display(), launch.options());
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
