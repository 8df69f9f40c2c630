//! The systems, each in a file of its own.

mod apalis;
mod awa;
mod floor;
mod graphile;
mod node;
mod pgflow;
mod pgmq;
mod sqlxmq;
mod underway;

use crate::{local::Local, peer::Peer};

/// The queue that is measured.
const QUEUE: &str = "bench";

/// All of them, in the order in which each round takes them.
pub(crate) fn all() -> Vec<Box<dyn Peer>> {
    vec![
        Local::<pgflow::Pgflow>::boxed(),
        Local::<graphile::Graphile>::boxed(),
        Local::<apalis::Apalis>::boxed(),
        Local::<sqlxmq::Sqlxmq>::boxed(),
        Local::<underway::Underway>::boxed(),
        Local::<awa::Awa>::boxed(),
        Local::<pgmq::Pgmq>::boxed(),
        node::graphile(),
        node::pg_boss(),
        Local::<floor::Floor>::boxed(),
    ]
}
