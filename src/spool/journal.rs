//! The journal: records are appended, read in order, and forgotten once they are in Postgres. All of it blocks.
//!
//! Old bytes are never changed. A start appends to a file of its own; a file is deleted when the last record in it is
//! forwarded, after the state says so.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use super::{
    aside::{Aside, Fate, SetAside},
    entry::Entry,
    folder::{self, State, fail},
    frame::{self, Read},
    scan::{self, Slot},
};
use crate::{Error, Result};

/// A segment that has reached this size, in bytes, is followed by a new one.
const SEGMENT_BYTES_MAX: u64 = 4 << 20;

/// A record on its way to Postgres.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) number: u64,
    pub(crate) entry: Entry,
}

/// What a call took out of what counts against the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// An open folder.
#[derive(Debug)]
pub(super) struct Journal {
    dir: PathBuf,
    /// The folder is ours as long as this is open.
    _lock: File,
    pub(super) state: State,
    /// The state on the disk is older.
    state_due: bool,
    aside: Aside,
    segments: BTreeMap<u64, File>,
    /// Which segment is appended to, and how long it is.
    current: Option<(u64, u64)>,
    /// A failed append may have left bytes behind that.
    dirty: bool,
    slots: VecDeque<Slot>,
    pub(super) next: u64,
}

