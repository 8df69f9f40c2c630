//! What a change replaced, kept on disk until nobody can ask for it back.
//!
//! One folder per proposal, `.evolution/<proposal id>/` in the workspace: `before.bytes` (the replaced content; no
//! file when there was none) and `before.json` (this record). The record is written last, so that where it is, the
//! bytes are. Everything is synced before the change itself is written. That of a change that was taken back goes with the next
//! change that is written; that of one that was kept stays.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::tag::tagged;

tagged! {
    /// What may still happen to a before-image.
    pub enum Standing {
        /// The change is under way or being watched; it owns its file.
        Open = "open",
        /// The change was kept. It can be reverted as long as nothing newer replaced it.
        Kept = "kept",
        /// The change was taken back.
        Reverted = "reverted",
    }
}

/// The record beside the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeforeImage {
    /// The file, relative to the workspace.
    pub file: String,
    /// What may still happen.
    pub standing: Standing,
    /// Permission bits of the replaced file; `None` when there was no file.
    pub mode: Option<u32>,
    /// Length of the replaced file.
    pub length: u64,
    /// Folders that did not exist either, outermost first.
    pub made_folders: Vec<String>,
    /// Name of the content the change wrote.
    pub after: String,
    /// The workspace is a git repository and the file one of its own: the change is a commit, and so is its end.
    #[serde(default)]
    pub committed: bool,
}

const RECORD: &str = "before.json";
const BYTES: &str = "before.bytes";
const TEMPORARY: &str = "writing";

impl BeforeImage {
    /// Did the file exist?
    pub const fn existed(&self) -> bool {
        self.mode.is_some()
    }
}

/// Reads the record in `folder`; none when the change was never begun.
pub(crate) fn load(folder: &Path) -> io::Result<Option<BeforeImage>> {
    match fs::read(folder.join(RECORD)) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(io::Error::other),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Reads the replaced bytes, and refuses them when they are not as long as the record says.
pub(crate) fn bytes(folder: &Path, image: &BeforeImage) -> io::Result<Vec<u8>> {
    let bytes = fs::read(folder.join(BYTES))?;
    if bytes.len() as u64 == image.length {
        return Ok(bytes);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the before-image has the wrong length"))
}

/// Saves bytes (when there was a file), then the record.
pub(crate) fn save(folder: &Path, image: &BeforeImage, replaced: Option<&[u8]>) -> io::Result<()> {
    make_folder(folder)?;
    if let Some(bytes) = replaced {
        write_durably(folder, &folder.join(BYTES), bytes, 0o600)?;
    }
    save_record(folder, image)
}

/// Saves the record alone.
pub(crate) fn save_record(folder: &Path, image: &BeforeImage) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(image)?;
    write_durably(folder, &folder.join(RECORD), &text, 0o600)
}

/// Replaces `path` at once and durably: a synced temporary file in `beside` (same file system), renamed, folder synced.
pub(crate) fn write_durably(beside: &Path, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let temporary = beside.join(TEMPORARY);
    match fs::remove_file(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_parent(path)
}

/// Makes one folder and its missing parents, each synced into the one above.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        make_folder(parent)?;
    }
    match fs::create_dir(folder) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => sync_parent(folder),
    }
}

/// Removes a file if it is there, durably.
pub(crate) fn remove_durably(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_parent(path),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
