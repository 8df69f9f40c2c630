//! What a claim asks for: which lanes in which order, at most how many from each. Pure.

use crate::{message::Priority, store::QueueFacts};

/// After so many rows of full claims of normal and low, the next one looks into the low lanes first: low is never starved for ever.
pub(super) const LOW_SHARE_EVERY: usize = 8;

/// The two groups of a queue's lanes that are woken and claimed apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Group {
    /// High lanes: may use the reserved worker and the reserved connection.
    High,
    /// Normal and low lanes.
    Rest,
}

/// A queue's lanes by class; addressed and common ones take turns at the front.
#[derive(Clone, Debug, Default)]
pub(super) struct Lanes {
    high: Vec<i32>,
    normal: Vec<i32>,
    low: Vec<i32>,
    turn: u32,
    /// Rows of full claims since the last that looked into the low lanes first.
    taken: usize,
}

/// The lanes of one claim.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) lanes: Vec<i32>,
    /// The most to take from each.
    pub(super) most: Vec<i32>,
    /// No lane was left out.
    all: bool,
}

impl Order {
    /// Whether nothing is left, when the claim of at most `limit` found less than that: these, each with its lane.
    pub(super) fn is_complete(&self, limit: i32, found: impl Iterator<Item = i32> + Clone) -> bool {
        let gave_most = |(lane, most): (&i32, &i32)| {
            *most < limit && found.clone().filter(|l| l == lane).count() >= usize::try_from(*most).unwrap_or(0)
        };
        self.all && !self.lanes.iter().zip(&self.most).any(gave_most)
    }
}

impl Lanes {
    pub(super) fn new(facts: &QueueFacts) -> Self {
        let of = |p: Priority| {
            facts.lanes.iter().filter(|(_, class, _)| *class == p.class()).map(|(lane, ..)| *lane).collect()
        };
        Self { high: of(Priority::High), normal: of(Priority::Normal), low: of(Priority::Low), turn: 0, taken: 0 }
    }

    pub(super) fn of(&self, group: Group) -> Vec<i32> {
        match group {
            Group::High => self.high.clone(),
            Group::Rest => self.normal.iter().chain(&self.low).copied().collect(),
        }
    }

    pub(super) fn priority(&self, lane: i32) -> Priority {
        if self.high.contains(&lane) {
            Priority::High
        } else if self.low.contains(&lane) {
            Priority::Low
        } else {
            Priority::Normal
        }
    }

    /// A claim of normal and low took all it asked for: there may be a flood.
    pub(super) fn took_all(&mut self, rows: usize) {
        self.taken += rows;
    }

    /// The lanes of the next claim in order, with at most so many messages, and so many of each low lane; low has its share all
    /// the same.
    pub(super) fn next(&mut self, group: Group, limit: i32, low_most: i32) -> Order {
        self.turn = self.turn.wrapping_add(1);
        let turned = |lanes: &[i32]| -> Vec<i32> {
            let mut lanes = lanes.to_vec();
            if !lanes.is_empty() {
                let by = self.turn as usize % lanes.len();
                lanes.rotate_left(by);
            }
            lanes
        };
        if group == Group::High {
            return Order { most: vec![limit; self.high.len()], lanes: turned(&self.high), all: true };
        }
        let (normal, low) = (turned(&self.normal), turned(&self.low));
        if self.taken >= LOW_SHARE_EVERY {
            self.taken = 0;
            // A lane must not stand in a claim twice (its first row would count twice), so this claim may leave low rows.
            let (lanes, most) = low.iter().map(|l| (*l, 1)).chain(normal.iter().map(|l| (*l, limit))).unzip();
            return Order { lanes, most, all: true };
        }
        let all = low.is_empty() || low_most > 0;
        let low = low.into_iter().filter(|_| low_most > 0).map(|lane| (lane, low_most));
        let (lanes, most) = normal.into_iter().map(|lane| (lane, limit)).chain(low).unzip();
        Order { lanes, most, all }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes() -> Lanes {
        Lanes::new(&QueueFacts {
            queue_id: 1,
            name: "q".into(),
            paused: false,
            max_retries: 3,
            lanes: vec![(1, 10, false), (2, 0, false), (3, -10, false), (4, 10, true), (5, 0, true), (6, -10, true)],
        })
    }

    /// Fear: low never comes first under a flood, or comes first without one; or a flood of large claims leaves it less.
    #[test]
    fn normal_before_low_except_for_its_share() {
        for (rows, expected) in [(1, 3), (4, 15), (50, 31)] {
            let mut l = lanes();
            assert!(l.next(Group::Rest, 9, 9).is_complete(9, [3; 8].into_iter()));
            let mut low_first = 0;
            for _ in 0..LOW_SHARE_EVERY * 4 {
                let order = l.next(Group::Rest, 9, 9);
                if [3, 6].contains(&order.lanes[0]) {
                    low_first += 1;
                    assert_eq!(order.most[0], 1, "its share is one place");
                    assert!(!order.is_complete(9, [3].into_iter()), "low rows may be left behind");
                    assert!(order.is_complete(9, [2; 8].into_iter()), "low had none");
                } else {
                    assert!([2, 5].contains(&order.lanes[0]) && [2, 5].contains(&order.lanes[1]));
                }
                let distinct: std::collections::HashSet<_> = order.lanes.iter().collect();
                assert_eq!(distinct.len(), order.lanes.len(), "a lane stands in a claim once");
                l.took_all(rows);
            }
            assert_eq!(low_first, expected);
        }
    }

    /// Fear: low messages wait claimed, and start before normal ones that were published meanwhile; or a claim that left some behind
    /// is slept upon.
    #[test]
    fn low_is_not_claimed_ahead_but_for_its_share() {
        let mut l = lanes();
        let order = l.next(Group::Rest, 9, 0);
        assert!([&[2, 5], &[5, 2]].contains(&<&[i32; 2]>::try_from(&order.lanes[..]).expect("normal alone")));
        assert!(!order.is_complete(9, [].into_iter()), "low rows are left behind");
        l.took_all(LOW_SHARE_EVERY);
        assert_eq!(l.next(Group::Rest, 9, 0).most[..2], [1, 1], "its share");
        let order = l.next(Group::Rest, 9, 2);
        assert_eq!(order.most, [9, 9, 2, 2], "so many of each low lane");
        assert!(order.is_complete(9, [2, 2, 2, 5, 3, 6].into_iter()));
        assert!(!order.is_complete(9, [2, 2, 2, 5, 3, 3].into_iter()), "low rows may be left behind");
    }

    /// Fear: addressed rows starve common ones of the same class, or the other way round.
    #[test]
    fn common_and_addressed_take_turns() {
        let mut l = lanes();
        let first: std::collections::HashSet<i32> = (0..4).map(|_| l.next(Group::High, 1, 1).lanes[0]).collect();
        assert_eq!(first, [1, 4].into());
    }
}
