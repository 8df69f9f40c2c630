//! What each process saw, as JSON lines: written by the process itself, read after the cell by the checker alone.
//!
//! One thread writes: it takes all lines that wait, appends them, and makes them durable with one `fdatasync`. An act that
//! must not happen unseen (a publish, a handler's work) waits for that; an outcome does not, since nothing follows from it.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::mpsc,
    time::SystemTime,
};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::traffic::Act;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// About to publish.
    Invoke { uid: i64, queue: String, priority: i16, key: Option<String>, act: Act, delay_ms: u64 },
    /// The publish was acknowledged.
    Ok { uid: i64, id: i64 },
    /// The publish was acknowledged: the message is on the publisher's disk.
    Spooled { uid: i64 },
    /// The cell has destroyed its record in the spool: from now on it may be nowhere.
    Spoilt { uid: i64 },
    /// Nobody knows whether it is there.
    Info { uid: i64, why: String },
    /// It is certainly not there.
    Fail { uid: i64, why: String },
    /// A handler begins; `run` tells this run from all others.
    Start { uid: i64, id: i64, attempt: u32, run: i64 },
    /// Its handler returned.
    Finish { uid: i64, run: i64 },
    /// The instance's listener stands, or no longer.
    Listening { up: bool },
    /// The instance has stopped, with its counters.
    Ended { found_by_heartbeat: u64, found_by_takeover: u64 },
    /// The instance's tree gave up: it must be started anew.
    GaveUp,
    /// A fault was injected, on somebody or on all.
    Fault { what: String, on: Option<String> },
    /// The server accepts again.
    Accepts,
    /// The asynchronous standby gets nothing from here on: until it is promoted (and accepts), what is confirmed may be lost.
    Behind,
    /// All instances listen at the new primary.
    Moved,
    /// Every fault is over; what is published from now on meets a healthy system.
    Calm,
    /// All messages as one statement saw them: rows, and different ids among them.
    Snapshot { rows: i64, ids: i64 },
}

/// An event, when it happened (µs since 1970, the machine's clock), and who wrote it down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub at: i64,
    pub by: String,
    #[serde(flatten)]
    pub event: Event,
}

pub fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_micros()).expect("before the year 292277")
}

/// A process's own history. A clone writes to the same file.
#[derive(Clone)]
pub struct Journal {
    by: String,
    /// What this process's clock is ahead, where a cell puts it wrong: lines tell the machine's time all the same.
    ahead_us: i64,
    lines: mpsc::Sender<(String, Option<oneshot::Sender<()>>)>,
}

impl Journal {
    /// Appends to the file of this name in the folder.
    pub fn open(dir: &Path, by: &str, ahead_us: i64) -> Self {
        let path = dir.join(format!("{by}.jsonl"));
        let file = OpenOptions::new().create(true).append(true).open(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        let (lines, waiting) = mpsc::channel();
        std::thread::spawn(move || write_all(file, &waiting));
        Self { by: by.into(), ahead_us, lines }
    }

    /// Written soon.
    pub fn note(&self, event: Event) {
        self.send(event, None);
    }

    /// Returns when the line is on the disk.
    pub async fn durable(&self, event: Event) {
        let (written, wait) = oneshot::channel();
        self.send(event, Some(written));
        wait.await.expect("the writer lives as long as its journal");
    }

    /// Returns when every line before is on the disk.
    pub async fn flush(&self) {
        let (written, wait) = oneshot::channel();
        let _ = self.lines.send((String::new(), Some(written)));
        let _ = wait.await;
    }

    fn send(&self, event: Event, written: Option<oneshot::Sender<()>>) {
        let line = Line { at: now_us() - self.ahead_us, by: self.by.clone(), event };
        let text = serde_json::to_string(&line).expect("a line encodes") + "\n";
        let _ = self.lines.send((text, written));
    }
}

fn write_all(mut file: File, waiting: &mpsc::Receiver<(String, Option<oneshot::Sender<()>>)>) {
    while let Ok(first) = waiting.recv() {
        let batch: Vec<_> = std::iter::once(first).chain(waiting.try_iter()).collect();
        let text: String = batch.iter().map(|(line, _)| line.as_str()).collect();
        file.write_all(text.as_bytes()).and_then(|()| file.sync_data()).expect("the history is written");
        for (_, written) in batch {
            let _ = written.map(|w| w.send(()));
        }
    }
}

/// Every line of every history in the folder, in the order of time.
pub fn read(dir: &Path) -> Vec<Line> {
    let entries = std::fs::read_dir(dir).expect("the histories");
    let files: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "jsonl")).collect();
    let mut lines: Vec<Line> =
        files.iter().flat_map(|f| parse(&std::fs::read_to_string(f).expect("a history"))).collect();
    lines.sort_by_key(|line| line.at);
    lines
}

/// A process killed in the middle of a line leaves half of it at the end: that act did not happen.
fn parse(text: &str) -> Vec<Line> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

/// Fear: half a line that a killed process leaves behind makes the whole history unreadable.
#[tokio::test]
async fn a_torn_last_line_is_no_act() {
    let dir = super::cell::folder("torn");
    let journal = Journal::open(&dir, "a", 0);
    journal.durable(Event::Calm).await;
    let path = dir.join("a.jsonl");
    let torn = std::fs::read_to_string(&path).unwrap() + "{\"at\":1,\"by\":\"a\",\"ev";
    std::fs::write(&path, torn).unwrap();
    let events: Vec<Event> = read(&dir).into_iter().map(|line| line.event).collect();
    assert_eq!(events, [Event::Calm]);
    std::fs::remove_dir_all(&dir).unwrap();
}
