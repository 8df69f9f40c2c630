//! A scenario: who publishes what, who serves what, and what may go wrong.

use super::state::{Budget, Gate, Mask, Runtime, State, Tx, bit};
use super::variants::Variant;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    High,
    Normal,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane {
    pub(crate) key: usize,
    pub(crate) class: Class,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    ReadCommitted,
    /// The snapshot may be much older than the insert.
    RepeatableRead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Publisher {
    pub(crate) lane: usize,
    pub(crate) isolation: Isolation,
    pub(crate) may_roll_back: bool,
}

/// A runtime's lanes (its queues' and its own addressed ones) and its workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instance {
    pub(crate) serves: Mask,
    pub(crate) normal_slots: u8,
    /// Workers that take only high.
    pub(crate) high_slots: u8,
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) variant: Variant,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) publishers: Vec<Publisher>,
    pub(crate) instances: Vec<Instance>,
    pub(crate) budget: Budget,
    /// W5: a gate may scan without arming while awake, and let its key go and stay on duty.
    pub(crate) linger: bool,
    /// A gate may hand over at any time what it could still do, as it does after a full claim.
    pub(crate) at_will: bool,
    /// W6: a silent runtime may queue for the lock on a second connection.
    pub(crate) queues_for_lock: bool,
    /// W8 heartbeats happen.
    pub(crate) heartbeats: bool,
    /// A heartbeat's snapshot and its work are two steps.
    pub(crate) beats_in_two: bool,
    /// Workers finish (else a taken message occupies its slot for ever).
    pub(crate) finishes: bool,
    /// W12: more notifications than this are a failure.
    pub(crate) wakes_max: Option<u8>,
}

impl Scenario {
    /// One lane, no faults, no heartbeats; the design's own rules.
    pub(crate) fn new(name: &'static str) -> Self {
        Scenario {
            name,
            variant: Variant::Design,
            lanes: vec![Lane { key: 0, class: Class::Normal }],
            publishers: Vec::new(),
            instances: Vec::new(),
            budget: Budget::default(),
            linger: false,
            at_will: false,
            queues_for_lock: false,
            heartbeats: false,
            beats_in_two: false,
            finishes: true,
            wakes_max: None,
        }
    }

    pub(crate) fn lanes(mut self, lanes: &[(usize, Class)]) -> Self {
        self.lanes = lanes.iter().map(|&(key, class)| Lane { key, class }).collect();
        self
    }

    /// A publisher of one message to `lane`.
    pub(crate) fn publisher(mut self, lane: usize, isolation: Isolation) -> Self {
        self.publishers.push(Publisher { lane, isolation, may_roll_back: false });
        self
    }

    pub(crate) fn rolling_back(mut self) -> Self {
        for publisher in &mut self.publishers {
            publisher.may_roll_back = true;
        }
        self
    }

    /// A runtime that serves `lanes` with `normal` workers and `high` high-only ones.
    pub(crate) fn runtime(mut self, lanes: &[usize], normal: u8, high: u8) -> Self {
        let serves = lanes.iter().fold(0, |mask, &lane| mask | bit(lane));
        self.instances.push(Instance { serves, normal_slots: normal, high_slots: high });
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Scenario)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) fn start(&self) -> State {
        // Nothing is known of others' sleep: whoever starts is on duty for all it serves.
        let gates = |instance: &Instance| {
            std::array::from_fn(|k| Gate { duty: instance.serves & self.mask_of(k), ..Gate::START })
        };
        State {
            alike: self.instances.iter().all(|instance| *instance == self.instances[0]),
            publishers: vec![Tx::Idle; self.publishers.len()],
            keys: Default::default(),
            runtimes: self.instances.iter().map(|i| Runtime { gates: gates(i), ..Runtime::START }).collect(),
            paused: false,
            budget: self.budget,
            found_by_heartbeat: false,
            wakes: 0,
        }
    }

    pub(crate) fn is(&self, variant: Variant) -> bool {
        self.variant == variant
    }
}
