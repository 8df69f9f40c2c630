//! F11: the spool's folder is damaged while nobody has it: a segment deleted, a bit flipped, the end torn off.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use pgflow::spool::{Fate, inspect};

use super::{
    cell::Cell,
    history::{self, Event},
};
use crate::support::eventually;

const SOON: Duration = Duration::from_secs(60);
/// So many messages at least in each segment.
const MESSAGES_MIN: usize = 30;

/// A record in a segment: where it lies, its number, and the uid of its message.
struct Record {
    begin: usize,
    len: usize,
    number: u64,
    uid: i64,
}

/// The whole records of a segment, in order. A frame is COBS between zeros: version, number, entry, checksum.
fn records(segment: &[u8]) -> Vec<Record> {
    let mut begin = 0;
    let mut found = Vec::new();
    for piece in segment.split(|byte| *byte == 0) {
        if let Some((number, uid)) = cobs::decode_vec(piece).ok().and_then(|plain| read(&plain)) {
            found.push(Record { begin, len: piece.len(), number, uid });
        }
        begin += piece.len() + 1;
    }
    found
}

fn read(plain: &[u8]) -> Option<(u64, i64)> {
    let number = u64::from_le_bytes(plain.get(1..9)?.try_into().ok()?);
    let name = b"\"uid\":";
    let at = plain.windows(name.len()).position(|window| window == name)? + name.len();
    let digits: Vec<u8> = plain[at..].iter().copied().take_while(u8::is_ascii_digit).collect();
    Some((number, String::from_utf8(digits).ok()?.parse().ok()?))
}

impl Cell {
    /// So many publishes were acknowledged as spooled.
    async fn spooled(&self, n: usize) {
        eventually(SOON, || async {
            history::read(&self.dir).iter().filter(|l| matches!(l.event, Event::Spooled { .. })).count() >= n
        })
        .await;
    }

    fn segments(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.spool.as_ref().expect("a spool")).expect("the folder").flatten();
        let mut found: Vec<PathBuf> =
            files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|e| e == "seg")).collect();
        found.sort();
        found
    }
}

/// Fear: damage takes along what it did not touch, or is told to nobody.
#[tokio::test(flavor = "multi_thread")]
async fn f11_a_damaged_spool() {
    const FAULT: &str = "in the spool a segment deleted, a bit flipped, the end torn off; publishers killed";
    let Some(mut cell) = Cell::shared("F11", FAULT).await else { return };
    cell.proxies = Some(HashMap::new());
    cell.spool = Some(cell.dir.join("spool"));
    cell.start(3).await;
    cell.pause(1_000).await;
    cell.part_publishers(true).await;
    // Each start of the publishers writes a segment of its own.
    for round in 1..=3 {
        cell.spooled(round * MESSAGES_MIN).await;
        cell.kill_publishers();
        if round < 3 {
            cell.publish_from(10 * u32::try_from(round).expect("few")).await;
        }
    }
    let [deleted, flipped, torn] = &cell.segments()[..] else { panic!("three segments: {:?}", cell.segments()) };
    let mut spoilt = records(&std::fs::read(deleted).expect("it is read"));
    let missing = spoilt.last().expect("records").number;
    std::fs::remove_file(deleted).expect("it goes");

    let mut bytes = std::fs::read(flipped).expect("it is read");
    let victim = records(&bytes).swap_remove(MESSAGES_MIN / 2);
    let at = victim.begin + victim.len / 2;
    // Not into a zero, which would make two pieces of it.
    bytes[at] ^= if bytes[at] == 0x40 { 0x20 } else { 0x40 };
    std::fs::write(flipped, &bytes).expect("it is written");
    let damaged = victim.number;

    let bytes = std::fs::read(torn).expect("it is read");
    let last = records(&bytes).pop().expect("records");
    std::fs::write(torn, &bytes[..last.begin + last.len / 2]).expect("it is written");
    spoilt.extend([victim, last]);
    for record in spoilt {
        cell.journal.note(Event::Spoilt { uid: record.uid });
    }
    cell.told = 3;

    cell.part_publishers(false).await;
    cell.publish_from(30).await;
    eventually(SOON, || {
        let loading = cell.loading();
        async move { !loading }
    })
    .await;
    let aside = inspect(cell.spool.as_ref().expect("a spool")).expect("it is read").aside;
    let told = |fate: Fate| aside.iter().find(|line| line.fate == fate).map(|line| (line.first, line.last));
    assert!(told(Fate::Missing).is_some_and(|(first, last)| first <= last && last == missing), "{aside:?}");
    assert_eq!(told(Fate::Damaged), Some((damaged, damaged)), "{aside:?}");
    assert!(told(Fate::Torn).is_some(), "{aside:?}");
    cell.finish().await;
}
