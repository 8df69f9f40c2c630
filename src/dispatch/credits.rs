//! What a dispatcher knows of one queue's idle workers. Pure.
//!
//! Invariant, for each kind of worker: free + spent on claims under way + offers on their way here + deliveries on their way to the
//! pool = idle workers. A claim's credits are kept while it is under way and come back with its answer, whatever it found; one
//! is used up by handing a message over, and by nothing else. A new round of the pool voids all that came before.

#[cfg(test)]
mod tests;

use super::Group;
use crate::pool::Kind;

/// So many workers of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Idle {
    general: usize,
    reserved: usize,
}

impl Idle {
    /// Those that may take a group's messages.
    fn of(self, group: Group) -> usize {
        match group {
            Group::High => self.general + self.reserved,
            Group::Rest => self.general,
        }
    }

    fn kind(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::General => &mut self.general,
            Kind::Reserved => &mut self.reserved,
        }
    }
}

/// Idle workers offered in the pool's current round and not yet used: free, or spent on claims under way.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Credits {
    round: u64,
    free: Idle,
    spent: Idle,
}

/// What a claim under way was started for.
#[derive(Debug)]
pub(super) struct Spent {
    round: u64,
    idle: Idle,
}

impl Spent {
    /// How many messages it pays for.
    pub(super) fn all(&self) -> usize {
        self.idle.of(Group::High)
    }
}

impl Credits {
    /// The pool begins a round.
    pub(super) fn reset(&mut self, round: u64, general: usize, reserved: usize) {
        *self = Self { round, free: Idle { general, reserved }, spent: Idle::default() };
    }

    /// One more worker is idle. False: it was in another round.
    pub(super) fn offered(&mut self, round: u64, kind: Kind) -> bool {
        let counts = round == self.round;
        *self.free.kind(kind) += usize::from(counts);
        counts
    }

    /// The round in which what is free was offered.
    pub(super) fn round(&self) -> u64 {
        self.round
    }

    /// How many messages of a group could be handed over now.
    pub(super) fn free(&self, group: Group) -> usize {
        self.free.of(group)
    }

    /// Whether the reserved worker is free.
    pub(super) fn reserved(&self) -> bool {
        self.free.reserved > 0
    }

    /// Whether there is demand for a group's messages. Workers that a claim under way may give back still count: a look at high
    /// must not disarm the rest.
    pub(super) fn wants(&self, group: Group) -> bool {
        self.free.of(group) + self.spent.of(group) > 0
    }

    /// For a claim of the group, at most `most`: the reserved worker first, it keeps the general ones for the rest.
    pub(super) fn spend(&mut self, group: Group, most: usize) -> Spent {
        let reserved = if group == Group::High { self.free.reserved.min(most) } else { 0 };
        let general = self.free.general.min(most - reserved);
        self.free = Idle { general: self.free.general - general, reserved: self.free.reserved - reserved };
        self.spent = Idle { general: self.spent.general + general, reserved: self.spent.reserved + reserved };
        Spent { round: self.round, idle: Idle { general, reserved } }
    }

    /// The claim has answered.
    pub(super) fn give_back(&mut self, Spent { round, idle }: Spent) {
        if round == self.round {
            self.free =
                Idle { general: self.free.general + idle.general, reserved: self.free.reserved + idle.reserved };
            self.spent =
                Idle { general: self.spent.general - idle.general, reserved: self.spent.reserved - idle.reserved };
        }
    }

    /// Uses up to `most` of a kind, each for a message that is handed over. Answers how many.
    pub(super) fn take(&mut self, kind: Kind, most: usize) -> usize {
        let free = self.free.kind(kind);
        let taken = most.min(*free);
        *free -= taken;
        taken
    }
}
