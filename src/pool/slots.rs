//! A pool's slots: each vacant, idle or busy. Pure, but for the worker that is kept in each.

/// What a worker takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any message.
    General,
    /// High ones only.
    Reserved,
}

/// What a slot does.
enum Slot<W> {
    /// No worker has started here yet.
    Vacant,
    Idle(W),
    /// Its worker has a delivery.
    Busy(W),
}

/// All slots, and the idle ones as stacks (the most recently idle worker is the warmest).
pub(crate) struct Slots<W> {
    slots: Vec<Slot<W>>,
    general: usize,
    idle_general: Vec<usize>,
    idle_reserved: Vec<usize>,
}

impl<W: Clone> Slots<W> {
    /// The first `general` slots take everything, those after them high only.
    pub(crate) fn new(general: usize, reserved: usize) -> Self {
        let slots = (0..general + reserved).map(|_| Slot::Vacant).collect();
        Self { slots, general, idle_general: Vec::new(), idle_reserved: Vec::new() }
    }

    /// How many of a kind are idle.
    pub(crate) fn idle(&self, kind: Kind) -> usize {
        match kind {
            Kind::General => self.idle_general.len(),
            Kind::Reserved => self.idle_reserved.len(),
        }
    }

    /// A worker (re)started. Answers what to offer: a slot that was idle has been offered already, only its worker changes.
    pub(crate) fn up(&mut self, slot: usize, worker: W) -> Option<Kind> {
        let offered = matches!(self.slots[slot], Slot::Idle(_));
        self.slots[slot] = Slot::Idle(worker);
        (!offered).then(|| self.push(slot))
    }

    /// A worker has done with its delivery. Answers what to offer.
    pub(crate) fn finished(&mut self, slot: usize) -> Option<Kind> {
        // Not busy: the word of an earlier incarnation.
        let Slot::Busy(worker) = &self.slots[slot] else { return None };
        self.slots[slot] = Slot::Idle(worker.clone());
        Some(self.push(slot))
    }

    /// Makes an idle worker of the kind busy.
    pub(crate) fn take(&mut self, kind: Kind) -> Option<W> {
        let slot = self.stack(kind).pop()?;
        let Slot::Idle(worker) = &self.slots[slot] else { return None };
        let worker = worker.clone();
        self.slots[slot] = Slot::Busy(worker.clone());
        Some(worker)
    }

    fn push(&mut self, slot: usize) -> Kind {
        let kind = if slot < self.general { Kind::General } else { Kind::Reserved };
        self.stack(kind).push(slot);
        kind
    }

    fn stack(&mut self, kind: Kind) -> &mut Vec<usize> {
        match kind {
            Kind::General => &mut self.idle_general,
            Kind::Reserved => &mut self.idle_reserved,
        }
    }
}
