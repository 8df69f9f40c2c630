//! A queue's pool: which workers are idle, and which of them gets what.
//!
//! Before: `dispatch` spent one offered worker on each delivery. After: one worker has one delivery. An offer is a credit: given
//! once for every time a worker becomes idle, spent by one message that is handed over, and of a [`Kind`], as the worker is.

mod slots;

use std::sync::atomic::{AtomicU64, Ordering};

use ractor::{Actor, ActorProcessingErr, ActorRef};

pub(crate) use self::slots::{Kind, Slots};
use crate::{
    address::{Address, Outlet},
    settle::Delivery,
    worker::{self, Finished},
};

/// Sent up to the dispatcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// A new round begins: what was offered in earlier ones is void. So many workers are idle.
    Reset { queue: usize, round: u64, general: usize, reserved: usize },
    /// One more worker is idle.
    Offer { queue: usize, round: u64, kind: Kind },
}

/// The pool's protocol.
pub(crate) enum Msg {
    /// Claimed messages, each for one idle worker of this kind that the round had offered.
    Deliver { round: u64, kind: Kind, deliveries: Vec<Delivery> },
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

/// The slots, and the round in which they are offered.
pub(crate) struct State {
    slots: Slots<ActorRef<worker::Msg>>,
    round: u64,
}

impl Actor for Pool {
    type Msg = Msg;
    type State = State;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Msg>, (): ()) -> Result<State, ActorProcessingErr> {
        self.address.occupy(myself);
        let mut state = State { slots: Slots::new(self.general, self.reserved), round: 0 };
        self.begin_round(&mut state);
        Ok(state)
    }

    async fn handle(&self, _: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        match message {
            // Paid for with another round's offers: dropped, they hand themselves back.
            Msg::Deliver { round, .. } if round != state.round => {}
            Msg::Deliver { kind, deliveries, .. } => {
                for delivery in deliveries {
                    state.run(kind, delivery);
                }
            }
            Msg::Finished(Finished::Up(slot, worker)) => {
                if let Some(kind) = state.slots.up(slot, worker) {
                    self.offer(state.round, kind);
                }
            }
            Msg::Finished(Finished::Idle(slot)) => {
                if let Some(kind) = state.slots.finished(slot) {
                    self.offer(state.round, kind);
                }
            }
            Msg::Report => self.begin_round(state),
        }
        Ok(())
    }
}

impl Pool {
    fn begin_round(&self, state: &mut State) {
        /// Unlike every other in the process: a round is never taken for one of an earlier incarnation.
        static ROUNDS: AtomicU64 = AtomicU64::new(1);
        state.round = ROUNDS.fetch_add(1, Ordering::Relaxed);
        let (general, reserved) = (state.slots.idle(Kind::General), state.slots.idle(Kind::Reserved));
        self.demand.send(Demand::Reset { queue: self.queue, round: state.round, general, reserved });
    }

    fn offer(&self, round: u64, kind: Kind) {
        self.demand.send(Demand::Offer { queue: self.queue, round, kind });
    }
}

impl State {
    fn run(&mut self, kind: Kind, delivery: Delivery) {
        // Without an idle worker, which a paid delivery always has, it would hand itself back.
        let Some(worker) = self.slots.take(kind) else { return drop(delivery) };
        // A dead worker gives the message back: it hands itself back, and the slot is offered when its worker is up again.
        drop(worker.cast(worker::Msg::Run(delivery)));
    }
}
