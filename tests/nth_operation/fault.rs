//! Which operation fails, and how. An operation is one round trip; its number counts those of its name over all connections of a life.

use std::{collections::BTreeMap, fmt, sync::Mutex};

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// The server refuses it (53200, out of memory), and does nothing; a COMMIT refused is a rollback.
    Refused,
    /// The connection ends, and the server has never seen it.
    CutBefore,
    /// The server has done it; the connection ends in place of the answer.
    CutAfter,
}

impl How {
    pub(crate) const ALL: [Self; 3] = [Self::Refused, Self::CutBefore, Self::CutAfter];
}

/// One operation of a life that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) operation: String,
    /// From 1.
    pub(crate) number: usize,
    pub(crate) how: How,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {} no. {}", self.how, self.operation, self.number)
    }
}

/// What is to fail in a life, and what went by so far.
#[derive(Default)]
pub(crate) struct Plan {
    fault: Option<Fault>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counts: BTreeMap<String, usize>,
    /// The life's own faults: the next operation of that name fails.
    next: Vec<(&'static str, How)>,
    met: bool,
}

impl Plan {
    pub(crate) fn new(fault: Option<Fault>) -> Self {
        Self { fault, state: Mutex::default() }
    }

    /// An operation begins: is it to fail?
    pub(crate) fn begins(&self, operation: &str) -> Option<How> {
        let mut state = self.state.lock().expect("no panic");
        let count = state.counts.entry(operation.to_owned()).or_default();
        *count += 1;
        let number = *count;
        if let Some(fault) = self.fault.as_ref().filter(|f| f.operation == operation && f.number == number) {
            state.met = true;
            return Some(fault.how);
        }
        let at = state.next.iter().position(|(name, _)| *name == operation)?;
        Some(state.next.remove(at).1)
    }

    /// Part of every life: the next of these fails.
    pub(crate) fn next(&self, operation: &'static str, how: How) {
        self.state.lock().expect("no panic").next.push((operation, how));
    }

    /// What [`Self::next`] was told of this operation has come.
    pub(crate) fn came(&self, operation: &str) -> bool {
        !self.state.lock().expect("no panic").next.iter().any(|(name, _)| *name == operation)
    }

    /// Whether the fault has come.
    pub(crate) fn met(&self) -> bool {
        self.state.lock().expect("no panic").met
    }

    pub(crate) fn count(&self, operation: &str) -> usize {
        self.state.lock().expect("no panic").counts.get(operation).copied().unwrap_or(0)
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, usize> {
        self.state.lock().expect("no panic").counts.clone()
    }
}
