//! The folder an instance owns, and the two things done to it: write a change, take it back.
//!
//! Calls block on the disk; [`crate::executor::FileExecutor`] runs them off the async threads.

mod error;

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::before_image::{
    BeforeImage, Standing, bytes, load, make_folder, remove_durably, save, save_record, write_durably,
};
use crate::change::Change;
use crate::git::{Git, Tracked};
use crate::locate::{LocateError, OWN_FOLDER, inside, locate};
use crate::text::fingerprint_bytes;

pub use error::WorkspaceError;
use error::at;

fn read(folder: &Path) -> Result<Option<BeforeImage>, WorkspaceError> {
    at("reading the before-image", load(folder))
}

/// A written change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The file, relative to the workspace.
    pub file: PathBuf,
    /// It did not exist before.
    pub created: bool,
    /// An earlier, unfinished run was undone first.
    pub again: bool,
}

/// What taking back did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reverted {
    /// The file has its old content.
    Restored,
    /// The file did not exist before, and does not again.
    Removed,
    /// It had been taken back already.
    Already,
    /// It was never written.
    NeverApplied,
}

/// A workspace this process owns until it is dropped.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
    owned: File,
    git: Option<Git>,
    writing: Mutex<()>,
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // Closing is not enough: a child process between fork and exec holds the file too.
        let _ = self.owned.unlock();
    }
}

