//! A dispatcher's turn over one queue: what its two gates want next, the claims, and the keys.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use metrics::{counter, histogram};
use ractor::ActorRef;

use super::{
    CLAIM_MAX, Claimed, Credits, DEATH_BEATS, Doubt, Group, LATE_WAKE_MS, Msg, Origin, State, ToListener, UNCLAIMED_MS,
    WAKE_KEYS,
    gate::{Phase, Step},
};
use crate::{
    Error, Result,
    codec::Codec,
    handler::Incoming,
    pool,
    settle::{self, Delivery},
    store::{Armed, Beat, Claim, Mode, Row},
};

impl State {
    /// Does what the queue's gates want, high first, until both rest.
    pub(super) fn turn(&mut self, myself: &ActorRef<Msg>, queue: usize) {
        if self.stopped || !self.listening {
            return;
        }
        for group in [Group::High, Group::Rest] {
            loop {
                let now = Instant::now();
                let q = &self.queues[queue];
                let (free, spent) = match group {
                    Group::High => (q.credits.all(), q.in_flight.all()),
                    Group::Rest => (q.credits.general, q.in_flight.general),
                };
                // Workers that a claim under way may give back still count: a look at high must not disarm the rest.
                let demand = free + spent > 0 && !q.facts.paused;
                // With every reserved worker busy and a flood of normal, arming high would be undone at once.
                let may_arm = group == Group::Rest || q.credits.reserved > 0 || !q.rest.dirty();
                let gate = if group == Group::High { &q.high } else { &q.rest };
                let held = if group == Group::Rest { q.hold.until(now, free) } else { None };
                match gate.step(now, demand, free > 0, may_arm) {
                    Step::Rest => break,
                    Step::Claim if let Some(at) = held => {
                        self.set_timer(myself, queue, at);
                        break;
                    }
                    Step::Claim => self.start_claim(myself, queue, group),
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
    }

    fn set_timer(&mut self, myself: &ActorRef<Msg>, queue: usize, at: Instant) {
        if self.queues[queue].timer.is_some_and(|t| t <= at && t > Instant::now()) {
            return;
        }
        self.queues[queue].timer = Some(at);
        myself.send_after(at.saturating_duration_since(Instant::now()), move || Msg::Look(queue));
    }

    fn start_claim(&mut self, myself: &ActorRef<Msg>, queue: usize, group: Group) {
        let session = self.wiring.session;
        let q = &mut self.queues[queue];
        let spent = match group {
            Group::High => {
                let reserved = q.credits.reserved.min(CLAIM_MAX);
                Credits { reserved, general: q.credits.general.min(CLAIM_MAX - reserved) }
            }
            Group::Rest => Credits { reserved: 0, general: q.credits.general.min(CLAIM_MAX) },
        };
        q.credits.general -= spent.general;
        q.credits.reserved -= spent.reserved;
        q.in_flight.general += spent.general;
        q.in_flight.reserved += spent.reserved;
        let (gate, origin, pool) = match group {
            Group::High => (&mut q.high, &mut q.origin.0, &self.wiring.high_pool),
            Group::Rest => (&mut q.rest, &mut q.origin.1, &self.wiring.pool),
        };
        gate.claim_started();
        let origin = std::mem::replace(origin, Origin::Normal);
        let limit = i32::try_from(spent.all()).unwrap_or(i32::MAX);
        let order = q.lanes.next(group, limit);
        let (epoch, queue_id, name) = (q.epoch, q.facts.queue_id, q.name.clone());
        let (store, pool, myself) = (self.wiring.store.clone(), pool.clone(), myself.clone());
        tokio::spawn(async move {
            let begun = Instant::now();
            let rows = async {
                let c = pool.get().await.map_err(|e| Error::pool(format!("claim on queue \"{name}\""), e))?;
                let claim = Claim { queue_id, queue: &name, lanes: &order.lanes, most: &order.most, limit, session };
                store.claim(&c, &claim).await
            }
            .await;
            histogram!("pgflow_claim_seconds", "queue" => name.clone()).record(begun.elapsed().as_secs_f64());
            // A dispatcher that died meanwhile leaves rows that nobody answers for: the sweeper's orphan check finds them.
            let _ = myself.cast(Msg::Claimed(Claimed {
                queue,
                group,
                spent,
                epoch,
                complete: order.complete,
                origin,
                rows,
            }));
        });
    }

    pub(super) fn claimed(&mut self, myself: &ActorRef<Msg>, claimed: Claimed) {
        let Claimed { queue, group, spent, epoch, complete, origin, rows } = claimed;
        let now = Instant::now();
        let got = match rows {
            Ok(rows) => {
                let got = rows.len();
                if self.gate(queue, group).claimed(now, spent.all(), got, complete) {
                    self.release(queue, group);
                }
                self.note_origin(queue, origin, got);
                self.deliver(queue, group, rows);
                got
            }
            Err(e) => {
                tracing::warn!(target: "pgflow::claim", error = %e, "claim failed, will try again");
                self.wiring.doubt.send(Doubt);
                counter!("pgflow_claim_errors_total", "queue" => self.queues[queue].name.clone()).increment(1);
                self.gate(queue, group).claim_failed(now);
                self.wiring.to_listener.send(ToListener::Notify(self.keys(queue, group)));
                myself.send_after(Duration::from_millis(UNCLAIMED_MS), move || Msg::Unclaimed { queue, group });
                0
            }
        };
        let q = &mut self.queues[queue];
        let full = group == Group::Rest && got >= spent.all();
        if full {
            q.lanes.took_all();
        }
        q.in_flight.general -= spent.general;
        q.in_flight.reserved -= spent.reserved;
        if q.epoch == epoch {
            // The pool gives a high message to the reserved worker first: the same order here.
            let reserved = spent.reserved.min(got);
            q.credits.reserved += spent.reserved - reserved;
            q.credits.general += spent.general - (got - reserved).min(spent.general);
        }
        if group == Group::Rest {
            q.hold.claimed(now, full.then_some(q.credits.general + got));
        }
        self.turn(myself, queue);
    }

    /// The model's case: another's pre-sleep scan skipped rows that our failed claim had locked. It must be told.
    pub(super) fn unclaimed(&mut self, myself: &ActorRef<Msg>, queue: usize, group: Group) {
        self.wiring.to_listener.send(ToListener::Notify(self.keys(queue, group)));
        self.gate(queue, group).look();
        self.turn(myself, queue);
    }

    fn note_origin(&self, queue: usize, origin: Origin, got: usize) {
        let name = self.queues[queue].name.clone();
        let got = got as u64;
        match origin {
            Origin::Normal => {}
            _ if got == 0 => {}
            Origin::Takeover => {
                self.wiring.counters.found_by_takeover.fetch_add(got, Ordering::Relaxed);
                counter!("pgflow_found_by_takeover_total", "queue" => name).increment(got);
            }
            Origin::Heartbeat => {
                tracing::error!(target: "pgflow::wake", queue = %name, rows = got, "found by heartbeat: a wake was lost");
                self.wiring.counters.found_by_heartbeat.fetch_add(got, Ordering::Relaxed);
                counter!("pgflow_found_by_heartbeat_total", "queue" => name).increment(got);
            }
        }
    }

    fn deliver(&self, queue: usize, group: Group, rows: Vec<Row>) {
        if rows.is_empty() {
            return;
        }
        let q = &self.queues[queue];
        counter!("pgflow_claimed_total", "queue" => q.name.clone()).increment(rows.len() as u64);
        let settler = &self.wiring.settler;
        let deliveries: Vec<Delivery> = rows
            .into_iter()
            .filter_map(|row| {
                let claimed = settle::Claimed {
                    id: row.id,
                    token: row.token,
                    queue_id: q.facts.queue_id,
                    ordering_key: row.ordering_key.clone(),
                };
                let priority = q.lanes.priority(row.lane);
                debug_assert_eq!(group == Group::High, priority == crate::Priority::High);
                match incoming(row, q.name.clone(), priority) {
                    Ok(incoming) => Some(Delivery::new(incoming, claimed, settler.clone())),
                    Err(why) => {
                        settler.put(claimed, settle::Outcome::Dead { kind: "invalid_row", error: why.into() });
                        None
                    }
                }
            })
            .collect();
        if self.stopped {
            return;
        }
        // A pool that is being restarted gives them back: dropped, they hand themselves back.
        drop(self.wiring.pools[queue].cast(pool::Msg::Deliver(deliveries)));
    }

    fn arm(&mut self, queue: usize, group: Group) {
        if self.mode == Mode::Poll {
            // Nobody notifies in this mode (W10).
            return self.gate(queue, group).poll(Instant::now());
        }
        let keys = self.keys(queue, group);
        self.gate(queue, group).arming();
        for key in &keys {
            self.followed.remove(key);
        }
        let missing: Vec<i32> = keys.into_iter().filter(|k| !self.held.contains(k)).collect();
        // Asked even for none: the answer is what starts the scan.
        self.wiring.to_listener.send(ToListener::Arm(missing));
    }

    pub(super) fn armed(&mut self, myself: &ActorRef<Msg>, answers: &[(i32, Armed)]) {
        for (key, state) in answers {
            match state {
                Armed::Held => drop(self.held.insert(*key)),
                Armed::Followed => drop(self.followed.insert(*key)),
                Armed::Silent => {}
            }
        }
        let now = Instant::now();
        for queue in 0..self.queues.len() {
            for group in [Group::High, Group::Rest] {
                if self.gate(queue, group).phase != Phase::Arming {
                    continue;
                }
                let keys = self.keys(queue, group);
                let known = |k: &i32| self.held.contains(k) || self.followed.contains(k);
                let answered = |k: &i32| known(k) || answers.iter().any(|(a, _)| a == k);
                if !keys.iter().all(answered) {
                    continue;
                }
                let silent = !keys.iter().all(known);
                let followed = keys.iter().any(|k| self.followed.contains(k));
                self.gate(queue, group).armed(now, silent, followed);
                self.turn(myself, queue);
            }
        }
    }

    /// Lets go of the group's keys that no other group is armed on (W3).
    pub(super) fn release(&mut self, queue: usize, group: Group) {
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
        if !gone.is_empty() {
            self.wiring.to_listener.send(ToListener::Disarm(gone));
        }
    }

    pub(super) fn listener_ready(&mut self, myself: &ActorRef<Msg>) {
        self.listening = true;
        for queue in 0..self.queues.len() {
            for group in [Group::High, Group::Rest] {
                let gate = self.gate(queue, group);
                gate.released();
                gate.look();
            }
            self.turn(myself, queue);
        }
        self.read_queues(myself);
    }

    pub(super) fn listener_lost(&mut self) {
        self.listening = false;
        self.held.clear();
        self.followed.clear();
        for queue in 0..self.queues.len() {
            for group in [Group::High, Group::Rest] {
                self.gate(queue, group).released();
            }
        }
    }

    pub(super) fn beat_due(&self) {
        let asleep = self.queues.iter().flat_map(|q| {
            [(Group::High, &q.high), (Group::Rest, &q.rest)]
                .into_iter()
                .filter(|(_, gate)| gate.asleep())
                .flat_map(|(group, _)| q.lanes.of(group))
        });
        let slept_on = asleep.collect();
        self.wiring.to_listener.send(ToListener::Beat { followed: self.followed.iter().copied().collect(), slept_on });
    }

    pub(super) fn beat(&mut self, myself: &ActorRef<Msg>, beat: &Beat) {
        // A sentinel's or a claimer's death leaves rows that nobody announces.
        let death = beat.death || !beat.taken.is_empty() || !beat.gone.is_empty() || !beat.expired.is_empty();
        self.death_beats = if death { DEATH_BEATS } else { self.death_beats.saturating_sub(1) };
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
                gate.look();
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
                self.wiring.to_listener.send(ToListener::Disarm(vec![*key]));
            }
        }
        for lane in &beat.missed {
            for (queue, group) in self.by_key.get(&(lane % WAKE_KEYS)).cloned().unwrap_or_default() {
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

    /// A lane that we sleep on held rows at the heartbeat and no wake has come since: look, and count what is found.
    pub(super) fn suspect(&mut self, myself: &ActorRef<Msg>, queue: usize, group: Group, events: u64) {
        let gate = self.gate(queue, group);
        if gate.asleep() && gate.events == events {
            gate.look();
            let origin = if self.death_beats > 0 { Origin::Takeover } else { Origin::Heartbeat };
            match group {
                Group::High => self.queues[queue].origin.0 = origin,
                Group::Rest => self.queues[queue].origin.1 = origin,
            }
            self.turn(myself, queue);
        }
    }

    /// The distinct wake keys of a group.
    fn keys(&self, queue: usize, group: Group) -> Vec<i32> {
        let mut keys: Vec<i32> = self.queues[queue].lanes.of(group).iter().map(|l| l % WAKE_KEYS).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

/// The database's law asserted again where a row becomes a delivery.
fn incoming(row: Row, queue: Arc<str>, priority: crate::Priority) -> Result<Incoming, &'static str> {
    Ok(Incoming {
        id: row.id,
        message_id: row.message_id,
        queue,
        kind: row.kind,
        version: u16::try_from(row.version).map_err(|_| "its version is out of range")?,
        codec: Codec::from_code(row.codec).ok_or("its codec is unknown")?,
        body: row.body,
        headers: row.headers,
        ordering_key: row.ordering_key,
        attempt: u32::try_from(row.attempt).ok().filter(|a| *a >= 1).ok_or("its attempt is below 1")?,
        priority,
        source: row.source,
        created_at: row.created_at,
    })
}
