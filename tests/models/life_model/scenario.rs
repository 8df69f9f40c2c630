//! A scenario: how many messages, with or without a key, and what may go wrong.

use super::law::Family;
use super::state::{Budget, Instance, Process, Seen, State};
use super::variants::Variant;

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) variant: Variant,
    pub(crate) keyed: bool,
    pub(crate) messages: usize,
    pub(crate) tries_max: u8,
    /// Crashes follow one another within a minute.
    pub(crate) in_a_row: bool,
    pub(crate) budget: Budget,
}

impl Scenario {
    /// One message without a key, two instances, no faults.
    fn new(name: &'static str, budget: Budget) -> Self {
        Self { name, variant: Variant::Design, keyed: false, messages: 1, tries_max: 2, in_a_row: false, budget }
    }

    /// Two messages of one key.
    fn keyed(mut self) -> Self {
        (self.keyed, self.messages) = (true, 2);
        self
    }

    pub(crate) fn with(mut self, variant: Variant) -> Self {
        self.variant = variant;
        self
    }

    pub(crate) fn is(&self, variant: Variant) -> bool {
        self.variant == variant
    }

    pub(crate) fn start(&self) -> State {
        let mut family = Family::new(self.tries_max);
        (0..self.messages).for_each(|_| family.publish(false));
        State {
            family,
            volatile: Vec::new(),
            instances: vec![Instance { process: Process::Up, locked: true }; 2],
            runs: Vec::new(),
            wary: false,
            claims: 0,
            owners: [0; 2],
            counted: 0,
            budget: self.budget,
            seen: Seen::default(),
        }
    }
}

/// A process is stopped or cut off and comes back, answers are lost.
pub(crate) fn zombies() -> Scenario {
    let budget = Budget { freezes: 1, cuts: 1, losses: 1, hand_backs: 1, claims: 3, ..Budget::default() };
    Scenario::new("one message, instances that come back", budget)
}

/// Processes die, claims go unanswered, the server crashes.
pub(crate) fn crashes() -> Scenario {
    let budget = Budget { deaths: 1, losses: 1, crashes: 1, claims: 3, ..Budget::default() };
    Scenario::new("one message, crashes of the server", budget)
}

/// A message that kills whoever handles it.
pub(crate) fn poison() -> Scenario {
    let budget = Budget { deaths: 1, freezes: 2, claims: 4, ..Budget::default() };
    Scenario::new("one message, instances that go", budget)
}

/// A message that crashes the server, whenever it runs.
pub(crate) fn crashes_in_a_row() -> Scenario {
    let budget = Budget { crashes: 3, claims: 3, ..Budget::default() };
    Scenario { in_a_row: true, ..Scenario::new("one message, crashes in a row", budget) }
}

/// One key, and whoever has it is stopped, cut off, or dies.
pub(crate) fn key_and_deaths() -> Scenario {
    let budget = Budget { deaths: 1, freezes: 1, claims: 4, ..Budget::default() };
    Scenario::new("two of a key, instances that go", budget).keyed()
}

/// One key, and answers are lost.
pub(crate) fn key_and_losses() -> Scenario {
    let budget = Budget { losses: 1, crashes: 1, hand_backs: 1, claims: 4, ..Budget::default() };
    Scenario::new("two of a key, lost answers and a crash", budget).keyed()
}
