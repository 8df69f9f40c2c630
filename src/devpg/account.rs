//! Whom the server runs as. Postgres refuses to run as root, so root drops to an account that has no rights.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Error, Result};

/// Who owns the server's files and processes.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    /// The account to change to; none if we already are an ordinary user.
    pub(crate) drop_to: Option<Entry>,
    /// Our own effective user id.
    pub(crate) own_uid: u32,
}

/// One line of the account table. initdb needs it: it looks its own user up by number.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Account {
    pub(crate) fn choose() -> Result<Self> {
        let own_uid = effective_uid()?;
        if own_uid != 0 {
            return Ok(Self { drop_to: None, own_uid });
        }
        let table = std::fs::read_to_string("/etc/passwd").map_err(|e| Error::io("read /etc/passwd", e))?;
        let entry = ["postgres", "nobody"].iter().find_map(|name| find_entry(&table, name)).ok_or_else(|| {
            Error::config("embedded Postgres", "root may not run it, and there is no user `postgres` nor `nobody`")
        })?;
        Ok(Self { drop_to: Some(entry), own_uid })
    }

    /// Errors if the server's user could not get to `path`, as it happens with folders below /root.
    pub(crate) fn must_reach(&self, path: &Path) -> Result<()> {
        let Some(entry) = &self.drop_to else { return Ok(()) };
        for part in path.ancestors().skip(1) {
            let Ok(meta) = std::fs::metadata(part) else { continue };
            let enter = if meta.uid() == entry.uid {
                0o100
            } else if meta.gid() == entry.gid {
                0o010
            } else {
                0o001
            };
            if meta.mode() & enter == 0 {
                let why = format!(
                    "started by root, the server runs as `{}`, who may not enter {}: choose a folder under /tmp or /var",
                    entry.name,
                    part.display()
                );
                return Err(Error::config(format!("use {}", path.display()), why));
            }
        }
        Ok(())
    }

    /// Gives `path` to the server's user.
    pub(crate) fn own(&self, path: &Path) -> Result<()> {
        let Some(entry) = &self.drop_to else { return Ok(()) };
        std::os::unix::fs::chown(path, Some(entry.uid), Some(entry.gid))
            .map_err(|e| Error::io(format!("give {} to `{}`", path.display(), entry.name), e))
    }

    pub(crate) fn server_uid(&self) -> u32 {
        self.drop_to.as_ref().map_or(self.own_uid, |entry| entry.uid)
    }
}

/// A new folder for one server, under the system's temporary folder: short, and open to the server's user.
pub(crate) fn temporary_dir() -> Result<PathBuf> {
    // More than the folders that killed processes of the same pid can have left behind.
    const TRIES_MAX: u32 = 1000;
    // Never a name twice in one process: whoever removes a folder late must not hit its successor.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let parent = std::env::temp_dir();
    let pid = std::process::id();
    for _ in 0..TRIES_MAX {
        let dir = parent.join(format!("pgflow-{pid}-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => return Ok(dir),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::io(format!("create {}", dir.display()), e)),
        }
    }
    Err(Error::state("create a temporary folder", format!("{} is full of old ones", parent.display())))
}

/// The standard library does not tell it; whoever owns a folder that we just made is us.
fn effective_uid() -> Result<u32> {
    let dir = temporary_dir()?;
    let meta = std::fs::metadata(&dir);
    let _ = std::fs::remove_dir(&dir);
    meta.map(|meta| meta.uid()).map_err(|e| Error::io("find our own user id", e))
}

fn find_entry(table: &str, name: &str) -> Option<Entry> {
    table.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Entry { name: name.to_owned(), uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_table_is_read_by_field() {
        let table = "root:x:0:0:root:/root:/bin/sh\n#bad\nnobody:x:65534:65533:nobody:/:/bin/false\n";
        let entry = find_entry(table, "nobody").expect("an entry");
        assert_eq!((entry.uid, entry.gid), (65534, 65533));
        assert!(find_entry(table, "postgres").is_none());
    }

    #[test]
    fn a_folder_that_the_server_cannot_enter_is_refused() {
        let dir = temporary_dir().expect("a folder");
        let stranger = Entry { name: "stranger".to_owned(), uid: 4_000_001, gid: 4_000_001 };
        let account = Account { drop_to: Some(stranger), own_uid: 0 };
        let error = account.must_reach(&dir.join("data")).expect_err("mode 0700 keeps strangers out");
        assert!(error.to_string().contains("may not enter"), "{error}");
        std::fs::remove_dir(&dir).expect("removed");
    }
}
