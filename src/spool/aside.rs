//! What cannot be forwarded is set aside with its reason, never dropped: one JSON line each in `aside.jsonl`.

use std::{
    collections::{HashMap, HashSet},
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::entry::{hex, now_ms};

pub(super) const FILE: &str = "aside.jsonl";

/// Why something was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fate {
    /// Postgres does not take the message: its queue is unknown, or its payload too large.
    Refused,
    /// Bytes are not what was written.
    Damaged,
    /// The end of a file is cut off: a record that was being written when the process or the machine died. Nobody had been told
    /// that it was kept.
    Torn,
    /// Records are not there: a file was deleted or cut.
    Missing,
}

/// Something that was set aside, a line of `aside.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SetAside {
    /// When, in ms of the Unix epoch.
    pub at_ms: u64,
    /// What befell it.
    pub fate: Fate,
    /// In words.
    pub reason: String,
    /// The number of the first record, as far as known.
    pub first: u64,
    /// The number of the last record; less than `first` when no record is known to be lost.
    pub last: u64,
    /// The file, by the number of its first record, and where in it the bytes began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<(u64, u64)>,
    /// The message, if it can be read. `body` is JSON, or the bytes of another codec in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<serde_json::Value>,
    /// The bytes in hexadecimal, if it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
}

impl SetAside {
    pub(super) fn new(fate: Fate, reason: impl Into<String>, first: u64, last: u64) -> Self {
        Self { at_ms: now_ms(), fate, reason: reason.into(), first, last, place: None, message: None, bytes: None }
    }

    pub(super) fn bytes(mut self, segment: u64, offset: u64, bytes: &[u8]) -> Self {
        (self.place, self.bytes) = (Some((segment, offset)), Some(hex(bytes)));
        self
    }

    fn refused(&self) -> Option<(u64, String)> {
        let id = self.message.as_ref()?.get("message_id")?.as_str()?;
        (self.fate == Fate::Refused).then(|| (self.first, id.to_owned()))
    }

    pub(super) fn is_refusal_of(&self, number: u64, message_id: uuid::Uuid) -> bool {
        self.refused().is_some_and(|known| known == (number, message_id.to_string()))
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.key() == other.key()
    }

    fn key(&self) -> Key {
        (self.fate, self.first, self.place, self.refused().map(|(_, id)| id))
    }
}

/// What makes two lines the same: a start that finds the same again writes nothing.
type Key = (Fate, u64, Option<(u64, u64)>, Option<String>);

/// The lines of a folder; none when nothing was set aside. A torn last line is passed over: it is written again.
pub(super) fn read(dir: &Path) -> std::io::Result<Vec<SetAside>> {
    let file = match File::open(dir.join(FILE)) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut lines = Vec::new();
    for line in BufReader::new(file).split(b'\n') {
        lines.extend(serde_json::from_slice::<SetAside>(&line?));
    }
    Ok(lines)
}

/// The file, open for more.
#[derive(Debug)]
pub(super) struct Aside {
    file: File,
    known: HashSet<Key>,
    /// By number, the message's id.
    refused: HashMap<u64, String>,
    pub(super) bytes: u64,
    /// The greatest number in it when it was opened.
    pub(super) last: u64,
}

impl Aside {
    pub(super) fn open(dir: &Path) -> std::io::Result<Self> {
        let lines = read(dir)?;
        let mut file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(dir.join(FILE))?;
        let bytes = file.seek(std::io::SeekFrom::End(0))?;
        let known = lines.iter().map(SetAside::key).collect();
        let refused = lines.iter().filter_map(SetAside::refused).collect();
        let last = lines.iter().map(|line| line.first.max(line.last)).max().unwrap_or(0);
        Ok(Self { file, known, refused, bytes, last })
    }

    /// Whether this record is here already, refused. By its message's id, too: a folder that was emptied counts anew.
    pub(super) fn has_refused(&self, number: u64, message_id: uuid::Uuid) -> bool {
        self.refused.get(&number).is_some_and(|id| *id == message_id.to_string())
    }

    /// Writes a line and waits for the disk; one that is known already is not written again. Answers whether it was new.
    pub(super) fn put(&mut self, line: &SetAside) -> std::io::Result<bool> {
        if self.known.contains(&line.key()) {
            return Ok(false);
        }
        // A line that a full disk cut short before must not swallow this one.
        let mut text = serde_json::to_vec(line)?;
        text.insert(0, b'\n');
        text.push(b'\n');
        self.file.write_all(&text)?;
        self.file.sync_data()?;
        self.bytes += text.len() as u64;
        self.known.insert(line.key());
        self.refused.extend(line.refused());
        Ok(true)
    }
}
