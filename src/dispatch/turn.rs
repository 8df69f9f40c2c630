//! A dispatcher's turn over one queue: what its two gates want next, and what waits for a worker.

use std::time::Instant;

use metrics::counter;
use ractor::ActorRef;

use super::{
    Group, Msg, State,
    gate::{Phase, Step},
};
use crate::{
    pool::{self, Kind},
    settle::Delivery,
};

impl State {
    /// Does what the queue's gates want, high first, and gives what waits to the workers that high leaves, until all rest.
    pub(super) fn turn(&mut self, myself: &ActorRef<Msg>, queue: usize) {
        if self.stopped {
            return self.hand_back(queue);
        }
        self.claim_for(myself, queue, Group::High);
        if self.start_waiting(myself, queue) {
            // Its demand may be gone.
            self.claim_for(myself, queue, Group::High);
        }
        self.claim_for(myself, queue, Group::Rest);
        // With no worker free for a high message nobody looks for one: the next to end must come back, once for what is on the shelf.
        let q = &self.queues[queue];
        q.shelf.lock().serve_themselves(q.high.claiming() || q.credits.free(Group::High) > 0 || q.high_looked_for);
    }

    /// Does what a group's gate wants, until it rests.
    fn claim_for(&mut self, myself: &ActorRef<Msg>, queue: usize, group: Group) {
        while self.listening {
            let now = Instant::now();
            let q = &mut self.queues[queue];
            let idle = q.credits.free(group);
            let room = if group == Group::Rest && !q.facts.paused { q.shelf.lock().room(now, idle) } else { 0 };
            let free = idle + room > 0 && !(group == Group::Rest && self.wiring.settler.is_behind());
            let demand = !q.facts.paused && (q.credits.wants(group) || room > 0);
            // With every reserved worker busy and a flood of normal, arming high would be undone at once.
            let flood = q.rest.dirty() && !q.rest.retries(now);
            let may_arm = group == Group::Rest || q.credits.reserved() || !flood;
            let gate = if group == Group::High { &q.high } else { &q.rest };
            let held = if group == Group::Rest && room == 0 { q.hold.until(now, idle) } else { None };
            match gate.step(now, demand, free, may_arm) {
                Step::Rest => {
                    if !demand && gate.phase == Phase::Awake {
                        // It may still hold a key of its group, or have been told of what it has no worker for.
                        self.release(queue, group);
                    }
                    break;
                }
                Step::Claim if let Some(at) = held => {
                    self.set_timer(myself, queue, at);
                    break;
                }
                Step::Claim => self.start_claim(myself, queue, group, room),
                Step::Arm => self.arm(queue, group),
                Step::Release => {
                    self.release(queue, group);
                    self.gate(queue, group).released();
                }
                Step::At(at) => {
                    self.set_timer(myself, queue, at);
                    break;
                }
            }
        }
    }

    /// Gives what was claimed to idle workers, first come first, and back what has no worker in time, or is paused.
    /// Whether any worker was given one.
    fn start_waiting(&mut self, myself: &ActorRef<Msg>, queue: usize) -> bool {
        let q = &mut self.queues[queue];
        let (next, back, until) = {
            let mut ahead = q.shelf.lock();
            let n = q.credits.take(Kind::General, ahead.waiting());
            let next = ahead.next(Instant::now(), n);
            let back = if q.facts.paused { ahead.all() } else { ahead.late(Instant::now()) };
            (next, back, ahead.until())
        };
        let started = !next.is_empty();
        self.deliver(queue, Kind::General, next);
        if let Some(at) = until {
            self.set_timer(myself, queue, at);
        }
        self.drop_back(queue, back);
        started
    }

    /// Hands back what no worker has yet: same place, same attempt.
    pub(super) fn hand_back(&self, queue: usize) {
        let all = self.queues[queue].shelf.lock().all();
        self.drop_back(queue, all);
    }

    /// Dropped, a delivery hands itself back.
    fn drop_back(&self, queue: usize, deliveries: Vec<Delivery>) {
        if !deliveries.is_empty() {
            let name = self.queues[queue].name.clone();
            counter!("pgflow_ahead_handed_back_total", "queue" => name).increment(deliveries.len() as u64);
        }
    }

    fn set_timer(&mut self, myself: &ActorRef<Msg>, queue: usize, at: Instant) {
        if self.queues[queue].timer.is_some_and(|t| t <= at && t > Instant::now()) {
            return;
        }
        self.queues[queue].timer = Some(at);
        myself.send_after(at.saturating_duration_since(Instant::now()), move || Msg::Look(queue));
    }

    /// Gives messages to the pool, for each of which a credit of the kind was taken.
    pub(super) fn deliver(&self, queue: usize, kind: Kind, deliveries: Vec<Delivery>) {
        if !deliveries.is_empty() && !self.stopped {
            let round = self.queues[queue].credits.round();
            // A pool that is being restarted gives them back: dropped, they hand themselves back.
            drop(self.wiring.served[queue].pool.cast(pool::Msg::Deliver { round, kind, deliveries }));
        }
    }
}
