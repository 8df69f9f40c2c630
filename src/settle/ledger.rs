//! The ledger: which claims this process answers for, and which it will not answer for any more.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

/// How long a claim that was handed back unanswered is remembered, in ms: longer than an answer is waited for.
const DISOWNED_MS: u64 = 60_000;

/// Claims by their tokens.
#[derive(Default)]
pub(crate) struct Ledger {
    tokens: HashSet<i64>,
    /// Handed back before their answer had come. It may still come, and must not be taken then: the message may be running
    /// elsewhere, and one with an ordering key must not run twice at once.
    disowned: HashMap<i64, Instant>,
}

impl Ledger {
    /// How many claims are answered for.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Enters a claim that was answered; false if it was disowned before.
    pub(super) fn take(&mut self, token: i64) -> bool {
        let ours = !self.disowned.contains_key(&token);
        if ours {
            self.tokens.insert(token);
        }
        ours
    }

    /// Enters a claim with its outcome.
    pub(super) fn enter(&mut self, token: i64) {
        self.tokens.insert(token);
    }

    /// Refuses the answer to a claim from now on; false if it is answered for.
    pub(super) fn disown(&mut self, token: i64) -> bool {
        if self.tokens.contains(&token) {
            return false;
        }
        self.disowned.retain(|_, since| since.elapsed() < Duration::from_millis(DISOWNED_MS));
        self.disowned.insert(token, Instant::now());
        true
    }

    /// Strikes a claim off: its outcome is committed or fenced.
    pub(super) fn strike(&mut self, token: i64) {
        self.tokens.remove(&token);
    }
}
