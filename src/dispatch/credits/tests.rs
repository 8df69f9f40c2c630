//! Credits against the pool's own slots, with both mailboxes between them, through any order of events.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::pool::Slots;

impl Credits {
    /// Of the one claim under way.
    pub(in crate::dispatch) fn under_way(&self) -> Spent {
        Spent { round: self.round, idle: self.spent }
    }
}

/// A message to the dispatcher.
enum Up {
    Reset { round: u64, general: usize, reserved: usize },
    Offer { round: u64, kind: Kind },
}

/// A message to the pool.
enum Down {
    Deliver { round: u64, kind: Kind, n: usize },
    Report,
    Started(usize),
    Finished(usize),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Worker {
    Dead,
    Resting,
    Working,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    PoolReads,
    DispatcherReads,
    WorkerEnds(usize),
    /// Goes on with what was claimed ahead.
    WorkerTakes(usize),
    WorkerDies(usize),
    WorkerStarts(usize),
    PoolRestarts,
    DispatcherRestarts,
    Claim {
        group: Group,
        room: usize,
    },
    Answer {
        group: Group,
        got: usize,
    },
    Start,
    HandBack,
}

struct World {
    general: usize,
    slots: Slots<usize>,
    round: u64,
    workers: Vec<Worker>,
    to_pool: VecDeque<Down>,
    to_dispatcher: VecDeque<Up>,
    credits: Credits,
    /// Claims under way, high and rest, and the most that each may answer.
    claims: [Option<(Spent, usize)>; 2],
    waiting: usize,
}

impl World {
    fn new(general: usize, reserved: usize) -> Self {
        let mut world = Self {
            general,
            slots: Slots::new(general, reserved),
            round: 0,
            workers: vec![Worker::Dead; general + reserved],
            to_pool: VecDeque::new(),
            to_dispatcher: VecDeque::new(),
            credits: Credits::default(),
            claims: [None, None],
            waiting: 0,
        };
        world.begin_round();
        world
    }

    fn begin_round(&mut self) {
        self.round += 1;
        let (general, reserved) = (self.slots.idle(Kind::General), self.slots.idle(Kind::Reserved));
        self.to_dispatcher.push_back(Up::Reset { round: self.round, general, reserved });
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::PoolReads => match self.to_pool.pop_front() {
                Some(Down::Deliver { round, kind, n }) if round == self.round => {
                    for _ in 0..n {
                        let slot = self.slots.take(kind).expect("a delivery that is paid for has its worker");
                        if self.workers[slot] == Worker::Resting {
                            self.workers[slot] = Worker::Working;
                        }
                    }
                }
                Some(Down::Report) => self.begin_round(),
                Some(Down::Started(slot)) => {
                    let kind = self.slots.up(slot, slot);
                    self.offer(kind);
                }
                Some(Down::Finished(slot)) => {
                    let kind = self.slots.finished(slot);
                    self.offer(kind);
                }
                Some(Down::Deliver { .. }) | None => {}
            },
            Event::DispatcherReads => match self.to_dispatcher.pop_front() {
                Some(Up::Reset { round, general, reserved }) => self.credits.reset(round, general, reserved),
                Some(Up::Offer { round, kind }) => drop(self.credits.offered(round, kind)),
                None => {}
            },
            Event::WorkerEnds(slot) if self.workers[slot] == Worker::Working => {
                self.workers[slot] = Worker::Resting;
                self.to_pool.push_back(Down::Finished(slot));
            }
            Event::WorkerTakes(slot) if self.workers[slot] == Worker::Working => {
                self.waiting = self.waiting.saturating_sub(1);
            }
            Event::WorkerDies(slot) => self.workers[slot] = Worker::Dead,
            Event::WorkerStarts(slot) if self.workers[slot] == Worker::Dead => {
                self.workers[slot] = Worker::Resting;
                self.to_pool.push_back(Down::Started(slot));
            }
            Event::PoolRestarts => {
                let slots = self.workers.len();
                self.workers.fill(Worker::Dead);
                self.to_pool.clear();
                self.slots = Slots::new(self.general, slots - self.general);
                self.begin_round();
            }
            Event::DispatcherRestarts => {
                self.to_dispatcher.clear();
                (self.credits, self.claims, self.waiting) = (Credits::default(), [None, None], 0);
                self.to_pool.push_back(Down::Report);
            }
            Event::Claim { group, room } if self.claims[group as usize].is_none() => {
                let spent = self.credits.spend(group, 3);
                let room = if group == Group::High { 0 } else { room };
                let asked = spent.all() + room;
                self.claims[group as usize] = (asked > 0).then_some((spent, asked));
            }
            Event::Answer { group, got } => {
                let Some((spent, asked)) = self.claims[group as usize].take() else { return };
                let (got, paid, same) = (got.min(asked), spent.all(), spent.round == self.credits.round);
                self.credits.give_back(spent);
                match group {
                    Group::Rest => self.waiting += got,
                    Group::High => {
                        let first = self.hand_over(Kind::Reserved, got);
                        let then = self.hand_over(Kind::General, got - first);
                        assert!(!same || (got <= paid && first + then == got), "a high one without its worker");
                    }
                }
            }
            Event::Start => self.waiting -= self.hand_over(Kind::General, self.waiting),
            Event::HandBack => self.waiting = 0,
            Event::WorkerEnds(_) | Event::WorkerTakes(_) | Event::WorkerStarts(_) | Event::Claim { .. } => {}
        }
    }