impl Journal {
    /// Opens a folder: makes it, cuts a torn tail, sets aside what is wrong.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        folder::make(dir)?;
        let lock = folder::lock(dir)?;
        let mut aside = Aside::open(dir).map_err(fail("open the file of what is set aside in", dir))?;
        let known = folder::read_state(dir)?;
        let mut state = known.unwrap_or_else(|| State::fresh(0));
        if known.is_none() {
            // Numbers that were set aside are not given again: what is found twice under one number is written down once.
            state.forwarded = folder::segments(dir)?.first().map_or(aside.last, |first| first.saturating_sub(1));
        }
        let found = scan::scan(dir, &state, |number, id| aside.has_refused(number, id))?;
        if known.is_none() {
            state.doubtful_to = found.last;
            if !found.slots.is_empty() {
                tracing::warn!(target: "pgflow::spool", dir = %dir.display(), messages = found.slots.len(),
                    "the spool's state file is gone or damaged: each message is looked for in Postgres before it is forwarded");
            }
        }
        for line in &found.wrong {
            set_aside(&mut aside, dir, line)?;
        }
        let mut segments = BTreeMap::new();
        for segment in &found.segments {
            let path = folder::segment_path(dir, segment.first);
            let file = File::options().read(true).write(true).open(&path).map_err(fail("open", &path))?;
            if segment.torn {
                let cut = file.set_len(segment.good_bytes).and_then(|()| file.sync_all());
                cut.map_err(fail("cut the torn end of", &path))?;
            }
            segments.insert(segment.first, file);
        }
        let (slots, next) = (found.slots.into(), found.last.max(if known.is_none() { aside.last } else { 0 }) + 1);
        // The smaller: what was given since may have been lost, and its numbers come again.
        state.unmet_from = Some(state.unmet_from.map_or(next, |from| from.min(next)));
        let mut journal = Self {
            dir: dir.to_owned(),
            _lock: lock,
            state,
            state_due: true,
            aside,
            segments,
            current: None,
            dirty: false,
            slots,
            next,
        };
        journal.save_state()?;
        journal.delete_empty_segments()?;
        Ok(journal)
    }

    /// What waits, and what the folder holds besides, against the limits.
    pub(super) fn held(&self) -> Gone {
        let bytes = self.slots.iter().map(|slot| slot.counted).sum::<u64>() + self.aside.bytes;
        Gone { messages: self.slots.len() as u64, bytes }
    }

    /// Appends entries, all or none, and waits for the disk.
    pub(super) fn append(&mut self, entries: &[Vec<u8>]) -> Result<()> {
        let (segment, at) = self.writable()?;
        let file = &self.segments[&segment];
        let mut bytes = Vec::new();
        let mut slots = Vec::with_capacity(entries.len());
        for (number, entry) in (self.next..).zip(entries) {
            let frame = frame::encode(number, entry);
            let (offset, len) = (at + bytes.len() as u64 + 1, frame.len() - 2);
            slots.push(Slot { number, segment, offset, len, counted: frame::frame_bytes_max(entry.len()) });
            bytes.extend(frame);
        }
        if let Err(e) = file.write_all_at(&bytes, at).and_then(|()| file.sync_data()) {
            // After a failed fsync nobody knows what is on the disk: none of it may be taken for a record.
            self.dirty = true;
            let what = if self.clean().is_ok() {
                "append to"
            } else {
                "append (outcome unknown: it could not be taken back) to"
            };
            return Err(fail(what, &folder::segment_path(&self.dir, segment))(e));
        }
        self.next += slots.len() as u64;
        self.slots.extend(slots);
        self.current = Some((segment, at + bytes.len() as u64));
        Ok(())
    }

    /// The segment to append to, and its end.
    fn writable(&mut self) -> Result<(u64, u64)> {
        self.clean()?;
        // A file that somebody deleted goes on being read here, but nothing in it would outlive this process.
        let is_there = |segment: &u64| self.segments[segment].metadata().is_ok_and(|m| m.nlink() > 0);
        match self.current {
            Some((segment, end)) if end < SEGMENT_BYTES_MAX && is_there(&segment) => Ok((segment, end)),
            _ => {
                let file = folder::make_segment(&self.dir, self.next)?;
                self.segments.insert(self.next, file);
                (self.state.newest, self.state_due) = (self.next, true);
                self.save_state()?;
                self.current = Some((self.next, 0));
                Ok((self.next, 0))
            }
        }
    }

    /// Takes away what a failed append left: its numbers are given again.
    fn clean(&mut self) -> Result<()> {
        if let Some((segment, end)) = self.current.filter(|_| self.dirty) {
            let file = &self.segments[&segment];
            let cut = file.set_len(end).and_then(|()| file.sync_all());
            cut.map_err(fail("take back what a failed append left in", &folder::segment_path(&self.dir, segment)))?;
        }
        self.dirty = false;
        Ok(())
    }

    /// The oldest records, as many as these limits allow, one at least. Answers what had to be set aside on the way, too.
    pub(super) fn read(&mut self, messages_max: usize, bytes_max: u64) -> (Result<Vec<Record>>, Gone) {
        let (mut records, mut gone) = (Vec::new(), Gone::default());
        let read = self.read_into(&mut records, &mut gone, messages_max, bytes_max);
        // What can be read goes first, whatever ails what comes behind it.
        (if records.is_empty() { read.map(|()| records) } else { Ok(records) }, gone)
    }

    fn read_into(
        &mut self,
        records: &mut Vec<Record>,
        gone: &mut Gone,
        messages_max: usize,
        bytes_max: u64,
    ) -> Result<()> {
        let mut bytes = 0;
        while let Some(&slot) = self.slots.get(records.len()) {
            if records.len() >= messages_max || (bytes + slot.counted > bytes_max && !records.is_empty()) {
                break;
            }
            let mut piece = vec![0; slot.len];
            let path = folder::segment_path(&self.dir, slot.segment);
            let read = self.segments[&slot.segment].read_exact_at(&mut piece, slot.offset);
            let short = read.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::UnexpectedEof);
            if !short {
                read.map_err(fail("read", &path))?;
            }
            let entry = match frame::decode(&piece) {
                Read::Whole(number, entry) if number == slot.number => Entry::decode(&entry),
                _ => None,
            };
            match entry {
                Some(entry) => {
                    bytes += slot.counted;
                    records.push(Record { number: slot.number, entry });
                }
                None => {
                    let reason = "the bytes are not what was written";
                    let line = SetAside::new(Fate::Damaged, reason, slot.number, slot.number);
                    let taken = self.take(records.len(), &line.bytes(slot.segment, slot.offset, &piece))?;
                    *gone = Gone { messages: gone.messages + taken.messages, bytes: gone.bytes + taken.bytes };
                }
            }
        }
        Ok(())
    }

    /// Sets a record aside that Postgres refuses.
    pub(super) fn refuse(&mut self, record: &Record, reason: &str) -> Result<Gone> {
        let Some(at) = self.slots.iter().position(|slot| slot.number == record.number) else {
            return Ok(Gone::default());
        };
        let mut line = SetAside::new(Fate::Refused, reason, record.number, record.number);
        line.message = Some(record.entry.shown());
        self.take(at, &line)
    }

    /// What is set aside goes on counting, by its line's bytes.
    fn take(&mut self, at: usize, line: &SetAside) -> Result<Gone> {
        let before = self.aside.bytes;
        set_aside(&mut self.aside, &self.dir, line)?;
        let counted = self.slots.remove(at).map_or(0, |slot| slot.counted);
        Ok(Gone { messages: 1, bytes: counted.saturating_sub(self.aside.bytes - before) })
    }

    /// Forgets the records up to this number: they are in Postgres, or set aside.
    pub(super) fn forwarded(&mut self, to: u64) -> Result<Gone> {
        let mut gone = Gone::default();
        while let Some(slot) = self.slots.front().filter(|slot| slot.number <= to) {
            gone = Gone { messages: gone.messages + 1, bytes: gone.bytes + slot.counted };
            self.slots.pop_front();
        }
        if to > self.state.forwarded {
            (self.state.forwarded, self.state_due) = (to, true);
        }
        // On a full disk the state cannot be written: Postgres knows better anyway, and the files stay till it can.
        let kept = self.save_state().and_then(|()| self.delete_empty_segments());
        if let Err(error) = kept {
            tracing::warn!(target: "pgflow::spool", %error, "forwarded records stay in the folder for now");
        }
        Ok(gone)
    }

    /// Postgres knows no number that is yet to be given. Noted before anything is forwarded, by which it comes to know more.
    pub(super) fn met(&mut self) {
        self.state_due |= self.state.unmet_from.take().is_some();
        if let Err(error) = self.save_state() {
            // The next start then asks anew, and doubts its records if more is known by then: nothing is forwarded twice.
            tracing::warn!(target: "pgflow::spool", %error, "that Postgres was met is not noted in the folder for now");
        }
    }

    /// Takes a new name: what Postgres remembers of the old one is not about these records.
    pub(super) fn rename(&mut self) -> Result<()> {
        tracing::warn!(target: "pgflow::spool", dir = %self.dir.display(),
            "the spool is older than what was forwarded from it (restored, or its files were deleted): each message is looked for in Postgres before it is forwarded");
        let fresh = State::fresh(self.next - 1);
        self.state = State { forwarded: self.state.forwarded, newest: self.state.newest, ..fresh };
        self.state_due = true;
        self.save_state()
    }

    fn save_state(&mut self) -> Result<()> {
        if self.state_due {
            folder::write_state(&self.dir, &self.state)?;
            self.state_due = false;
        }
        Ok(())
    }

    /// Only after the state was saved that says so: else their records would be missed.
    fn delete_empty_segments(&mut self) -> Result<()> {
        let oldest = self.slots.front().map_or(u64::MAX, |slot| slot.segment);
        let empty: Vec<u64> = self.segments.range(..oldest).map(|(first, _)| *first).collect();
        // What was set aside is not missed when its file is gone, nor is a file that never had a record.
        let accounted = self.slots.front().map_or(self.next, |slot| slot.number) - 1;
        if accounted > self.state.forwarded {
            (self.state.forwarded, self.state_due) = (accounted, true);
        }
        if self.state.newest >= self.next && empty.contains(&self.state.newest) {
            (self.state.newest, self.state_due) = (0, true);
        }
        self.save_state()?;
        for first in &empty {
            let path = folder::segment_path(&self.dir, *first);
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(fail("delete", &path)(e)),
                _ => {}
            }
            self.segments.remove(first);
            if self.current.is_some_and(|(segment, _)| segment == *first) {
                (self.current, self.dirty) = (None, false);
            }
        }
        if empty.is_empty() { Ok(()) } else { folder::sync_folder(&self.dir) }
    }

    /// The error of an entry that cannot be written.
    pub(super) fn encode(entry: &Entry) -> Result<Vec<u8>> {
        entry.encode().map_err(|e| Error::state("spool: encode a message", e.to_string()))
    }
}

fn set_aside(aside: &mut Aside, dir: &Path, line: &SetAside) -> Result<()> {
    let new = aside.put(line).map_err(fail("set something aside in", dir))?;
    if new {
        let fate = format!("{:?}", line.fate).to_lowercase();
        tracing::error!(target: "pgflow::spool", dir = %dir.display(), fate, first = line.first, last = line.last,
            reason = line.reason, "set aside in aside.jsonl, not forwarded");
        metrics::counter!("pgflow_spool_set_aside_total", "fate" => fate).increment(1);
    }
    Ok(())
}
