//! The local spool: a journal on this machine's disk for what is published while Postgres is away.
//!
//! It knows nothing of Postgres. A publisher appends, and answers its caller when the record is on the disk; the forwarder reads the
//! oldest records, writes them into the tables, and says up to which number they are there. A spool belongs to one process.
//!
//! The folder: `lock`, held by the process; `state`, how far it was forwarded; `N.seg`, the records from number N on; `aside.jsonl`, what
//! could not be forwarded, and why. Only its owner can read it.

mod aside;
mod clock;
mod entry;
mod folder;
mod frame;
mod journal;
mod scan;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use serde::Serialize;
use tokio::sync::{Notify, oneshot, watch};
use uuid::Uuid;

pub use self::aside::{Fate, SetAside};
pub(crate) use self::{entry::Entry, journal::Record, writer::Identity};
use self::{
    journal::{Gone, Journal},
    writer::Ask,
};
use crate::{Config, Error, Result};

/// How long a publish waits for the last records to be forwarded before it is spooled, too, in ms.
const LAST_MS_MAX: u64 = 1_000;

/// What waits in a spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Spooled {
    /// Messages that are not in Postgres yet.
    pub messages: u64,
    /// Their bytes in the folder, with what was set aside there.
    pub bytes: u64,
}

/// A spool's folder as it lies on the disk: see [`inspect`].
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// Whether a process has it open now. Then the figures may be a moment old.
    pub in_use: bool,
    /// What waits. Messages that Postgres has, though the process could not note it any more, are among them until the next drain.
    pub spooled: Spooled,
    /// When the oldest of them was published, by this machine's clock (RFC 3339, UTC).
    pub oldest_at: Option<String>,
    /// What was set aside, or is to be at the next start, the oldest first.
    pub aside: Vec<SetAside>,
}

/// Looks into a spool's folder and changes nothing; also while a process uses it. Blocks the thread while it reads all of it.
///
/// # Errors
/// When the folder is not there, is no spool, or cannot be read.
pub fn inspect(dir: impl AsRef<Path>) -> Result<Inspection> {
    let dir = dir.as_ref();
    if !folder::is_spool(dir)? {
        return Err(Error::state("read the spool", format!("no spool in {}", dir.display())));
    }
    let in_use = folder::is_locked(dir);
    let mut aside = aside::read(dir).map_err(folder::fail("read what is set aside in", dir))?;
    let known = folder::read_state(dir)?;
    let mut state = known.unwrap_or_else(|| folder::State::fresh(0));
    if known.is_none() {
        state.forwarded = folder::segments(dir)?.first().map_or(0, |first| first.saturating_sub(1));
    }
    let refused = |number, id: Uuid| aside.iter().any(|line| line.is_refusal_of(number, id));
    let found = scan::scan(dir, &state, refused)?;
    let aside_bytes = std::fs::metadata(dir.join(aside::FILE)).map_or(0, |m| m.len());
    let spooled = Spooled {
        messages: found.slots.len() as u64,
        bytes: found.slots.iter().map(|slot| slot.counted).sum::<u64>() + aside_bytes,
    };
    // A record that is being written now is not torn.
    let new = found.wrong.into_iter().filter(|line| !in_use || line.fate != Fate::Torn);
    let new: Vec<SetAside> = new.filter(|line| !aside.iter().any(|known| known.is_same(line))).collect();
    aside.extend(new);
    Ok(Inspection { in_use, spooled, oldest_at: found.oldest_ms.map(clock::rfc3339), aside })
}

/// What counts against the limits, and who is told when it changes.
struct Counts {
    held: Mutex<Spooled>,
    /// Changes with every answer of the thread, and with every failed try to forward.
    progress: watch::Sender<Progress>,
    /// Something was spooled.
    arrived: Notify,
}

