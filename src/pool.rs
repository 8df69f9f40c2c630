//! A queue's pool: which workers are idle, and which of them gets what.
//!
//! Before: `dispatch` claimed exactly as many messages as this pool had offered workers. After: one worker has one
//! delivery. An offer is a credit: given once for every time a worker becomes idle, spent by one claimed message.

use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::{
    address::{Address, Outlet},
    message::Priority,
    settle::Delivery,
    worker::{self, Finished},
};

/// Sent up to the dispatcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// This pool starts anew: earlier offers of the queue are void.
    Reset { queue: usize },
    /// So many more workers are idle: for any message, and for high ones only.
    Offer { queue: usize, general: usize, reserved: usize },
}

/// The pool's protocol.
pub(crate) enum Msg {
    /// Claimed messages, most urgent first.
    Deliver(Vec<Delivery>),
    /// A worker reports.
    Finished(Finished),
    /// The dispatcher starts anew: offer again what is idle.
    Report,
}

/// The actor: queue number and how many of its slots are general; the last slot may be reserved for high.
pub(crate) struct Pool {
    pub(crate) queue: usize,
    pub(crate) general: usize,
    pub(crate) reserved: usize,
    pub(crate) demand: Outlet<Demand>,
    pub(crate) address: Address<Msg>,
}

/// What a slot does.
enum Slot {
    /// No worker has started here yet.
    Vacant,
    Idle(ActorRef<worker::Msg>),
    Busy(ActorRef<worker::Msg>),
}

/// All slots, and the free ones as stacks (the most recently idle worker is the warmest).
pub(crate) struct State {
    slots: Vec<Slot>,
    idle_general: Vec<usize>,
    idle_reserved: Vec<usize>,
}

impl Actor for Pool {
    type Msg = Msg;
    type State = State;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Msg>, (): ()) -> Result<State, ActorProcessingErr> {
        self.address.occupy(myself);
        self.demand.send(Demand::Reset { queue: self.queue });
        let slots = (0..self.general + self.reserved).map(|_| Slot::Vacant).collect();
        Ok(State { slots, idle_general: Vec::new(), idle_reserved: Vec::new() })
    }

    async fn handle(&self, _: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Deliver(deliveries) => {
                for delivery in deliveries {
                    state.deliver(delivery);
                }
            }
            Msg::Finished(Finished::Up(slot, worker)) => self.up(slot, worker, state),
            Msg::Finished(Finished::Idle(slot)) => self.idle(slot, state),
            Msg::Report => self.report(state),
        }
        Ok(())
    }
}

impl Pool {
    /// A worker (re)started. A slot that was idle had been offered already: only the reference changes.
    fn up(&self, slot: usize, worker: ActorRef<worker::Msg>, state: &mut State) {
        let offered = matches!(state.slots[slot], Slot::Idle(_));
        state.slots[slot] = Slot::Idle(worker);
        if !offered {
            self.offer(slot, state);
        }
    }

    fn idle(&self, slot: usize, state: &mut State) {
        if let Slot::Busy(worker) = &state.slots[slot] {
            state.slots[slot] = Slot::Idle(worker.clone());
            self.offer(slot, state);
        }
    }

    fn report(&self, state: &State) {
        self.demand.send(Demand::Reset { queue: self.queue });
        let (general, reserved) = (state.idle_general.len(), state.idle_reserved.len());
        self.demand.send(Demand::Offer { queue: self.queue, general, reserved });
    }

    fn offer(&self, slot: usize, state: &mut State) {
        let reserved = slot >= self.general;
        if reserved { &mut state.idle_reserved } else { &mut state.idle_general }.push(slot);
        self.demand.send(Demand::Offer {
            queue: self.queue,
            general: usize::from(!reserved),
            reserved: usize::from(reserved),
        });
    }
}

impl State {
    /// A high message goes to the reserved worker first, and keeps the general ones for the rest.
    fn deliver(&mut self, delivery: Delivery) {
        let high = delivery.incoming.priority == Priority::High;
        let slot =
            if high { self.idle_reserved.pop().or_else(|| self.idle_general.pop()) } else { self.idle_general.pop() };
        // No idle worker: the offer was void (a restart came between). Dropped, the delivery hands itself back.
        let Some(slot) = slot else { return drop(delivery) };
        let Slot::Idle(worker) = &self.slots[slot] else { return drop(delivery) };
        let worker = worker.clone();
        // A dead worker gives the message back: it hands itself back, and the slot is offered when its worker is up again.
        drop(worker.cast(worker::Msg::Run(delivery)));
        self.slots[slot] = Slot::Busy(worker);
    }
}
