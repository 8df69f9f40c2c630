//! What wakes a dispatcher: lanes that publishers announced, lanes that another runtime told of, and this process' own publishes.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use ractor::ActorRef;

use super::{Group, Msg, State, ToListener, WAKE_KEYS};

/// What an instance counts for whoever holds its [`crate::Runtime`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Wakes of a queue's group, many notifications at once being one.
    pub(crate) wakes: AtomicU64,
    /// Claim statements, those that found nothing included.
    pub(crate) claims: AtomicU64,
    /// Finds that no wake announced (W9).
    pub(crate) found_by_heartbeat: AtomicU64,
    pub(crate) found_by_takeover: AtomicU64,
}

/// Lanes notified and not yet handled.
#[derive(Debug, Default)]
struct Woken {
    /// By a publisher, who found somebody asleep on the lane's key.
    announced: HashSet<i32>,
    /// By another runtime, who counts on us now (W12).
    told: HashSet<i32>,
}

/// A flood of notifications sets flags; one message is on its way at most.
#[derive(Debug, Default)]
pub(crate) struct WokenLanes {
    woken: Mutex<Woken>,
}

impl WokenLanes {
    /// A publisher's notification; true when the dispatcher must be told.
    pub(crate) fn announced(&self, lane: i32) -> bool {
        self.note(|woken| woken.announced.extend([lane]))
    }

    /// Another runtime's; true when the dispatcher must be told.
    pub(crate) fn told(&self, lanes: impl Iterator<Item = i32>) -> bool {
        self.note(|woken| woken.told.extend(lanes))
    }

    fn note(&self, note: impl FnOnce(&mut Woken)) -> bool {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let first = woken.announced.is_empty() && woken.told.is_empty();
        note(&mut woken);
        first
    }

    /// What comes to nobody any more: the dispatcher that it was for is gone.
    pub(super) fn clear(&self) {
        drop(self.take());
    }

    fn take(&self) -> Woken {
        std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    pub(super) fn woken(&mut self, myself: &ActorRef<Msg>) {
        let now = Instant::now();
        let Woken { announced, told } = self.wiring.woken.take();
        let (mut woken, mut wanted, mut unwanted) = (HashSet::new(), HashMap::new(), Vec::new());
        for lane in told {
            if let Some((queue, group)) = self.serving(lane) {
                self.gate(queue, group).told(now);
                woken.insert((queue, group));
            } else {
                // Its queue is gone.
                self.wiring.to_listener.send(ToListener::HandOver { keys: vec![], lanes: vec![lane], on_duty: true });
            }
        }
        for lane in announced {
            let serving = self.serving(lane);
            woken.extend(serving);
            if let Some(group) = serving.filter(|(queue, group)| self.demand_of(*queue, *group, now)) {
                *wanted.entry(group).or_insert(false) |= self.held.contains(&(lane % WAKE_KEYS));
            } else {
                unwanted.push(lane);
            }
        }
        for ((queue, group), holds) in wanted {
            if self.gate(queue, group).woken(now, holds) {
                self.linger(queue, group);
            }
        }
        if !unwanted.is_empty() {
            self.wiring.to_listener.send(ToListener::Relay(unwanted));
        }
        self.wiring.counters.wakes.fetch_add(woken.len() as u64, Ordering::Relaxed);
        for (queue, _) in &woken {
            metrics::counter!("pgflow_wakes_total", "queue" => self.queues[*queue].name.clone()).increment(1);
        }
        let touched: HashSet<usize> = woken.into_iter().map(|(queue, _)| queue).collect();
        for queue in touched {
            self.turn(myself, queue);
        }
    }

    /// The group that serves a lane.
    pub(super) fn serving(&self, lane: i32) -> Option<(usize, Group)> {
        let on_key = self.by_key.get(&(lane % WAKE_KEYS))?;
        on_key.iter().copied().find(|(queue, group)| self.queues[*queue].lanes.of(*group).contains(&lane))
    }

    /// Whether a group could start what it finds.
    fn demand_of(&mut self, queue: usize, group: Group, now: Instant) -> bool {
        let q = &mut self.queues[queue];
        !q.facts.paused && (q.credits.wants(group) || (group == Group::Rest && q.shelf.lock().room(now, 0) > 0))
    }

    pub(super) fn nudged(&mut self, myself: &ActorRef<Msg>, lane: i32) {
        for (queue, group) in self.by_key.get(&(lane % WAKE_KEYS)).cloned().unwrap_or_default() {
            // Besides, never instead of, the trigger's check (W11): only spares the notification's way.
            self.gate(queue, group).look();
            self.turn(myself, queue);
        }
    }
}