impl Workspace {
    /// Opens an existing folder as workspace, and locks it against other processes.
    pub fn open(root: impl AsRef<Path>) -> Result<Self, WorkspaceError> {
        let root = at("opening the workspace", root.as_ref().canonicalize())?;
        let own = root.join(OWN_FOLDER);
        if own.is_symlink() {
            return Err(LocateError::Symlink(OWN_FOLDER.to_owned()).into());
        }
        at("making the workspace's own folder", make_folder(&own))?;
        let owned = at("opening the workspace's lock", File::create(own.join("lock")))?;
        match owned.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(WorkspaceError::InUse(root)),
            Err(TryLockError::Error(e)) => return at("locking the workspace", Err(e)),
        }
        // Before-images are nobody's commit.
        at("writing .gitignore", fs::write(own.join(".gitignore"), "*\n"))?;
        let git = Git::at(&root);
        Ok(Self { root, owned, git, writing: Mutex::new(()) })
    }

    /// The folder, canonical.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Writes a change: before-image saved and synced, then the file replaced at once.
    ///
    /// Called again for a change that is still open (a redelivery), it first restores what was there.
    pub fn apply(&self, proposal: Uuid, change: &Change) -> Result<Applied, WorkspaceError> {
        let _writing = self.lock();
        let folder = self.folder(proposal);
        let open = read(&folder)?.filter(|image| image.standing == Standing::Open);
        let again = open.is_some();
        if let Some(image) = &open {
            self.restore(&folder, image)?;
        }
        let file = locate(&self.root, &change.target)?;
        let name = file.to_string_lossy().into_owned();
        let image = match open {
            Some(image) if image.file == name => image,
            _ => {
                self.refuse_if_busy(&name, proposal)?;
                self.forget_reverted(proposal)?;
                self.capture(&folder, &name, &change.content)?
            }
        };
        let path = self.root.join(&file);
        if let Some(parent) = path.parent() {
            at("making the target's folder", make_folder(parent))?;
        }
        let mode = image.mode.unwrap_or(0o644);
        at("writing the change", write_durably(&folder, &path, change.content.as_bytes(), mode))?;
        if let Some(git) = self.git.as_ref().filter(|_| image.committed) {
            at("committing the change", git.commit_change(proposal, &image.file))?;
        }
        Ok(Applied { file, created: !image.existed(), again })
    }

    /// Takes a change back, byte for byte. Repeating it does nothing.
    pub fn revert(&self, proposal: Uuid) -> Result<Reverted, WorkspaceError> {
        let _writing = self.lock();
        let folder = self.folder(proposal);
        let Some(mut image) = read(&folder)? else { return Ok(Reverted::NeverApplied) };
        match image.standing {
            Standing::Reverted => return Ok(Reverted::Already),
            Standing::Kept if self.named_content(&image)? != Some(image.after.clone()) => {
                return Err(WorkspaceError::Superseded(image.file));
            }
            // A kept change whose file a newer, open change owns: its bytes may still be the same.
            Standing::Kept => self.refuse_if_busy(&image.file, proposal)?,
            Standing::Open => {}
        }
        self.restore(&folder, &image)?;
        if let Some(git) = self.git.as_ref().filter(|_| image.committed) {
            at("committing the revert", git.commit_revert(proposal, &image.file))?;
        }
        image.standing = Standing::Reverted;
        at("closing the before-image", save_record(&folder, &image))?;
        Ok(if image.existed() { Reverted::Restored } else { Reverted::Removed })
    }

    /// Is the file exactly as it was before the change? True as well for a change that was never written.
    pub fn verify_reverted(&self, proposal: Uuid) -> Result<bool, WorkspaceError> {
        let folder = self.folder(proposal);
        let Some(image) = read(&folder)? else { return Ok(true) };
        let now = self.current(&image)?;
        if !image.existed() {
            return Ok(now.is_none());
        }
        let then = at("reading the before-image", bytes(&folder, &image))?;
        Ok(now.is_some_and(|now| now == then))
    }

    /// The change proved itself: its file is free for other changes. It can be reverted until one of them is written.
    pub fn keep(&self, proposal: Uuid) -> Result<(), WorkspaceError> {
        let _writing = self.lock();
        let folder = self.folder(proposal);
        match read(&folder)? {
            Some(mut image) if image.standing == Standing::Open => {
                image.standing = Standing::Kept;
                at("closing the before-image", save_record(&folder, &image))
            }
            _ => Ok(()),
        }
    }

    /// What followed from taking a change back is done: it is as if it had never been written.
    pub fn forget(&self, proposal: Uuid) -> Result<(), WorkspaceError> {
        let _writing = self.lock();
        let folder = self.folder(proposal);
        match read(&folder)? {
            Some(image) if image.standing == Standing::Reverted => {
                at("removing a before-image", fs::remove_dir_all(folder))
            }
            _ => Ok(()),
        }
    }

    /// The before-image of a change, if it was begun.
    pub fn before_image(&self, proposal: Uuid) -> Result<Option<BeforeImage>, WorkspaceError> {
        read(&self.folder(proposal))
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self, proposal: Uuid) -> PathBuf {
        self.root.join(OWN_FOLDER).join(proposal.to_string())
    }

    fn capture(&self, folder: &Path, file: &str, content: &str) -> Result<BeforeImage, WorkspaceError> {
        let path = self.root.join(file);
        let replaced = match fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(WorkspaceError::Io { what: "reading the target", source }),
        };
        let committed = match (&self.git, &replaced) {
            (None, _) => false,
            (Some(git), None) => !git.ignores(file),
            (Some(git), Some(_)) => match at("asking git about the target", git.tracked(file))? {
                Tracked::Clean => true,
                Tracked::No => false,
                Tracked::Dirty => return Err(WorkspaceError::Uncommitted(file.to_owned())),
            },
        };
        let mode = match &replaced {
            Some(_) => Some(at("reading the target", path.metadata())?.permissions().mode() & 0o7777),
            None => None,
        };
        let mut missing: Vec<String> = Path::new(file)
            .ancestors()
            .skip(1)
            .filter(|folder| !folder.as_os_str().is_empty() && !self.root.join(folder).exists())
            .map(|folder| folder.to_string_lossy().into_owned())
            .collect();
        missing.reverse();
        let image = BeforeImage {
            file: file.to_owned(),
            standing: Standing::Open,
            mode,
            length: replaced.as_ref().map_or(0, |b| b.len() as u64),
            made_folders: missing,
            after: fingerprint_bytes(content.as_bytes()),
            committed,
        };
        at("saving the before-image", save(folder, &image, replaced.as_deref()))?;
        Ok(image)
    }

    fn restore(&self, folder: &Path, image: &BeforeImage) -> Result<(), WorkspaceError> {
        // Checked again: a link may have been put in the way since.
        let path = self.root.join(inside(&self.root, &image.file)?);
        if let Some(mode) = image.mode {
            let replaced = at("reading the before-image", bytes(folder, image))?;
            if let Some(parent) = path.parent() {
                at("making the target's folder", make_folder(parent))?;
            }
            return at("restoring the before-image", write_durably(folder, &path, &replaced, mode));
        }
        if path.parent().is_some_and(Path::is_dir) {
            at("removing the new file", remove_durably(&path))?;
        }
        for made in image.made_folders.iter().rev() {
            // Not empty: something else lives there now, and keeps it.
            let _ = fs::remove_dir(self.root.join(made));
        }
        Ok(())
    }

    fn current(&self, image: &BeforeImage) -> Result<Option<Vec<u8>>, WorkspaceError> {
        let path = self.root.join(inside(&self.root, &image.file)?);
        match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(WorkspaceError::Io { what: "reading the target", source }),
        }
    }

    fn named_content(&self, image: &BeforeImage) -> Result<Option<String>, WorkspaceError> {
        Ok(self.current(image)?.map(|bytes| fingerprint_bytes(&bytes)))
    }

    fn refuse_if_busy(&self, file: &str, proposal: Uuid) -> Result<(), WorkspaceError> {
        for (other, image) in self.others(proposal)? {
            if image.standing == Standing::Open && image.file == file {
                return Err(WorkspaceError::Busy { file: file.to_owned(), by: other });
            }
        }
        Ok(())
    }

    /// What was taken back is where it was before: nobody needs its before-image any more.
    fn forget_reverted(&self, proposal: Uuid) -> Result<(), WorkspaceError> {
        for (other, image) in self.others(proposal)? {
            if image.standing == Standing::Reverted {
                at("removing a before-image", fs::remove_dir_all(self.folder(other)))?;
            }
        }
        Ok(())
    }

    /// The before-images of all other changes.
    fn others(&self, proposal: Uuid) -> Result<Vec<(Uuid, BeforeImage)>, WorkspaceError> {
        let mut found = Vec::new();
        for entry in at("listing before-images", fs::read_dir(self.root.join(OWN_FOLDER)))? {
            let entry = at("listing before-images", entry)?;
            let Some(other) = entry.file_name().to_str().and_then(|n| Uuid::parse_str(n).ok()) else { continue };
            if other == proposal {
                continue;
            }
            found.extend(read(&entry.path())?.map(|image| (other, image)));
        }
        Ok(found)
    }
}
