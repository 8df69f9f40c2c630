//! A dispatcher's keys: armed, followed, let go; and what a heartbeat or a reconnect says of them.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use ractor::ActorRef;

use super::{
    DEATH_BEATS, Group, LATE_WAKE_MS, Msg, Origin, SleptOn, State, ToListener, WAKE_KEYS, WARY_MS, gate::Phase,
};
use crate::store::{Armed, Beat, Mode};

impl State {
    pub(super) fn arm(&mut self, queue: usize, group: Group) {
        if self.mode == Mode::Poll || !self.session {
            // Nobody notifies in this mode, or nobody can notify us (W10).
            return self.gate(queue, group).poll(Instant::now());
        }
        let (keys, lanes) = (self.keys(queue, group), self.queues[queue].lanes.of(group));
        self.asked += 1;
        let number = self.asked;
        self.gate(queue, group).arming(number);
        for key in &keys {
            self.followed.remove(key);
        }
        let missing: Vec<i32> = keys.into_iter().filter(|k| !self.held.contains(k)).collect();
        // Asked even for none: the answer is what starts the scan.
        self.wiring.to_listener.send(ToListener::Arm { number, keys: missing, lanes });
    }

    /// Takes the answer to one request, for the one gate that waits for it: an answer to an older request, or of a key that
    /// was let go after this one went out, says what was.
    pub(super) fn armed(&mut self, myself: &ActorRef<Msg>, number: u64, answers: &[(i32, Armed)]) {
        let answers: HashMap<i32, Armed> =
            answers.iter().filter(|(key, _)| self.let_go.get(key).is_none_or(|at| *at < number)).copied().collect();
        if self.stopped {
            // It was asked before the stop, which let go only what was held then.
            let held = answers.iter().filter(|(_, answer)| **answer == Armed::Held).map(|(key, _)| *key);
            return self.let_go(held.collect(), Vec::new(), false);
        }
        for (key, answer) in &answers {
            match answer {
                Armed::Held => drop(self.held.insert(*key)),
                Armed::Followed => drop(self.followed.insert(*key)),
                Armed::Queued | Armed::Silent => {}
            }
        }
        for queue in 0..self.queues.len() {
            for group in [Group::High, Group::Rest] {
                if !self.gate(queue, group).awaits(number) {
                    continue;
                }
                let stands = |key: &i32| match answers.get(key) {
                    _ if self.held.contains(key) => Armed::Held,
                    _ if self.followed.contains(key) => Armed::Followed,
                    Some(Armed::Queued) => Armed::Queued,
                    // Silent, or not asked for: a lane that is new to the group, or taken from us meanwhile.
                    _ => Armed::Silent,
                };
                let answers: Vec<Armed> = self.keys(queue, group).iter().map(stands).collect();
                let answer = answers.iter().copied().max().unwrap_or(Armed::Held);
                let (holds, follows) = (answers.contains(&Armed::Held), answers.contains(&Armed::Followed));
                self.gate(queue, group).armed(Instant::now(), answer, holds, follows);
                self.turn(myself, queue);
            }
        }
    }

    /// A turn in the lock queue of this key is over: whoever waits for it looks, and arms anew (W6).
    pub(super) fn turned(&mut self, myself: &ActorRef<Msg>, key: i32) {
        for (queue, group) in self.by_key.get(&key).cloned().unwrap_or_default() {
            let gate = self.gate(queue, group);
            gate.turned();
            self.turn(myself, queue);
        }
    }

    fn let_go(&mut self, keys: Vec<i32>, lanes: Vec<i32>, on_duty: bool) {
        self.let_go.extend(keys.iter().map(|key| (*key, self.asked)));
        self.wiring.to_listener.send(ToListener::HandOver { keys, lanes, on_duty });
    }

    /// Lets the group's keys go that no other group is armed on (W3), and hands over to whoever sleeps because of it (W12).
    pub(super) fn release(&mut self, queue: usize, group: Group) {
        let gone = self.unneeded(queue, group);
        let (on_duty, any) = self.gate(queue, group).hand_over();
        if any || !gone.is_empty() {
            let lanes = self.queues[queue].lanes.of(group);
            self.let_go(gone, lanes, on_duty);
        }
    }

    /// Lets the group's keys go that no other group is armed on, and stays on duty for its lanes: it looks by itself (W5).
    pub(super) fn linger(&mut self, queue: usize, group: Group) {
        let keys = self.unneeded(queue, group);
        if !keys.is_empty() {
            self.let_go.extend(keys.iter().map(|key| (*key, self.asked)));
            let lanes = self.queues[queue].lanes.of(group);
            self.wiring.to_listener.send(ToListener::Linger { keys, lanes });
        }
    }

    /// Forgets the group's keys that no other group is armed on. Answers those that we hold.
    fn unneeded(&mut self, queue: usize, group: Group) -> Vec<i32> {
        let mut gone = Vec::new();
        for key in self.keys(queue, group) {
            let wanted = self.by_key.get(&key).is_some_and(|users| {
                users.iter().any(|(q, g)| {
                    (*q, *g) != (queue, group) && {
                        let q = &self.queues[*q];
                        let gate = if *g == Group::High { &q.high } else { &q.rest };
                        gate.phase != Phase::Awake
                    }
                })
            });
            if wanted {
                continue;
            }
            self.followed.remove(&key);
            if self.held.remove(&key) {
                gone.push(key);
            }
        }
        gone
    }

