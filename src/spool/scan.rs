//! Reading a whole folder: which records are good, and what is not as it was written.

use std::path::Path;

use super::{
    aside::{Fate, SetAside},
    entry::Entry,
    folder::{self, State},
    frame::{self, Read},
};
use crate::{Error, Result};

/// Where a good record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) number: u64,
    /// Its file, by the number of the file's first record.
    pub(super) segment: u64,
    pub(super) offset: u64,
    /// Of the piece, without its zeros.
    pub(super) len: usize,
    /// What it counts for against the limit, in bytes.
    pub(super) counted: u64,
}

/// One file.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) first: u64,
    /// Where it is to be cut: behind its last whole piece.
    pub(super) good_bytes: u64,
    /// Behind that lie bytes of a record that was never finished.
    pub(super) torn: bool,
}

/// A folder as it was found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) segments: Vec<Segment>,
    /// Those that were not forwarded, in order.
    pub(super) slots: Vec<Slot>,
    /// The greatest number that is known to have been given.
    pub(super) last: u64,
    /// When the oldest of them was published.
    pub(super) oldest_ms: Option<u64>,
    pub(super) wrong: Vec<SetAside>,
}

/// Reads the folder and changes nothing. `refused` tells which records were set aside already.
pub(super) fn scan(dir: &Path, state: &State, refused: impl Fn(u64, uuid::Uuid) -> bool) -> Result<Scan> {
    let mut found = Scan { last: state.forwarded.max(state.doubtful_to), ..Scan::default() };
    // The last number that was accounted for, and whether damage lies behind it.
    let (mut seen, mut damaged) = (state.forwarded, false);
    // Where the records of a call begin that was not seen to its end: number, how many slots are before it, its place in its file.
    let mut open: Option<(u64, usize, usize)> = None;
    for first in folder::segments(dir)? {
        let path = folder::segment_path(dir, first);
        let bytes = std::fs::read(&path).map_err(folder::fail("read", &path))?;
        let mut segment = Segment { first, good_bytes: bytes.len() as u64, torn: false };
        let mut bad: Option<(usize, usize)> = None;
        for (at, piece) in frame::pieces(&bytes) {
            let unfinished = at + piece.len() == bytes.len();
            let mut read = frame::decode(piece);
            let mut len = piece.len();
            if unfinished && read == Read::Damaged && len > 1 {
                // A whole record whose closing zero was flipped is not torn.
                len -= 1;
                read = frame::decode(&piece[..len]);
            }
            let entry = match read {
                Read::Foreign(version) => {
                    let why = format!(
                        "{} is of format {version}, which this pgflow cannot read: use a newer one",
                        path.display()
                    );
                    return Err(Error::state(format!("spool {}", dir.display()), why));
                }
                Read::Whole(number, entry) => Entry::decode(&entry).map(|e| (number, e, entry.len())),
                Read::Damaged => None,
            };
            match entry {
                Some((number, ..)) if number <= seen && number <= state.forwarded => {
                    // The record before was forwarded, and whatever lies before it.
                    bad = None;
                }
                Some((number, entry, bytes_of_it)) if number > seen => {
                    if let Some((from, to)) = bad.take() {
                        found.wrong.push(damage(first, from, &bytes[from..to], seen + 1, number - 1));
                    } else if number > seen + 1 && !damaged {
                        found.wrong.push(missing(seen + 1, number - 1));
                    }
                    (seen, damaged) = (number, false);
                    open = if entry.more { open.or(Some((number, found.slots.len(), at))) } else { None };
                    if !refused(number, entry.message_id) {
                        let counted = frame::frame_bytes_max(bytes_of_it);
                        found.oldest_ms.get_or_insert(entry.published_ms);
                        found.slots.push(Slot { number, segment: first, offset: at as u64, len, counted });
                    }
                }
                _ if unfinished => {
                    segment.torn = true;
                    // The zero that opens the unfinished frame goes, too.
                    segment.good_bytes = (at as u64).saturating_sub(1);
                    let reason = "the file ends within a record, which nobody had been told was kept";
                    found.wrong.push(SetAside::new(Fate::Torn, reason, seen + 1, seen).bytes(first, at as u64, piece));
                }
                _ => bad = Some((bad.map_or(at, |(from, _)| from), at + piece.len())),
            }
        }
        if let Some((from, to)) = bad {
            // Which records it was shows the next number, in a later file.
            found.wrong.push(damage(first, from, &bytes[from..to], seen + 1, seen));
            damaged = true;
        }
        found.segments.push(segment);
    }
    if let (Some((number, slots, at)), Some(segment)) = (open, found.segments.last_mut()) {
        // It is the last call, whose write was cut short; all of it lies in the last file.
        let reason = "the file ends within the records of one call, which nobody had been told were kept";
        let mut line = SetAside::new(Fate::Torn, reason, number, number - 1);
        line.place = Some((segment.first, at as u64));
        found.wrong.push(line);
        (segment.torn, segment.good_bytes) = (true, (at as u64).saturating_sub(1));
        found.slots.truncate(slots);
        seen = number - 1;
    }
    let newest_is_there = found.segments.iter().any(|s| s.first == state.newest);
    if state.newest > seen && !newest_is_there {
        found.wrong.push(missing(seen + 1, state.newest));
    }
    // No number is given twice: what was given to the newest segment's first record is gone with it.
    found.last = found.last.max(seen).max(if newest_is_there { 0 } else { state.newest });
    Ok(found)
}

fn damage(segment: u64, from: usize, bytes: &[u8], first: u64, last: u64) -> SetAside {
    SetAside::new(Fate::Damaged, "the bytes are not what was written", first, last).bytes(segment, from as u64, bytes)
}

fn missing(first: u64, last: u64) -> SetAside {
    SetAside::new(Fate::Missing, "the records are not there: a file of the spool was deleted or cut", first, last)
}
