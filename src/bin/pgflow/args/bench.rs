//! The command line of `pgflow bench`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use super::value::duration;

/// Without a URL a Postgres of its own is started. A schema of its own is made, and dropped in the end.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Also draw the figures, as an SVG
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) measure: Measure,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Measure {
    /// From a publish to the handler's start, on an idle instance and at a rate of messages
    Latency {
        /// Messages of a turn; a quarter of it at gaps above 50 ms, five times as many at the rate
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        messages: u32,
        /// Pauses between two messages, with commas
        #[arg(long, value_parser = duration, value_delimiter = ',', default_value = "5ms,20ms,200ms", value_name = "TIME")]
        gaps: Vec<Duration>,
        /// Messages a second that are sent when they are due, whatever became of those before
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        rate: u32,
        /// Connections that send them by turns
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=500))]
        publishers: u16,
        /// Turns of ours and of the floor's
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=100))]
        rounds: u16,
    },
    /// Waiting messages handled a second, by handlers that do nothing and exactly once
    Throughput {
        /// How many messages; at most 256 MiB of them, and a fifth exactly once
        #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
        messages: u32,
        /// Also with so many instances, each a figure more, with commas
        #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=100))]
        runtimes: Vec<u16>,
        /// Also out of so many queues, each a figure more, with commas
        #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1_000))]
        queues: Vec<u16>,
        /// Also with messages of so many bytes, each a figure more, with commas
        #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
        bytes: Vec<u32>,
        /// How many at once
        #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=10_000))]
        workers: u16,
        /// Turns of ours and of the floor's
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
        rounds: u16,
    },
    /// Messages published a second, one a transaction, in bulk, and while instances handle them
    Publish {
        /// How many connections at once
        #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        connections: u16,
        /// Length of a turn
        #[arg(long, value_parser = duration, default_value = "2s", value_name = "TIME")]
        turn: Duration,
        /// Turns of ours and of the floor's
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=100))]
        rounds: u16,
    },
    /// From an urgent message's publish to its start, with everything else busy
    Priority {
        /// Urgent messages of a turn
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        messages: u32,
        /// Normal messages that wait
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
        pending: u32,
        /// Connections that publish normal messages meanwhile
        #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        publishers: u16,
        /// How long each normal message is handled
        #[arg(long, value_parser = duration, default_value = "50ms", value_name = "TIME")]
        handling: Duration,
        /// Turns of ours and of the floor's
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
        rounds: u16,
    },
    /// Messages handled a second out of queues of several depths
    Depth {
        /// Messages that wait, with commas; each above messages and workers together
        #[arg(long, value_delimiter = ',', default_value = "20000,1000000", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
        depths: Vec<u32>,
        /// How many are handled
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
        messages: u32,
        /// How many at once
        #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=10_000))]
        workers: u16,
        /// Turns of ours and of the floor's
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
        rounds: u16,
    },
    /// Messages handled a second while a transaction stays open and keeps vacuum away
    Pinned {
        /// Messages that are handled meanwhile, before the turn
        #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
        churn: u32,
        /// How many are handled
        #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(2..=10_000_000))]
        messages: u32,
        /// How many at once
        #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=10_000))]
        workers: u16,
        /// Turns of ours and of the floor's
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
        rounds: u16,
    },
    /// Statements, processor time and memory of an instance without messages (Linux)
    Idle {
        /// Queues that it serves
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        queues: u16,
        /// Workers of each
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        workers: u16,
        /// How long it is watched
        #[arg(long, value_parser = duration, default_value = "60s", value_name = "TIME")]
        time: Duration,
        /// Messages that wait in a paused queue, for the second look at memory
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
        pending: u32,
        /// Turns of ours and of the floor's
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
        rounds: u16,
    },
    /// Wakes and scans of a message when many instances sleep on its queue
    Herd {
        /// How many instances
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
        instances: u16,
        /// Messages of a turn
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        messages: u32,
        /// Pause between two messages
        #[arg(long, value_parser = duration, default_value = "20ms", value_name = "TIME")]
        gap: Duration,
        /// Turns of one instance and of all
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
        rounds: u16,
    },
    /// Memory, handles, connections, locks and table sizes of an instance that handles messages for an hour (Linux)
    Soak {
        /// How long
        #[arg(long, value_parser = duration, default_value = "1h", value_name = "TIME")]
        time: Duration,
        /// Messages a second
        #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        rate: u32,
        /// How many at once
        #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=10_000))]
        workers: u16,
        /// Parts of the time, each looked at in its end; the first is the others' floor
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(2..=10_000))]
        rounds: u32,
    },
    /// Bytes of write-ahead log and commits that a message takes
    Wal {
        /// How many messages
        #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
        messages: u32,
        /// Bytes of a message
        #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
        bytes: u32,
        /// How many at once
        #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=10_000))]
        workers: u16,
        /// Turns of ours and of the floor's
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
        rounds: u16,
    },
}
