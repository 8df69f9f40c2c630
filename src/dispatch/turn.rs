//! A dispatcher's turn over one queue: what its two gates want next, the claims, and the keys.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use metrics::{counter, histogram};
use ractor::ActorRef;

use super::{
    CLAIM_MAX, Claimed, Credits, Doubt, Group, Msg, Origin, State, ToListener, UNCLAIMED_MS,
    gate::{Phase, Step},
};
use crate::{
    Error, Result,
    codec::Codec,
    handler::Incoming,
    pool,
    settle::{self, Delivery},
    store::{Claim, Mode, Row},
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
                let free = q.credits.of(group);
                let demand = self.wants(queue, group);
                // With every reserved worker busy and a flood of normal, arming high would be undone at once.
                let flood = q.rest.dirty() && !q.rest.retries(now);
                let may_arm = group == Group::Rest || q.credits.reserved > 0 || !flood;
                let gate = if group == Group::High { &q.high } else { &q.rest };
                let held = if group == Group::Rest { q.hold.until(now, free) } else { None };
                match gate.step(now, demand, free > 0, may_arm) {
                    Step::Rest => {
                        if !demand && gate.phase == Phase::Awake {
                            // A woken follower may still hold another key of its group.
                            self.release(queue, group);
                        }
                        break;
                    }
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

    /// Whether there is demand for a group's lanes. Workers that a claim under way may give back still count: a look at high
    /// must not disarm the rest.
    pub(super) fn wants(&self, queue: usize, group: Group) -> bool {
        let q = &self.queues[queue];
        q.credits.of(group) + q.in_flight.of(group) > 0 && !q.facts.paused
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
        let (drains, phase) = match group {
            Group::High => (q.drains.0, q.high.phase),
            Group::Rest => (q.drains.1, q.rest.phase),
        };
        // A scan that decides on sleep reads everything, and so does who cannot be told of places that come back.
        let told = self.session && self.mode != Mode::Poll;
        let lows = self.low.lows(Instant::now(), &order.lanes, drains && phase == Phase::Awake && told);
        let complete = order.complete && lows.iter().all(|low| *low == 0);
        let (epoch, queue_id, name) = (q.epoch, q.facts.queue_id, q.name.clone());
        let (store, pool, myself) = (self.wiring.store.clone(), pool.clone(), myself.clone());
        tokio::spawn(async move {
            let begun = Instant::now();
            let rows = std::panic::AssertUnwindSafe(async {
                let c = pool.get().await.map_err(|e| Error::pool(format!("claim on queue \"{name}\""), e))?;
                let claim = Claim {
                    queue_id,
                    queue: &name,
                    lanes: &order.lanes,
                    most: &order.most,
                    lows: &lows,
                    limit,
                    session,
                };
                store.claim(&c, &claim).await
            })
            // Whatever happens, the dispatcher hears of it: a lost answer would stop the queue.
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(Error::state(format!("claim on queue \"{name}\""), "the claim panicked")));
            histogram!("pgflow_claim_seconds", "queue" => name.clone()).record(begun.elapsed().as_secs_f64());
            // A dispatcher that died meanwhile leaves rows that nobody answers for: the sweeper's orphan check finds them.
            let _ = myself.cast(Msg::Claimed(Claimed { queue, group, spent, epoch, complete, origin, rows }));
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
                let full = got >= spent.all();
                match group {
                    Group::High => self.queues[queue].drains.0 = full,
                    Group::Rest => self.queues[queue].drains.1 = full,
                }
                self.low.claimed(now, rows.iter().map(|row| (row.lane, row.seq)));
                if full {
                    self.fence(myself, now);
                }
                if full && group == Group::Rest {
                    self.queues[queue].lanes.took_all();
                }
                self.deliver(queue, group, rows)
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
        q.in_flight.general -= spent.general;
        q.in_flight.reserved -= spent.reserved;
        if q.epoch == epoch {
            // The pool gives a high message to the reserved worker first: the same order here.
            let reserved = spent.reserved.min(got);
            q.credits.reserved += spent.reserved - reserved;
            q.credits.general += spent.general - (got - reserved).min(spent.general);
        }
        if group == Group::Rest {
            let full = got > 0 && got >= spent.all();
            q.hold.claimed(now, full.then_some(q.credits.general + got));
        }
        self.answer_stop();
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

    /// Gives rows to the pool; answers how many of the offers they use up.
    fn deliver(&self, queue: usize, group: Group, rows: Vec<Row>) -> usize {
        if rows.is_empty() {
            return 0;
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
                    Err(outcome) => {
                        settler.put(claimed, outcome);
                        None
                    }
                }
            })
            .collect();
        let delivered = deliveries.len();
        if self.stopped {
            return delivered;
        }
        // A pool that is being restarted gives them back: dropped, they hand themselves back.
        drop(self.wiring.pools[queue].cast(pool::Msg::Deliver(deliveries)));
        delivered
    }
}

/// The database's law asserted again where a row becomes a delivery; else what is to become of the row.
fn incoming(row: Row, queue: Arc<str>, priority: crate::Priority) -> Result<Incoming, settle::Outcome> {
    let invalid = |error: String| settle::Outcome::Dead { kind: "invalid_row", error };
    // In a rolling upgrade these are a newer program's: somebody else can read them.
    let newer = |why: String| settle::Outcome::Undecodable { why };
    if let Some(why) = row.unreadable {
        return Err(invalid(why));
    }
    Ok(Incoming {
        id: row.id,
        message_id: row.message_id,
        queue,
        kind: row.kind,
        version: u16::try_from(row.version).map_err(|_| newer(format!("version {} is not known", row.version)))?,
        codec: Codec::from_code(row.codec).ok_or_else(|| newer(format!("codec {} is not known", row.codec)))?,
        body: row.body,
        headers: row.headers,
        ordering_key: row.ordering_key,
        attempt: u32::try_from(row.attempt)
            .ok()
            .filter(|a| *a >= 1)
            .ok_or_else(|| invalid("its attempt is below 1".into()))?,
        priority,
        source: row.source,
        created_at: row.created_at,
    })
}