/// How forwarding goes.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// How many forward now: one, or none after a stop.
    forwarders: i32,
    failures: u64,
    error: String,
    /// Postgres takes what is spooled, and all that is left is on its way to it.
    nearly_empty: bool,
}

impl Counts {
    fn held(&self) -> MutexGuard<'_, Spooled> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, held: Gone) {
        *self.held() = Spooled { messages: held.messages, bytes: held.bytes };
        self.changed();
    }

    fn release(&self, gone: Gone) {
        let mut held = self.held();
        held.messages = held.messages.saturating_sub(gone.messages);
        held.bytes = held.bytes.saturating_sub(gone.bytes);
    }

    fn changed(&self) {
        let Spooled { messages, bytes } = *self.held();
        metrics::gauge!("pgflow_spool_messages").set(messages as f64);
        metrics::gauge!("pgflow_spool_bytes").set(bytes as f64);
        self.progress.send_modify(|_| ());
    }
}

/// An open spool. A clone is the same one; the folder is let go with the last.
#[derive(Clone)]
pub(crate) struct Spool {
    dir: Arc<Path>,
    counts: Arc<Counts>,
    asks: mpsc::Sender<Ask>,
    limits: Spooled,
    /// Somebody waits for it to be forwarded.
    hurry: Arc<Notify>,
}

impl Spool {
    /// Opens the folder that the settings name, if they name one. Reads all that is in it.
    pub(crate) async fn open(config: &Config) -> Result<Option<Self>> {
        let Some(dir) = &config.spool_dir else { return Ok(None) };
        let dir = std::path::absolute(dir).unwrap_or_else(|_| PathBuf::from(dir));
        let progress = watch::channel(Progress::default()).0;
        let counts = Arc::new(Counts { held: Mutex::default(), progress, arrived: Notify::new() });
        let asks = writer::start(dir.clone(), counts.clone()).await?;
        Ok(Some(Self {
            dir: dir.into(),
            counts,
            asks,
            limits: Spooled { messages: config.spool_messages_max, bytes: config.spool_bytes_max },
            hurry: Arc::default(),
        }))
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What waits, records on their way to the disk included.
    pub(crate) fn held(&self) -> Spooled {
        *self.counts.held()
    }

    /// Whether a publish may go past it: everything that was spooled before is in Postgres.
    pub(crate) fn is_empty(&self) -> bool {
        self.held().messages == 0
    }

    /// Writes messages down in this order, all or none, and answers when they are on the disk. `why`: why Postgres does not take them.
    ///
    /// Dropping the future leaves it open whether they are spooled.
    pub(crate) async fn append(&self, mut entries: Vec<Entry>, why: &str) -> Result<()> {
        if let Some((_, before)) = entries.split_last_mut() {
            before.iter_mut().for_each(|entry| entry.more = true);
        }
        let entries: Vec<Vec<u8>> = entries.iter().map(Journal::encode).collect::<Result<_>>()?;
        let (messages, bytes) =
            (entries.len() as u64, entries.iter().map(|e| frame::frame_bytes_max(e.len())).sum::<u64>());
        self.admit(messages, bytes, why)?;
        self.ask(|reply| Ask::Append { entries, bytes, reply }).await
    }

    fn admit(&self, messages: u64, bytes: u64, why: &str) -> Result<()> {
        let mut held = self.counts.held();
        let limits = self.limits;
        if held.messages + messages > limits.messages || held.bytes + bytes > limits.bytes {
            let text = format!(
                "no room for {messages} more messages of {bytes} bytes: {} of {} messages and {} of {} bytes wait or are set aside there, and {why}",
                held.messages, limits.messages, held.bytes, limits.bytes
            );
            return Err(Error::full(format!("spool {}", self.dir.display()), text));
        }
        held.messages += messages;
        held.bytes += bytes;
        Ok(())
    }

    /// The oldest records, which stay. Empty: there are none.
    pub(crate) async fn read(&self, messages_max: usize, bytes_max: u64) -> Result<Vec<Record>> {
        self.ask(|reply| Ask::Read { messages_max, bytes_max, reply }).await
    }

    /// Sets a record aside that Postgres refuses, for this reason.
    pub(crate) async fn refuse(&self, record: Record, reason: String) -> Result<()> {
        self.ask(|reply| Ask::Refuse { record: Box::new(record), reason, reply }).await
    }

    /// The records up to this number are in Postgres, or set aside.
    pub(crate) async fn forwarded(&self, to: u64) -> Result<()> {
        self.ask(|reply| Ask::Forwarded { to, reply }).await
    }

    /// Takes a new identity, and doubts every record that is here.
    pub(crate) async fn rename(&self) -> Result<()> {
        self.ask(|reply| Ask::Rename { reply }).await
    }

    /// Postgres knows no number that is yet to be given.
    pub(crate) async fn met(&self) -> Result<()> {
        self.ask(|reply| Ask::Met { reply }).await
    }

    /// What the folder remembers of itself.
    pub(crate) async fn identity(&self) -> Result<Identity> {
        self.ask(|reply| Ask::Identity { reply }).await
    }

    async fn ask<T>(&self, make: impl FnOnce(oneshot::Sender<Result<T>>) -> Ask) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(make(reply)).map_err(|_| writer::gone())?;
        answer.await.map_err(|_| writer::gone())?
    }

