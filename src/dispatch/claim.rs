//! A dispatcher's claims: what they are asked for, and what becomes of their answers.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use metrics::{counter, histogram};
use ractor::ActorRef;

use super::{CLAIM_MAX, Doubt, Group, Msg, Origin, State, ToListener, UNCLAIMED_MS, protocol::Claimed};
use crate::{
    Error, Result,
    ahead::Found,
    codec::Codec,
    connect::{ANSWER_MS_MAX, bounded, give_back},
    handler::Incoming,
    pool::Kind,
    settle::{self, Delivery},
    store::{Claim, Mode, Row},
};

impl State {
    /// Claims for the idle workers, and `room` more.
    pub(super) fn start_claim(&mut self, myself: &ActorRef<Msg>, queue: usize, group: Group, room: usize) {
        let (session, told) = (self.wiring.session, self.is_told());
        self.wiring.counters.claims.fetch_add(1, Ordering::Relaxed);
        let q = &mut self.queues[queue];
        let spent = q.credits.spend(group, CLAIM_MAX);
        let asked = CLAIM_MAX.min(spent.all() + room);
        let (gate, origin, pool) = match group {
            Group::High => (&mut q.high, &mut q.origin.0, &self.wiring.high_pool),
            Group::Rest => (&mut q.rest, &mut q.origin.1, &self.wiring.pool),
        };
        gate.claim_started();
        let origin = std::mem::replace(origin, Origin::Normal);
        let limit = i32::try_from(asked).unwrap_or(i32::MAX);
        let low_most = match q.shelf.lock().found() {
            _ if asked == spent.all() => limit,
            // They would wait behind normal ones, and start before those that come meanwhile.
            Found::Backlog => 0,
            // Its share: a claim that leaves low out has not found all there is.
            Found::Stream | Found::Few => 1,
        };
        let order = q.lanes.next(group, limit, low_most);
        // Who cannot be told of places that come back reads everything.
        let lows = if told { self.low.lows(&order.lanes) } else { vec![0; order.lanes.len()] };
        let resets = self.low.resets();
        // A crash of the server that forgets a claim forgets its try.
        let durable = q.facts.max_retries == 0 || self.wary_until.is_some_and(|until| Instant::now() < until);
        let (queue_id, name) = (q.facts.queue_id, q.name.clone());
        let (store, pool, myself) = (self.wiring.store.clone(), pool.clone(), myself.clone());
        tracing::trace!(target: "pgflow::claim", queue = %name, asked, "claim begins");
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
                    durable,
                };
                let rows = bounded(&format!("claim on queue \"{name}\""), ANSWER_MS_MAX, store.claim(&c, &claim)).await;
                give_back(c, rows.as_ref().err());
                rows
            })
            // Whatever happens, the dispatcher hears of it: a lost answer would stop the queue.
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(Error::state(format!("claim on queue \"{name}\""), "the claim panicked")));
            histogram!("pgflow_claim_seconds", "queue" => name.clone()).record(begun.elapsed().as_secs_f64());
            let complete = rows.as_ref().is_ok_and(|rows| order.is_complete(limit, rows.iter().map(|row| row.lane)));
            // A dispatcher that died meanwhile leaves rows that nobody answers for: the sweeper's orphan check finds them.
            let _ = myself.cast(Msg::Claimed(Claimed { queue, group, spent, asked, complete, resets, origin, rows }));
        });
    }

    /// Whether the listener hears of messages that come back to their old places.
    pub(super) fn is_told(&self) -> bool {
        self.session && self.mode != Mode::Poll
    }

    pub(super) fn claimed(&mut self, myself: &ActorRef<Msg>, claimed: Claimed) {
        let Claimed { queue, group, spent, asked, complete, resets, origin, rows } = claimed;
        let now = Instant::now();
        let mut full = None;
        let deliveries = match rows {
            Ok(rows) => {
                let got = rows.len();
                tracing::trace!(target: "pgflow::claim", queue = %self.queues[queue].name, got, "claim answered");
                if self.gate(queue, group).claimed(now, asked, got, complete) {
                    self.release(queue, group);
                }
                self.note_origin(queue, group, origin, got);
                full = (got >= asked).then_some(got);
                match group {
                    Group::High => self.queues[queue].high_looked_for = full.is_none(),
                    Group::Rest => self.note_backlog(now, queue, full, &rows),
                }
                self.low.claimed(resets, rows.iter().map(|row| (row.lane, row.seq)));
                self.look_low(myself);
                self.unpack(queue, group, rows)
            }
            Err(e) => {
                tracing::warn!(target: "pgflow::claim", error = %e, "claim failed, will try again");
                self.wiring.doubt.send(Doubt);
                counter!("pgflow_claim_errors_total", "queue" => self.queues[queue].name.clone()).increment(1);
                self.gate(queue, group).claim_failed(now);
                self.wiring.to_listener.send(ToListener::Announce(self.queues[queue].lanes.of(group)));
                myself.send_after(Duration::from_millis(UNCLAIMED_MS), move || Msg::Unclaimed { queue, group });
                Vec::new()
            }
        };
        let q = &mut self.queues[queue];
        q.credits.give_back(spent);
        match group {
            Group::High => self.start_high(queue, deliveries),
            Group::Rest => {
                q.high_looked_for = false;
                q.shelf.lock().keep(now, deliveries);
                // When its workers are back, so many are idle again.
                q.hold.claimed(now, full.map(|_| q.credits.free(group)));
            }
        }
        self.answer_stop();
        self.turn(myself, queue);
    }

    /// What a claim of normal and low says of those that are left.
    fn note_backlog(&mut self, now: Instant, queue: usize, full: Option<usize>, rows: &[Row]) {
        let q = &mut self.queues[queue];
        if let Some(got) = full {
            q.lanes.took_all(got);
        }
        let normal = rows.iter().filter(|r| q.lanes.priority(r.lane) == crate::Priority::Normal).count();
        let mut ahead = q.shelf.lock();
        ahead.claimed(rows.len(), normal, full.is_some());
        // Tried before, and still in its first place: rescued.
        if rows.iter().any(|r| r.attempt > 1 && r.id == r.seq) {
            ahead.death(now);
        }
    }

    /// Gives high messages to the workers they were claimed for: the reserved one first, it keeps the general ones for the rest.
    fn start_high(&mut self, queue: usize, mut deliveries: Vec<Delivery>) {
        for kind in [Kind::Reserved, Kind::General] {
            let n = self.queues[queue].credits.take(kind, deliveries.len());
            let later = deliveries.split_off(n);
            self.deliver(queue, kind, std::mem::replace(&mut deliveries, later));
        }
        // More than workers: the pool began another round meanwhile. Dropped, they hand themselves back.
    }

    /// The model's case: another's pre-sleep scan skipped rows that our failed claim had locked. It must be told.
    pub(super) fn unclaimed(&mut self, myself: &ActorRef<Msg>, queue: usize, group: Group) {
        self.wiring.to_listener.send(ToListener::Announce(self.queues[queue].lanes.of(group)));
        self.gate(queue, group).look();
        self.gate(queue, group).take_duty();
        self.turn(myself, queue);
    }

    fn note_origin(&self, queue: usize, group: Group, origin: Origin, got: usize) {
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
                self.wiring.to_listener.send(ToListener::Distrust(self.keys(queue, group)));
            }
        }
    }

    /// Makes deliveries of rows; what cannot be one is settled.
    fn unpack(&self, queue: usize, group: Group, rows: Vec<Row>) -> Vec<Delivery> {
        if rows.is_empty() {
            return Vec::new();
        }
        let q = &self.queues[queue];
        counter!("pgflow_claimed_total", "queue" => q.name.clone()).increment(rows.len() as u64);
        let settler = &self.wiring.settler;
        rows.into_iter()
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
                    Ok(incoming) => settler.deliver(incoming, claimed),
                    Err(outcome) => {
                        settler.put(claimed, outcome);
                        None
                    }
                }
            })
            .collect()
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
