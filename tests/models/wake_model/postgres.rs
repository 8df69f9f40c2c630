//! What Postgres gives: advisory locks, snapshots, notifications.

use super::scenario::Scenario;
use super::state::{Mask, Phase, State, Tx, bit, has};
use super::variants::Variant;

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

    /// NOTIFY on the publishers' channel of the lane's key: heard by whoever LISTENs when it commits, and delivered after the
    /// commit is visible, some time. Two of one lane are as good as one, which may come as late as the second.
    pub(crate) fn announce(&mut self, scenario: &Scenario, lane: usize, sender: Option<usize>) {
        let k = scenario.lanes[lane].key;
        for r in 0..self.runtimes.len() {
            if sender != Some(r) && self.gate(r, k).hears {
                self.gate_mut(r, k).announced |= bit(lane);
            }
        }
    }

    /// The runtimes that may be told of some of these lanes by `sender`. Nobody is as good as anybody then.
    pub(crate) fn candidates(&self, scenario: &Scenario, k: usize, lanes: Mask, sender: Option<usize>) -> Vec<usize> {
        let enlisted = |r: &usize| sender != Some(*r) && self.gate(*r, k).enlisted & lanes != 0;
        let mut all: Vec<usize> = (0..self.runtimes.len()).filter(enlisted).collect();
        if all.is_empty() || scenario.is(Variant::EverybodyTold) {
            all = vec![0];
        }
        all
    }

    /// W12: tells one of those enlisted for each of these lanes: the first from `first` on, in a circle. Answers for which
    /// lanes there was one.
    pub(crate) fn tell(
        &mut self,
        scenario: &Scenario,
        k: usize,
        lanes: Mask,
        sender: Option<usize>,
        first: usize,
    ) -> Mask {
        let n = self.runtimes.len();
        let mut told = 0;
        for lane in scenario.lanes_of(k).filter(|&lane| has(lanes, lane)) {
            for r in (first..first + n).map(|r| r % n) {
                if sender != Some(r) && has(self.gate(r, k).enlisted, lane) {
                    told |= bit(lane);
                    if self.runtimes[r].listening {
                        self.gate_mut(r, k).told |= bit(lane);
                    }
                    if !scenario.is(Variant::EverybodyTold) {
                        break;
                    }
                }
            }
        }
        told
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
            let counted_on = self.counts_on(r, k);
            let lock = &mut self.keys[k];
            if lock.holder == Some(r) {
                lock.holder = None;
            }
            if lock.waiter == Some(r) {
                lock.waiter = None;
            }
            let gate = self.gate_mut(r, k);
            (gate.hears, gate.announced, gate.enlisted, gate.told) = (false, 0, 0, 0);
            if counted_on {
                self.orphan(scenario, r, k);
            }
        }
    }

    /// Do others sleep on `k` because of `r`: of its lock, its turn, what it was told or has heard, or of its being about to look?
    pub(crate) fn counts_on(&self, r: usize, k: usize) -> bool {
        let (lock, gate) = (&self.keys[k], self.gate(r, k));
        let holds = lock.holder == Some(r) || lock.waiter == Some(r);
        holds || gate.told | gate.announced != 0 || gate.owes_turn || gate.phase != Phase::Following
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
