//! The one thread that touches the folder. Appends that wait for one another's disk write share the next one.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, mpsc},
};

use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    Counts,
    folder::State,
    journal::{Journal, Record},
};
use crate::{Error, Result};

/// Most appends that share one write.
const GROUP_MAX: usize = 1_024;

/// What the thread is asked.
pub(super) enum Ask {
    /// Entries of one call, all or none, which were admitted for so many bytes.
    Append { entries: Vec<Vec<u8>>, bytes: u64, reply: oneshot::Sender<Result<()>> },
    /// The oldest records within these limits.
    Read { messages_max: usize, bytes_max: u64, reply: oneshot::Sender<Result<Vec<Record>>> },
    /// Postgres refuses this record.
    Refuse { record: Box<Record>, reason: String, reply: oneshot::Sender<Result<()>> },
    /// The records up to this number are in Postgres.
    Forwarded { to: u64, reply: oneshot::Sender<Result<()>> },
    /// The folder's memory is older than that of Postgres.
    Rename { reply: oneshot::Sender<Result<()>> },
    /// Postgres' memory agrees with the folder's.
    Met { reply: oneshot::Sender<Result<()>> },
    /// What the folder remembers.
    Identity { reply: oneshot::Sender<Result<Identity>> },
}

/// What a folder remembers of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    /// Its name in Postgres.
    pub(crate) spool_id: Uuid,
    /// Up to this number it was forwarded, as it knows.
    pub(crate) forwarded: u64,
    /// Up to this number every record is doubtful.
    pub(crate) doubtful_to: u64,
    /// The first number that was given without meeting Postgres.
    pub(crate) unmet_from: Option<u64>,
}

/// Opens the folder on a thread of its own, which ends when nobody can ask it any more.
pub(super) async fn start(dir: PathBuf, counts: Arc<Counts>) -> Result<mpsc::Sender<Ask>> {
    let (asks, asked) = mpsc::channel();
    let (reply, opened) = oneshot::channel();
    let run = move || match Journal::open(&dir) {
        Ok(journal) => {
            counts.begin(journal.held());
            // An opener that was dropped meanwhile takes the other end along, and the loop ends at once.
            let _ = reply.send(Ok(()));
            Writer { journal, counts }.run(&asked);
        }
        Err(e) => {
            let _ = reply.send(Err(e));
        }
    };
    let thread = std::thread::Builder::new().name("pgflow spool".into()).spawn(run);
    thread.map_err(|e| Error::io("spool: start its thread", e))?;
    opened.await.unwrap_or_else(|_| Err(gone()))?;
    Ok(asks)
}

/// The error of an ask that nobody will answer.
pub(super) fn gone() -> Error {
    Error::state("spool", "its thread has ended over a bug: start the process anew")
}

struct Writer {
    journal: Journal,
    counts: Arc<Counts>,
}

impl Writer {
    fn run(mut self, asked: &mpsc::Receiver<Ask>) {
        let mut waiting = VecDeque::new();
        while let Some(ask) = waiting.pop_front().or_else(|| asked.recv().ok()) {
            if matches!(ask, Ask::Append { .. }) {
                let mut group = vec![ask];
                while group.len() < GROUP_MAX {
                    match waiting.pop_front().or_else(|| asked.try_recv().ok()) {
                        Some(ask @ Ask::Append { .. }) => group.push(ask),
                        Some(other) => {
                            waiting.push_front(other);
                            break;
                        }
                        None => break,
                    }
                }
                self.append(group);
            } else {
                self.answer(ask);
            }
        }
    }

    fn append(&mut self, group: Vec<Ask>) {
        let (mut entries, mut callers) = (Vec::new(), Vec::new());
        for ask in group {
            let Ask::Append { entries: some, bytes, reply } = ask else { continue };
            callers.push((some.len() as u64, bytes, reply));
            entries.extend(some);
        }
        let appended = self.journal.append(&entries);
        for (messages, bytes, reply) in callers {
            let answer = match &appended {
                Ok(()) => {
                    // Here, for whoever asked may be gone.
                    self.counts.arrived.notify_one();
                    Ok(())
                }
                Err(e) => {
                    self.counts.release(super::journal::Gone { messages, bytes });
                    Err(e.same_for_another())
                }
            };
            // Whoever asked may have been dropped: the message is spooled all the same.
            let _ = reply.send(answer);
        }
        self.counts.changed();
    }

    fn answer(&mut self, ask: Ask) {
        // A caller that is gone needs no answer.
        match ask {
            Ask::Append { .. } => {}
            Ask::Read { messages_max, bytes_max, reply } => {
                let (read, gone) = self.journal.read(messages_max, bytes_max);
                self.counts.release(gone);
                let _ = reply.send(read);
            }
            Ask::Refuse { record, reason, reply } => {
                let refused = self.journal.refuse(&record, &reason).map(|gone| self.counts.release(gone));
                let _ = reply.send(refused);
            }
            Ask::Forwarded { to, reply } => {
                let done = self.journal.forwarded(to).map(|gone| self.counts.release(gone));
                let _ = reply.send(done);
            }
            Ask::Met { reply } => {
                self.journal.met();
                let _ = reply.send(Ok(()));
            }
            Ask::Rename { reply } => {
                let _ = reply.send(self.journal.rename());
            }
            Ask::Identity { reply } => {
                let State { spool_id, forwarded, doubtful_to, unmet_from, .. } = self.journal.state;
                let _ = reply.send(Ok(Identity { spool_id, forwarded, doubtful_to, unmet_from }));
            }
        }
        self.counts.changed();
    }
}