    pub(super) fn listener_ready(&mut self, myself: &ActorRef<Msg>, session: bool) {
        (self.listening, self.session) = (true, session);
        // Nobody told us meanwhile which places came back.
        self.low.reset();
        // A listener that was killed said nothing: whatever it held is gone with its session.
        self.held.clear();
        self.followed.clear();
        for queue in 0..self.queues.len() {
            for group in [Group::High, Group::Rest] {
                let gate = self.gate(queue, group);
                gate.released();
                gate.look();
                // What we were told meanwhile was lost.
                gate.take_duty();
            }
            self.turn(myself, queue);
        }
        self.read_queues(myself);
    }

    pub(super) fn listener_lost(&mut self) {
        self.listening = false;
        self.wary_until = Some(Instant::now() + Duration::from_millis(WARY_MS));
        self.held.clear();
        self.followed.clear();
        for queue in 0..self.queues.len() {
            for group in [Group::High, Group::Rest] {
                self.gate(queue, group).released();
            }
        }
    }

    pub(super) fn beat_due(&mut self, myself: &ActorRef<Msg>) {
        // A queue at rest has no claim that would begin it.
        self.look_low(myself);
        let asleep = self.queues.iter().flat_map(|q| {
            [(Group::High, &q.high), (Group::Rest, &q.rest)]
                .into_iter()
                .filter(|(_, gate)| gate.asleep())
                .flat_map(|(group, _)| q.lanes.of(group))
        });
        let lanes: Vec<i32> = asleep.collect();
        let slept_on = SleptOn { lows: self.low.lows(&lanes), lanes };
        self.wiring.to_listener.send(ToListener::Beat { followed: self.followed.iter().copied().collect(), slept_on });
    }

    pub(super) fn beat(&mut self, myself: &ActorRef<Msg>, beat: &Beat) {
        // A sentinel's or a claimer's death leaves rows that nobody announces.
        let death = beat.death
            || !beat.taken.is_empty()
            // No sentinel, and nobody was told: what we followed died, or its turn in the queue did.
            || !beat.silent.is_empty()
            || !beat.gone.is_empty()
            || !beat.expired.is_empty();
        self.death_beats = if death { DEATH_BEATS } else { self.death_beats.saturating_sub(1) };
        if beat.death || !beat.gone.is_empty() || !beat.expired.is_empty() {
            let now = Instant::now();
            self.queues.iter().for_each(|q| q.shelf.lock().death(now));
        }
        for key in &beat.taken {
            self.followed.remove(key);
            let users = self.by_key.get(key).cloned().unwrap_or_default();
            let mut wanted = false;
            for (queue, group) in users {
                let gate = self.gate(queue, group);
                if gate.phase == Phase::Awake {
                    continue;
                }
                wanted = true;
                // W8: the sentinel is gone without a disarm; what it left is found by this look.
                gate.took_over();
                match group {
                    Group::High => self.queues[queue].origin.0 = Origin::Takeover,
                    Group::Rest => self.queues[queue].origin.1 = Origin::Takeover,
                }
                self.held.insert(*key);
                if self.gate(queue, group).phase == Phase::Following
                    && self.keys(queue, group).iter().all(|k| self.held.contains(k))
                {
                    self.gate(queue, group).phase = Phase::Armed;
                }
                self.turn(myself, queue);
            }
            if !wanted {
                self.held.remove(key);
                self.let_go(vec![*key], Vec::new(), false);
            }
        }
        // A followed key without a sentinel, which silent publishers keep from us, is as good as a row that was missed.
        let suspects: HashSet<i32> =
            beat.missed.iter().map(|lane| lane % WAKE_KEYS).chain(beat.silent.iter().copied()).collect();
        for key in suspects {
            for (queue, group) in self.by_key.get(&key).cloned().unwrap_or_default() {
                let gate = self.gate(queue, group);
                if gate.asleep() {
                    let events = gate.events;
                    myself.send_after(Duration::from_millis(LATE_WAKE_MS), move || Msg::Suspect {
                        queue,
                        group,
                        events,
                    });
                }
            }
        }
    }

    /// A lane that we sleep on held rows at the heartbeat, or had no sentinel, and no wake has come since: look, and count
    /// what is found.
    pub(super) fn suspect(&mut self, myself: &ActorRef<Msg>, queue: usize, group: Group, events: u64) {
        let gate = self.gate(queue, group);
        if gate.asleep() && gate.events == events {
            gate.look();
            if gate.phase == Phase::Following {
                // Whom we followed may be gone, with silent publishers in the way of a takeover: arm anew, by W2 (model).
                gate.released();
            }
            let origin = if self.death_beats > 0 { Origin::Takeover } else { Origin::Heartbeat };
            match group {
                Group::High => self.queues[queue].origin.0 = origin,
                Group::Rest => self.queues[queue].origin.1 = origin,
            }
            self.turn(myself, queue);
        }
    }

    /// The distinct wake keys of a group.
    pub(super) fn keys(&self, queue: usize, group: Group) -> Vec<i32> {
        let mut keys: Vec<i32> = self.queues[queue].lanes.of(group).iter().map(|l| l % WAKE_KEYS).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}
