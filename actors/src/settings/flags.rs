//! Where settings come from: a flag, its environment variable, a TOML file with the same names, the default; the first that says
//! something wins.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::transport::Mode;

/// A deployment's size, by which the documented worker counts go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// 1 to 5 instances
    Small,
    /// 5 to 20 instances
    Medium,
    /// More than 20 instances
    Large,
}

/// Declares the flags, and how one set of them completes another.
macro_rules! flags {
    ($($(#[$meta:meta])* $name:ident: $type:ty,)+) => {
        /// Flags, the same for every subcommand. Each can come from the environment, and from the file under its own name.
        #[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Flags {
            $($(#[$meta])* pub $name: Option<$type>,)+
            /// Those of flags and variables alone, once a file completed them.
            #[arg(skip)]
            #[serde(skip)]
            pub said: Option<Box<Self>>,
        }

        impl Flags {
            /// These, and what they leave open from `other`.
            #[must_use]
            pub fn or(self, other: Self) -> Self {
                Self { $($name: self.$name.or(other.$name),)+ said: self.said }
            }
        }
    };
}

flags! {
    /// Where Postgres is (else DATABASE_URL)
    #[arg(long, value_name = "URL", env = "PGFLOW_DATABASE_URL", hide_env_values = true, global = true)]
    database_url: String,

    /// How messages travel within `single` (default queue; separate roles know only that).
    ///
    /// What goes in memory (all in direct; in auto what the queue refuses) ends with the process, timers too, and leaves no history, no
    /// messages in `trace`, no dead letters; and it reaches no other instance. What the database knows stays: proposals, votes, changes,
    /// reports, patterns. The next start takes up from there what was left half-way.
    #[arg(long, value_name = "WAY", env = "EVOLUTION_TRANSPORT", value_enum, global = true)]
    transport: Mode,

    /// Workers of every queue that has no number of its own (else PGFLOW_QUEUE_WORKERS)
    #[arg(long, value_name = "N", env = "PGFLOW_WORKERS", value_parser = clap::value_parser!(u16).range(1..=1000), global = true, help_heading = "Workers")]
    workers: u16,
    /// Worker counts for a deployment of this size (default: those documented for one)
    #[arg(long, value_name = "SIZE", env = "PGFLOW_TIER", value_enum, global = true, help_heading = "Workers")]
    tier: Tier,
    /// Taking in proposals (central, default 3), executing them (instance, default 2)
    #[arg(long, value_name = "N", env = "PGFLOW_PROPOSALS_WORKERS", value_parser = clap::value_parser!(u16).range(1..=1000), global = true, help_heading = "Workers")]
    proposals_workers: u16,
    /// Judging metrics (central), measuring again (instance); default 2
    #[arg(long, value_name = "N", env = "PGFLOW_METRICS_WORKERS", value_parser = clap::value_parser!(u16).range(1..=1000), global = true, help_heading = "Workers")]
    metrics_workers: u16,
    /// Patterns (central, default 1)
    #[arg(long, value_name = "N", env = "PGFLOW_PATTERNS_WORKERS", value_parser = clap::value_parser!(u16).range(1..=1000), global = true, help_heading = "Workers")]
    patterns_workers: u16,
    /// Results and voting requests (instance, default 2)
    #[arg(long, value_name = "N", env = "PGFLOW_CONSENSUS_WORKERS", value_parser = clap::value_parser!(u16).range(1..=1000), global = true, help_heading = "Workers")]
    consensus_workers: u16,
    /// Votes and deadlines (central, default 2)
    #[arg(long, value_name = "N", env = "PGFLOW_CONSENSUS_RESULTS_WORKERS", value_parser = clap::value_parser!(u16).range(1..=1000), global = true, help_heading = "Workers")]
    consensus_results_workers: u16,
    /// Rollbacks (instance, default 1)
    #[arg(long, value_name = "N", env = "PGFLOW_ROLLBACK_WORKERS", value_parser = clap::value_parser!(u16).range(1..=1000), global = true, help_heading = "Workers")]
    rollback_workers: u16,
    /// Safety profiles (instance, default 1)
    #[arg(long, value_name = "N", env = "PGFLOW_SAFETY_WORKERS", value_parser = clap::value_parser!(u16).range(1..=1000), global = true, help_heading = "Workers")]
    safety_workers: u16,
    /// Learning (central, default 1)
    #[arg(long, value_name = "N", env = "PGFLOW_PROFILE_WORKERS", value_parser = clap::value_parser!(u16).range(1..=1000), global = true, help_heading = "Workers")]
    profile_workers: u16,

    /// Tries after the first (default 3; else PGFLOW_MESSAGE_MAX_RETRIES)
    #[arg(long, value_name = "N", env = "PGFLOW_MAX_RETRIES", value_parser = clap::value_parser!(u16).range(0..=1000), global = true, help_heading = "Retries")]
    max_retries: u16,
    /// The first retry's delay, which doubles, in ms (default 1000; else PGFLOW_MESSAGE_RETRY_DELAY)
    #[arg(long, value_name = "MS", env = "PGFLOW_RETRY_DELAY_MS", value_parser = clap::value_parser!(u64).range(0..=60_000), global = true, help_heading = "Retries")]
    retry_delay_ms: u64,

    /// Collect votes this long, in seconds (default 30)
    #[arg(long, value_name = "S", env = "EVOLUTION_VOTE_S", global = true, help_heading = "Consensus")]
    vote_s: f64,
    /// Fewest votes that decide (default 3)
    #[arg(long, value_name = "N", env = "EVOLUTION_MIN_VOTES", global = true, help_heading = "Consensus")]
    min_votes: usize,
    /// Approve without a vote what is very like a change known to be safe: on or off (default on)
    #[arg(long, value_name = "ON|OFF", env = "EVOLUTION_AUTO_APPROVE", value_parser = on_off, global = true, help_heading = "Consensus")]
    auto_approve: bool,
    /// Let the risk score choose the rule of a vote: on or off (default off)
    #[arg(long, value_name = "ON|OFF", env = "EVOLUTION_RISK_TIERS", value_parser = on_off, global = true, help_heading = "Consensus")]
    risk_tiers: bool,
    /// Let what became of approved changes move the confidence that a vote needs: on or off (default off: 0.85)
    #[arg(long, value_name = "ON|OFF", env = "EVOLUTION_ADAPTIVE_GATE", value_parser = on_off, global = true, help_heading = "Consensus")]
    adaptive_gate: bool,

    /// Watch every applied change this long, in seconds (default: its safety profile's window, else 300)
    #[arg(long, value_name = "S", env = "EVOLUTION_OBSERVATION_S", global = true, help_heading = "Guardian")]
    observation_s: f64,
    /// Report an applied change this often, in seconds (default 30)
    #[arg(long, value_name = "S", env = "EVOLUTION_REPORT_S", global = true, help_heading = "Guardian")]
    report_s: f64,
    /// Send what was measured, agent by agent, this often, in seconds (default 60)
    #[arg(long, value_name = "S", env = "EVOLUTION_BATCH_S", global = true, help_heading = "Guardian")]
    batch_s: f64,
    /// Kill a check that takes longer, in seconds (default 60)
    #[arg(long, value_name = "S", env = "EVOLUTION_CHECK_TIMEOUT_S", global = true, help_heading = "Guardian")]
    check_timeout_s: f64,
    /// Look for rollbacks and executions whose order is dead this often, in seconds (default 60)
    #[arg(long, value_name = "S", env = "EVOLUTION_HEALTH_S", global = true, help_heading = "Guardian")]
    health_s: f64,
    /// Alert when pgflow's tables have more bytes than this (default: no limit); whichever role leads looks, so say it to all
    #[arg(long, value_name = "BYTES", env = "EVOLUTION_BYTES_MAX", global = true, help_heading = "Guardian")]
    bytes_max: u64,
    /// Lower the error threshold of agent types that do well: on or off (default off)
    #[arg(long, value_name = "ON|OFF", env = "EVOLUTION_LEARNING_TIGHTEN", value_parser = on_off, global = true, help_heading = "Guardian")]
    learning_tighten: bool,
}

fn on_off(word: &str) -> Result<bool, String> {
    match word {
        "on" | "true" | "1" => Ok(true),
        "off" | "false" | "0" => Ok(false),
        _ => Err("say on or off".to_owned()),
    }
}

impl Flags {
    /// Reads a file: TOML, the flags' names with `_`, `true` and `false` for on and off.
    ///
    /// # Errors
    /// A file that cannot be read, a name that is no setting, a value of the wrong type; each by its line.
    pub fn from_file(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("read the settings in {}", file.display()))?;
        toml::from_str(&text).with_context(|| format!("settings in {}", file.display()))
    }

    /// Completed from `file`, if there is one.
    ///
    /// # Errors
    /// Those of [`Self::from_file`].
    pub fn completed(self, file: Option<&PathBuf>) -> Result<Self> {
        Ok(match file {
            Some(file) => Self { said: Some(Box::new(self.clone())), ..self.or(Self::from_file(file)?) },
            None => self,
        })
    }

    /// What flags and variables say: the documented aliases come between them and the file.
    pub(super) fn said(&self) -> &Self {
        self.said.as_deref().unwrap_or(self)
    }
}
