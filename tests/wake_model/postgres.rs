//! What Postgres gives: advisory locks, snapshots, notifications.

use super::scenario::{Channels, Scenario};
use super::state::{Mask, State, Tx, bit};
use super::variants::Variant;

/// Two undelivered notifications are as good as many: each later one wakes nobody anew.
const NOTES_MAX: u8 = 2;

impl State {
    /// `pg_try_advisory_lock`: refused by any holder and by any waiter.
    pub(crate) fn try_exclusive(&mut self, k: usize, r: usize) -> bool {
        let lock = &mut self.keys[k];
        if lock.holder.is_some() || lock.shared != 0 || lock.waiter.is_some() {
            return false;
        }
        lock.holder = Some(r);
        true
    }

    /// Would a shared try be granted? A queued exclusive waiter refuses it, too.
    pub(crate) fn shared_is_free(&self, k: usize) -> bool {
        self.keys[k].holder.is_none() && self.keys[k].waiter.is_none()
    }

    /// The rows that a statement which starts now will see.
    pub(crate) fn snapshot(&self) -> Mask {
        let visible = self.publishers.iter().enumerate().filter(|(_, tx)| **tx == Tx::Committed);
        visible.fold(0, |mask, (m, _)| mask | bit(m))
    }

    /// NOTIFY on the channel that every runtime of the key listens to. A committed notification
    /// reaches the sessions which had LISTENed by then, after the commit is visible, some time.
    pub(crate) fn notify(&mut self, scenario: &Scenario, k: usize, sender: Option<usize>) {
        for r in 0..self.runtimes.len() {
            let own = sender == Some(r) && scenario.ignores_own;
            let listens = self.runtimes[r].listening && self.runtimes[r].session;
            if listens && !own && scenario.serves_key(r, k) {
                let gate = self.gate_mut(r, k);
                gate.notes = NOTES_MAX.min(gate.notes + 1);
            }
        }
    }

    /// What the wake trigger's NOTIFY does once its transaction is visible.
    pub(crate) fn notify_from_publisher(&mut self, scenario: &Scenario, lane: usize) {
        let k = scenario.lanes[lane].key;
        match scenario.channels {
            Channels::Shared => self.notify(scenario, k, None),
            Channels::Relayed => {
                // W12: only the sentinel listens here. With no sentinel nobody hears it; who
                // arms next scans after it began to listen.
                if let Some(r) = self.keys[k].holder {
                    self.gate_mut(r, k).direct |= bit(lane);
                }
            }
        }
    }

    /// ctl: heard by every runtime.
    pub(crate) fn notify_ctl(&mut self) {
        for runtime in &mut self.runtimes {
            if runtime.listening && runtime.session {
                runtime.ctl = true;
            }
        }
    }

    /// The server ends the listener's session of `r`: its locks are free, what was to be
    /// delivered is gone. The others are excused until their next heartbeat (W8).
    pub(crate) fn end_session(&mut self, scenario: &Scenario, r: usize) {
        self.runtimes[r].session = false;
        self.runtimes[r].listening = false;
        self.runtimes[r].ctl = false;
        self.runtimes[r].beat = None;
        for k in 0..self.keys.len() {
            let lock = &mut self.keys[k];
            let held = lock.holder == Some(r) || lock.waiter == Some(r);
            if lock.holder == Some(r) {
                lock.holder = None;
            }
            if lock.waiter == Some(r) {
                lock.waiter = None;
            }
            let gate = self.gate_mut(r, k);
            gate.notes = 0;
            gate.direct = 0;
            if held {
                self.orphan(scenario, r, k);
            }
        }
    }

    /// W9: `r` held something on `k` when it ended; the next heartbeats of those who live on are
    /// excused for what they find there. Two, not one: a heartbeat's statement tries the lock and
    /// counts rows under one snapshot, so that the count may be older than the refusal.
    pub(crate) fn orphan(&mut self, scenario: &Scenario, r: usize, k: usize) {
        let beats = if scenario.is(Variant::OneBeatExcused) { 1 } else { 2 };
        for (other, runtime) in self.runtimes.iter_mut().enumerate() {
            if other != r && runtime.alive && scenario.serves_key(other, k) {
                runtime.gates[k].orphaned = beats;
            }
        }
    }
}
