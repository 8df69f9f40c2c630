//! The messages of a life, and their handler, which writes down what it does.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use pgflow::{Context, Failure, Handler, Message, Outgoing};
use serde::{Deserialize, Serialize};

pub(crate) const QUEUE: &str = "life";

/// What a handler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Act {
    /// Nothing.
    Plain,
    /// Writes an effect through its transaction.
    Effect,
    /// Fails at its first try, then writes an effect.
    FailOnce,
    /// Fails at every try, until what it needs is mended.
    FailUntilMended,
    /// Is refused: a dead letter at once.
    Reject,
    /// Writes an effect and then hangs, at its first start; later ones write theirs and end.
    HangOnce,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) n: i64,
    pub(crate) act: Act,
}

impl Message for Task {
    const KIND: &'static str = "task";
    const QUEUE: &'static str = QUEUE;
}

pub(crate) fn task(n: i64, act: Act) -> Outgoing {
    Outgoing::new(&Task { n, act }).expect("it encodes")
}

/// What the handlers of a life share.
#[derive(Default)]
pub(crate) struct Seen {
    starts: Mutex<Vec<i64>>,
    pub(crate) mended: AtomicBool,
}

impl Seen {
    pub(crate) fn starts(&self) -> Vec<i64> {
        self.starts.lock().expect("no panic").clone()
    }

    pub(crate) fn has_started(&self, n: i64) -> bool {
        self.starts().contains(&n)
    }
}

pub(crate) struct Actor(pub(crate) Arc<Seen>);

impl Handler for Actor {
    type Message = Task;

    async fn handle(&mut self, m: Task, cx: &mut Context<'_>) -> Result<(), Failure> {
        let first = !self.0.has_started(m.n);
        // A start that hangs is told only when its effect is written: what ends it must take the effect back.
        let hangs = first && m.act == Act::HangOnce;
        if !hangs {
            self.0.starts.lock().expect("no panic").push(m.n);
        }
        match m.act {
            Act::Reject => return Err(Failure::dead("asked to die")),
            Act::FailOnce if cx.attempt() == 1 => return Err(Failure::retry("asked to fail")),
            Act::FailUntilMended if !self.0.mended.load(Ordering::Relaxed) => return Err(Failure::retry("not mended")),
            Act::Effect | Act::FailOnce | Act::HangOnce => {
                cx.transaction().await?.execute("INSERT INTO fx (n) VALUES ($1)", &[&m.n]).await?;
            }
            Act::Plain | Act::FailUntilMended => {}
        }
        if hangs {
            self.0.starts.lock().expect("no panic").push(m.n);
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}
