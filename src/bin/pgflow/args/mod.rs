//! The command line. What a value may be is said here; what it does, in `commands`.

mod bench;
mod value;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use pgflow::{Priority, limits};

pub(crate) use bench::{Bench, Measure};
use value::{command, duration, priority};

/// Event-driven actors on PostgreSQL: durable queues, wake-ups without polling, supervised workers.
#[derive(Debug, Parser)]
#[command(name = "pgflow", version, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Where Postgres is, as postgresql://user@host/db [env: PGFLOW_DATABASE_URL, else DATABASE_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) database_url: Option<String>,
    /// The schema of pgflow's tables
    #[arg(long, global = true, value_name = "NAME", default_value = pgflow::migrate::SCHEMA_DEFAULT)]
    pub(crate) schema: String,
    /// JSON on stdout: one array for a list, one object for a single thing
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a throw-away Postgres in the foreground and print its URL
    Dev(Dev),
    /// Create or update pgflow's tables; harmless when they are there
    Init {
        /// Print the SQL instead of running it
        #[arg(long)]
        dry_run: bool,
    },
    /// Show or change how publishers wake sleeping instances
    Mode {
        /// The new mode
        #[arg(value_parser = ["eventcount", "notify", "poll"])]
        mode: Option<String>,
    },
    /// List the queues with their counts
    Queues,
    /// Show one queue's counts, ages and rates
    Stats { queue: String },
    /// List a queue's messages that could start now, in the order in which they will. Those that wait for a time or for their key
    /// are counted by `queues`; the view pgflow_messages has all
    Pending {
        queue: String,
        #[command(flatten)]
        limit: Limit,
    },
    /// Dead letters: list, show, retry, purge
    #[command(subcommand)]
    Dlq(Dlq),
    /// Make, stop, start again and remove queues
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Publish a message, or one per line of stdin
    Publish(Publish),
    /// Look into a folder of messages published while Postgres was away, or forward them
    Spool {
        /// The folder
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        #[command(subcommand)]
        command: SpoolCommand,
    },
    /// Run a command for every message of a queue, which is made if there is none of its name
    Work(Work),
    /// Show all that happened to a message, by its id or the id that its producer made
    Trace { id: String },
    /// Say why a message is not running, or how it ended; by its id or the id that its producer made
    Explain { id: String },
    /// Cancel a message that waits, by its id or the id that its producer made
    Cancel { id: String },
    /// Look for what is wrong, or may soon be; exit code 1 if anything fails
    Doctor,
    /// Show the live instances and their supervision trees
    Tree,
    /// Show the queues every two seconds
    Top,
    /// Serve a dashboard, /metrics and /healthz
    Serve {
        /// Where to listen; anybody who reaches it can look
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9187")]
        listen: SocketAddr,
    },
    /// Measure this database, each figure beside its raw floor
    Bench(Bench),
}

