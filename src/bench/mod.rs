//! Measurements that anybody can repeat, each figure beside its raw floor from the same run.
//!
//! A floor is what the same server and the same machine give a bare tokio-postgres program for the same SQL on a copy of
//! the same tables: no actors, no retries, no wake-up protocol. Ours and the floor take turns, so that a neighbour's load
//! meets both; only the ratios carry over to another machine. Everything happens in two schemas of the bench's own,
//! dropped in the end, so that it may run on a database that is in use.

mod arena;
mod depth;
mod drain;
mod end_to_end;
mod exactly_once;
mod floor;
mod herd;
mod idle;
mod latency;
mod open_loop;
mod pace;
mod pinned;
mod priority;
mod publish;
mod report;
mod throughput;
mod times;
mod wal;

pub use arena::clear;
pub use depth::{DepthOptions, depth};
pub use herd::{HerdOptions, herd};
pub use idle::{IdleOptions, idle};
pub use latency::{LatencyOptions, latency};
pub use pinned::{PinnedOptions, pinned};
pub use priority::{PriorityOptions, priority};
pub use publish::{PublishOptions, publish};
pub use report::{Amount, Figure, Machine, Report, Round};
pub use throughput::{ThroughputOptions, throughput};
pub use wal::{WalOptions, wal};
