//! The folder: its lock, its state file, its segments, and the rule that a new name is on the disk before it counts.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::frame::{self, Read};
use crate::{Error, Result};

/// How long an opener waits for a holder that is just ending, in ms.
const LOCK_WAIT_MS_MAX: u64 = 1_000;
const LOCK_RETRY_MS: u64 = 20;

/// Of a folder's mode: its group, or everybody, may write.
const OTHERS_WRITE: u32 = 0o022;

const LOCK: &str = "lock";
const STATE: &str = "state";
const SEGMENT_SUFFIX: &str = ".seg";

/// What the spool knows of itself besides its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Under this name Postgres remembers how far it was forwarded.
    pub(super) spool_id: Uuid,
    /// Up to this number all records are in Postgres, or set aside.
    pub(super) forwarded: u64,
    /// Up to this number nobody knows which records were forwarded: the memory of it was lost.
    pub(super) doubtful_to: u64,
    /// The first number of the newest segment: it is missed when it is gone.
    pub(super) newest: u64,
    /// The first number that was given since a start that has not met Postgres, over all starts since then. None: it was met, and every
    /// number that Postgres knows was given before.
    pub(super) unmet_from: Option<u64>,
}

impl State {
    pub(super) fn fresh(doubtful_to: u64) -> Self {
        Self { spool_id: Uuid::now_v7(), forwarded: 0, doubtful_to, newest: 0, unmet_from: None }
    }
}

/// An error on a path of the folder.
pub(super) fn fail(what: &str, path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |e| Error::io(format!("spool: {what} {}", path.display()), e)
}

/// Makes the folder, for its owner alone.
pub(super) fn make(dir: &Path) -> Result<()> {
    if let Ok(there) = std::fs::metadata(dir)
        && there.is_dir()
    {
        if there.permissions().mode() & OTHERS_WRITE != 0 {
            tracing::warn!(target: "pgflow::spool", dir = %dir.display(), "others than its owner may write into the spool's folder");
        }
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail("make", dir))?;
    // Its own name must outlive a power cut, too.
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_folder(parent)
}

/// Waits until names made or removed in the folder are on the disk.
pub(super) fn sync_folder(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|folder| folder.sync_all()).map_err(fail("sync", dir))
}

/// Takes the folder for this process, until the file is closed.
pub(super) fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK);
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(fail("open", &path))?;
    let give_up = Instant::now() + Duration::from_millis(LOCK_WAIT_MS_MAX);
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if Instant::now() < give_up => {
                std::thread::sleep(Duration::from_millis(LOCK_RETRY_MS));
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let why = format!(
                    "process {} uses this folder: give each process a spool of its own, and a program that runs a Runtime its publisher",
                    holder.trim()
                );
                return Err(Error::state(format!("spool {}", dir.display()), why));
            }
            Err(TryLockError::Error(e)) => return Err(fail("lock", &path)(e)),
        }
    }
    // For the text of the other's error only.
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(fail("write", &path))?;
    Ok(file)
}

/// Whether anything of a spool is in the folder, which must be there.
pub(super) fn is_spool(dir: &Path) -> Result<bool> {
    Ok(!segments(dir)?.is_empty() || [STATE, super::aside::FILE].iter().any(|name| dir.join(name).exists()))
}

/// Whether some process has the folder now.
pub(super) fn is_locked(dir: &Path) -> bool {
    let Ok(file) = File::open(dir.join(LOCK)) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// The state; none when the file is not there or cannot be read.
pub(super) fn read_state(dir: &Path) -> Result<Option<State>> {
    let path = dir.join(STATE);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fail("read", &path)(e)),
    };
    let state = frame::pieces(&bytes).find_map(|(_, piece)| match frame::decode(piece) {
        Read::Whole(_, state) => postcard::from_bytes(&state).ok(),
        Read::Foreign(_) | Read::Damaged => None,
    });
    Ok(state)
}

/// Replaces the state; a crash leaves the old one or the new one.
pub(super) fn write_state(dir: &Path, state: &State) -> Result<()> {
    let (path, draft) = (dir.join(STATE), dir.join("state.new"));
    let text = postcard::to_stdvec(state).map_err(|e| Error::state("spool: encode its state", e.to_string()))?;
    let write = || {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
        file.write_all(&frame::encode(0, &text))?;
        file.sync_data()?;
        std::fs::rename(&draft, &path)
    };
    write().map_err(fail("write", &path))?;
    sync_folder(dir)
}

pub(super) fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}{SEGMENT_SUFFIX}"))
}

/// The segments that are there, by the number of their first record, in order.
pub(super) fn segments(dir: &Path) -> Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fail("read", dir))? {
        let name = entry.map_err(fail("read", dir))?.file_name();
        let number: Option<u64> =
            name.to_str().and_then(|name| name.strip_suffix(SEGMENT_SUFFIX)).and_then(|n| n.parse().ok());
        found.extend(number);
    }
    found.sort_unstable();
    Ok(found)
}

/// A segment that is not there yet.
pub(super) fn make_segment(dir: &Path, first: u64) -> Result<File> {
    let path = segment_path(dir, first);
    let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).mode(0o600).open(&path);
    let file = file.map_err(fail("make", &path))?;
    sync_folder(dir)?;
    Ok(file)
}