    /// Waits until something is spooled, or somebody is in a hurry.
    pub(crate) async fn arrived(&self) {
        tokio::select! {
            () = self.counts.arrived.notified() => {}
            () = self.hurry.notified() => {}
        }
    }

    /// Waits until somebody is in a hurry.
    pub(crate) async fn hurried(&self) {
        self.hurry.notified().await;
    }

    /// All that is left is on its way into Postgres, or is not.
    pub(crate) fn set_nearly_empty(&self, nearly: bool) {
        self.counts.progress.send_if_modified(|p| std::mem::replace(&mut p.nearly_empty, nearly) != nearly);
    }

    /// Whether a publish may go past it, waiting for the last records if those are about to be forwarded. Without this wait, publishers
    /// that never pause would keep it from getting empty for ever.
    pub(crate) async fn lets_pass(&self) -> bool {
        if self.is_empty() {
            return true;
        }
        let mut progress = self.counts.progress.subscribe();
        let last = progress.wait_for(|p| !p.nearly_empty || self.is_empty());
        if tokio::time::timeout(Duration::from_millis(LAST_MS_MAX), last).await.is_err() {
            // It hangs: the next one need not wait.
            self.set_nearly_empty(false);
        }
        self.is_empty()
    }

    /// One more, or one less, forwards from here.
    pub(crate) fn forwarders(&self, change: i32) {
        self.counts.progress.send_modify(|p| p.forwarders += change);
    }

    /// A try to forward has failed.
    pub(crate) fn failed(&self, error: &Error) {
        self.counts.progress.send_modify(|p| {
            p.failures += 1;
            p.error = error.to_string();
            p.nearly_empty = false;
        });
    }

    /// Has the forwarder try now, and waits until nothing is left, or a try has failed.
    pub(crate) async fn drained(&self) -> Result<()> {
        let mut progress = self.counts.progress.subscribe();
        let before = progress.borrow_and_update().failures;
        self.hurry.notify_one();
        loop {
            if self.is_empty() {
                return Ok(());
            }
            let now = progress.borrow_and_update().clone();
            let phase = || format!("forward {} messages of spool {}", self.held().messages, self.dir.display());
            if now.failures > before {
                return Err(Error::away(phase(), now.error));
            }
            if now.forwarders < 1 {
                return Err(Error::state(phase(), "its runtime has stopped: they are forwarded when it starts again"));
            }
            progress.changed().await.map_err(|_| writer::gone())?;
        }
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("dir", &self.dir).field("held", &self.held()).finish_non_exhaustive()
    }
}
