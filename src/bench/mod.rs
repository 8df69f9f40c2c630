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
mod soak;
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
pub use soak::{SoakOptions, soak};
pub use throughput::{ThroughputOptions, throughput};
pub use wal::{WalOptions, wal};

#[cfg(test)]
mod tests {
    use super::*;

    /// Fear: a program that asks for a rate of 0 gets a panic (a division), or waits for messages that nobody sends.
    #[tokio::test]
    async fn numbers_of_nothing_are_refused() {
        let url = "postgresql://nobody@localhost/nothing";
        let no_rate = LatencyOptions { rate_per_s: 0, ..LatencyOptions::default() };
        let no_publisher = LatencyOptions { publishers: 0, ..LatencyOptions::default() };
        let no_queue = ThroughputOptions { queues: vec![1, 0], ..ThroughputOptions::default() };
        let no_bytes = ThroughputOptions { bytes: vec![0], ..ThroughputOptions::default() };
        let no_rounds = SoakOptions { rounds: 1, ..SoakOptions::default() };
        let no_instance = HerdOptions { instances: 0, ..HerdOptions::default() };
        for refused in [
            latency(url, &no_rate).await,
            latency(url, &no_publisher).await,
            throughput(url, &no_queue).await,
            throughput(url, &no_bytes).await,
            herd(url, &no_instance).await,
            soak(url, &no_rounds).await,
            pinned(url, &PinnedOptions { messages: 1, ..PinnedOptions::default() }).await,
        ] {
            assert!(refused.is_err_and(|e| e.is_input()));
        }
    }
}
