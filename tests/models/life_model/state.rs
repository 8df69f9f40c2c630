//! What one state of a claimed message's life holds.

use super::law::{Family, Refused, Step, Token};

/// A set of claims, by number.
pub(crate) type Mask = u8;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// The tables.
    pub(crate) family: Family,
    /// Rows whose claim is not on the disk yet, the oldest first: the log is written in order.
    pub(crate) volatile: Vec<usize>,
    pub(crate) instances: Vec<Instance>,
    /// What every instance has of every claim, and its settles under way, in the order of the claims.
    pub(crate) runs: Vec<Run>,
    /// The server has crashed a moment ago: claims wait for the disk.
    pub(crate) wary: bool,
    /// Claims so far. Each has a number of its own, whatever its token is.
    pub(crate) claims: u8,
    /// The number of each row's newest claim that the server remembers.
    pub(crate) owners: [u8; 2],
    /// Of counted tokens: how many the server remembers.
    pub(crate) counted: Token,
    pub(crate) budget: Budget,
    pub(crate) seen: Seen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Instance {
    pub(crate) process: Process,
    /// Its listener holds its liveness lock.
    pub(crate) locked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Process {
    Up,
    /// Its listener has no connection, for longer than a rescue waits; all else goes on.
    Deaf,
    /// SIGSTOP, past its lease.
    Frozen,
    Dead,
}

/// One claim of one row, as it goes on in the process that sent it, or in the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Run {
    pub(crate) row: usize,
    pub(crate) by: usize,
    /// Which claim it is.
    pub(crate) number: u8,
    pub(crate) token: Token,
    pub(crate) stage: Stage,
    /// It may go on beside another: its process was cut off, or its claim was forgotten.
    pub(crate) excused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// The claim is committed, its answer on its way.
    Answer,
    /// In the ledger, and with a worker soon.
    Held,
    /// The handler runs; its effects are in an open transaction.
    Running,
    /// The outcome is on its way to the server, which carries it out also when its sender is dead.
    Settling(Outcome),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// The handler's COMMIT, with the settle in front of it.
    Commit,
    /// Broken variant: the settle without the effect, which is committed already.
    Done,
    Failed,
    /// It is refused: dead at once.
    Rejected,
    HandBack,
    /// Broken variant: frees the key.
    Release,
}

/// How often each fault may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    /// `kill -9`.
    pub(crate) deaths: u8,
    pub(crate) freezes: u8,
    pub(crate) cuts: u8,
    /// Answers that do not arrive.
    pub(crate) losses: u8,
    /// Of the server.
    pub(crate) crashes: u8,
    /// A claim that is handed back unstarted, as at a stop.
    pub(crate) hand_backs: u8,
    pub(crate) claims: u8,
}

/// What nobody in the world knows: counted for the properties alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    /// A settle took away another claim's row.
    pub(crate) stolen: bool,
    /// An effect was committed before that of a message before it, or its death.
    pub(crate) reordered: bool,
    pub(crate) effects: [u8; 2],
    /// Of each row, the claims under which a run was begun.
    pub(crate) begun: [Mask; 2],
    /// Claims that never were, since a crash.
    pub(crate) forgotten: Mask,
    /// Situations that a scenario has to reach.
    pub(crate) fenced: bool,
    pub(crate) rescued: bool,
    pub(crate) disowned: bool,
}

impl State {
    /// Its process runs.
    pub(crate) fn acts(&self, i: usize) -> bool {
        matches!(self.instances[i].process, Process::Up | Process::Deaf)
    }

    pub(crate) fn is_dead(&self, i: usize) -> bool {
        self.instances[i].process == Process::Dead
    }

    /// Row `m` takes a step that its place allows.
    pub(crate) fn take(&mut self, m: usize, step: Step) {
        self.family.step(m, step).expect("it was enabled");
    }

    /// Broken variants: what ends keeps its key.
    pub(crate) fn take_and_keep_key(&mut self, m: usize, step: Step) -> Result<(), Refused> {
        self.family.rows[m] = self.family.rows[m].step(step, self.family.tries_max)?;
        Ok(())
    }
}
