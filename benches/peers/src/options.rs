//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Measures pgflow and its rivals side by side, on one durable Postgres, in one run.
#[derive(Clone, Debug, Parser)]
#[command(name = "compare")]
pub(crate) struct Options {
    /// The server to measure on; default: one of its own, durable, in a temporary folder.
    #[arg(long, env = "PGFLOW_COMPARE_URL")]
    pub(crate) database_url: Option<String>,
    /// Rounds; in each, every system takes its turn in every measure. Figures are medians.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) rounds: u16,
    /// Only systems whose name contains one of these.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Only these measures.
    #[arg(long, value_delimiter = ',', default_value = "latency,drain,enqueue,wal")]
    pub(crate) measures: Vec<Kind>,
    /// Messages of a latency turn.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) samples: u32,
    /// Milliseconds between a message's start and the next one.
    #[arg(long, value_delimiter = ',', default_value = "20", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) gaps: Vec<u64>,
    /// Messages of a backlog.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) messages: u32,
    /// Messages of one bulk call.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) batch: u32,
    /// Connections that enqueue at once.
    #[arg(long, value_delimiter = ',', default_value = "8,32", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) connections: Vec<u16>,
    /// Seconds of an enqueue turn.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) enqueue_s: f64,
    /// Messages of a turn for the log, each of 300 bytes.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) wal_messages: u32,
    /// Seconds after which a backlog's filling, and its drain, is cut; its rate is that of the part done.
    #[arg(long, default_value_t = 10.0)]
    pub(crate) cap_s: f64,
    /// Seconds to wait before a turn for a machine that is idle.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) quiet_s: f64,
    /// The folder for RESULTS.md, results.svg and results.json; default: none are written.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Prints every round's figures as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// From a publish to the handler's start.
    Latency,
    /// A backlog worked off; and enqueued in bulk.
    Drain,
    /// One message a transaction.
    Enqueue,
    /// Bytes of the log, and commits.
    Wal,
}