impl Command {
    /// How much the log says unless told otherwise: what runs on, says what it does.
    pub(crate) fn log_level(&self) -> &'static str {
        match self {
            Self::Work(_) | Self::Serve { .. } => "info",
            _ => "warn",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// Keep the data in this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Also listen on this port of 127.0.0.1; any user of this machine is then its superuser
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// Create pgflow's tables before the URL is printed
    #[arg(long)]
    pub(crate) init: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Limit {
    /// At most so many rows
    #[arg(long, allow_negative_numbers = true, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=limits::LIST_MAX.into()))]
    pub(crate) limit: u32,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    /// List dead letters, the newest first
    List {
        /// Only those of this queue
        #[arg(long)]
        queue: Option<String>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Show one dead letter with its payload
    Show { id: i64 },
    /// Put dead letters back on their queues, with all their tries before them
    Retry(Chosen),
    /// Remove dead letters for good; their history stays
    Purge(Chosen),
}

/// Which dead letters: one, a queue's, or all.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Chosen {
    /// The dead letter with this id
    pub(crate) id: Option<i64>,
    /// All of this queue
    #[arg(long)]
    pub(crate) queue: Option<String>,
    /// All there are
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// Make a queue, or give an existing one the settings named
    Create {
        name: String,
        /// Redeliveries after the first try [a new queue: 3]
        #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(0..=limits::RETRIES_MAX.into()))]
        max_retries: Option<u16>,
        /// Delay of the first retry; it doubles from there [a new queue: 1s]
        #[arg(long, allow_hyphen_values = true, value_parser = duration, requires = "retry_delay_max", value_name = "TIME")]
        retry_delay: Option<Duration>,
        /// Longest delay of a retry [a new queue: 60s]
        #[arg(long, allow_hyphen_values = true, value_parser = duration, requires = "retry_delay", value_name = "TIME")]
        retry_delay_max: Option<Duration>,
        /// Largest payload in bytes [a new queue: 1048576]
        #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=limits::PAYLOAD_BYTES_MAX.into()), value_name = "BYTES")]
        payload_bytes_max: Option<u32>,
    },
    /// Let no message start; publishing goes on
    Pause { name: String },
    /// Let messages start again
    Resume { name: String },
    /// Remove a queue
    Delete {
        name: String,
        /// Though it has unfinished messages: they are cancelled
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Publish {
    pub(crate) queue: String,
    /// The payload, JSON; as -, or without it and without --file, it is read from stdin
    #[arg(allow_negative_numbers = true, conflicts_with_all = ["file", "ndjson"])]
    pub(crate) payload: Option<String>,
    /// What the message is; handlers are chosen by it [default: the payload's "type", else the queue's name]
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// high, normal or low
    #[arg(long, allow_negative_numbers = true, default_value_t, value_parser = priority)]
    pub(crate) priority: Priority,
    /// Ordering key: one message of a key at a time, in publish order
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Dedup key: a second message of the queue with it is not published, and gets the first one's id
    #[arg(long, conflicts_with = "ndjson")]
    pub(crate) dedup: Option<String>,
    /// Not to be started before so much time has passed, as 500ms, 5s, 10m, 2h, 1d
    #[arg(long, allow_hyphen_values = true, value_parser = duration, value_name = "TIME")]
    pub(crate) delay: Option<Duration>,
    /// Only the instance of this name may take it
    #[arg(long, value_name = "INSTANCE")]
    pub(crate) target: Option<String>,
    /// One copy for each live instance that serves the queue; each copy's id comes out
    #[arg(long, conflicts_with_all = ["ndjson", "target", "spool"])]
    pub(crate) broadcast: bool,
    /// Headers: a JSON object that travels beside the payload
    #[arg(long, value_name = "JSON")]
    pub(crate) headers: Option<String>,
    /// Read the payload from this file; - is stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// One message per line; one JSON line out per message, with its id
    #[arg(long)]
    pub(crate) ndjson: bool,
    /// Keep in this folder what is published while Postgres is away, and forward it when it is back
    #[arg(long, value_name = "DIR")]
    pub(crate) spool: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SpoolCommand {
    /// Show what waits there, and what was set aside; also while a process uses the folder
    Show,
    /// Forward all of it now, and end; the exit code is 1 when something is left
    Drain,
}

/// Below the help of `work`: what a command meets.
const WORK_HELP: &str = "\
The command finds in its environment:
  PGFLOW_ID          the message's number, the same in all its tries
  PGFLOW_MESSAGE_ID  the id that its producer made
  PGFLOW_QUEUE, PGFLOW_KIND, PGFLOW_PRIORITY
  PGFLOW_ATTEMPT     which try this is, from 1
  PGFLOW_KEY         its ordering key, if it has one
  PGFLOW_HEADERS     its headers as JSON, if it has any, of at most 64 KiB
  PGFLOW_SOURCE      who published it

What it writes to stdout goes to ours: where that is closed, as behind `| head -1`, it is killed by SIGPIPE, and its message
is tried again. Its stderr goes to ours, too.

The log goes to stderr; PGFLOW_LOG, else RUST_LOG, says how much of it: warn, or pgflow::wake=trace,info";

#[derive(Debug, Args)]
#[command(after_help = WORK_HELP)]
pub(crate) struct Work {
    pub(crate) queue: String,
    /// Run by `sh -c`, payload on stdin; exit 0: done, 65: dead, anything else: retry. The end of stderr is the error
    #[arg(long, value_parser = command, value_name = "CMD")]
    pub(crate) exec: String,
    /// Messages handled at once (one more slot takes only high priority)
    #[arg(long, allow_negative_numbers = true, default_value_t = 1, value_name = "N")]
    pub(crate) workers: usize,
    /// Kill a command that runs longer; its message is retried
    #[arg(long, allow_hyphen_values = true, value_parser = duration, value_name = "TIME")]
    pub(crate) deadline: Option<Duration>,
    /// This instance's name [default: host name and process id]
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: Option<String>,
    /// A direct way to the same database for the one connection that listens, when the other leads through a pooler
    #[arg(long, env = "PGFLOW_LISTEN_URL", hide_env_values = true, value_name = "URL")]
    pub(crate) listen_url: Option<String>,
    /// How long running commands may go on after SIGINT or SIGTERM; then they are killed and their messages handed back
    #[arg(long, allow_hyphen_values = true, value_parser = duration, default_value = "20s", value_name = "TIME")]
    pub(crate) grace: Duration,
    /// Serve a dashboard, /metrics of this instance and /healthz there
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Time between heartbeats
    #[arg(long, hide = true, value_name = "MS")]
    pub(crate) heartbeat_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two arguments of one name, or a default that its parser refuses, panic only when the command is used.
    #[test]
    fn the_command_line_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