    fn offer(&mut self, kind: Option<Kind>) {
        self.to_dispatcher.extend(kind.map(|kind| Up::Offer { round: self.round, kind }));
    }

    fn hand_over(&mut self, kind: Kind, most: usize) -> usize {
        let n = self.credits.take(kind, most);
        self.to_pool.push_back(Down::Deliver { round: self.credits.round(), kind, n });
        n
    }

    /// The invariant; while a round's beginning is on its way, nothing is known.
    fn check(&mut self) {
        assert!(
            self.credits.round > 0 || self.credits == Credits::default(),
            "before its first round it knows of nobody"
        );
        if self.credits.round != self.round || self.to_pool.iter().any(|m| matches!(m, Down::Report)) {
            return;
        }
        for of in [Kind::General, Kind::Reserved] {
            let (idle, free) = (self.slots.idle(of), *self.credits.free.kind(of));
            let spent = *self.credits.spent.kind(of);
            let coming = |m: &&Up| matches!(m, Up::Offer { round, kind } if (*round, *kind) == (self.round, of));
            let coming = self.to_dispatcher.iter().filter(coming).count();
            let going = |m: &Down| match m {
                Down::Deliver { round, kind, n } if (*round, *kind) == (self.round, of) => *n,
                _ => 0,
            };
            let going: usize = self.to_pool.iter().map(going).sum();
            assert_eq!(free + spent + coming + going, idle, "{of:?}: {free} {spent} {coming} {going}");
        }
    }

    /// Lets everything come to rest.
    fn settle(&mut self) {
        for _ in 0..5 {
            while !self.to_pool.is_empty() || !self.to_dispatcher.is_empty() {
                self.happen(Event::PoolReads);
                self.happen(Event::DispatcherReads);
                self.check();
            }
            self.happen(Event::HandBack);
            for group in [Group::High, Group::Rest] {
                self.happen(Event::Answer { group, got: 0 });
            }
            for slot in 0..self.workers.len() {
                self.happen(Event::WorkerEnds(slot));
                self.happen(Event::WorkerStarts(slot));
            }
        }
    }
}

impl Event {
    /// Of any two bytes: the one chooses, the other is its size.
    fn of((choice, size): (u8, u8), slots: usize) -> Self {
        let (slot, group) = (usize::from(size) % slots, if size.is_multiple_of(2) { Group::High } else { Group::Rest });
        match choice % 40 {
            0..8 => Self::PoolReads,
            8..16 => Self::DispatcherReads,
            16..19 => Self::WorkerEnds(slot),
            19 => Self::WorkerTakes(slot),
            20 => Self::WorkerDies(slot),
            21..25 => Self::WorkerStarts(slot),
            25..29 => Self::Claim { group, room: usize::from(size / 2 % 3) },
            29..33 => Self::Answer { group, got: usize::from(size / 2 % 6) },
            33..37 => Self::Start,
            37 => Self::HandBack,
            38 => Self::PoolRestarts,
            _ => Self::DispatcherRestarts,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Fear: a credit is lost, and a worker idles for ever; or one is doubled or changes its kind, and a message has no worker.
    #[test]
    fn credits_are_the_idle_workers_whatever_happens(
        (general, reserved, events) in (1..4usize, 0..2usize, prop::collection::vec(any::<(u8, u8)>(), 0..200))
    ) {
        let mut world = World::new(general, reserved);
        for bytes in events {
            world.happen(Event::of(bytes, general + reserved));
            world.check();
        }
        world.settle();
        prop_assert_eq!(world.credits.free, Idle { general, reserved });
    }
}
