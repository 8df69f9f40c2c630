//! Settings of both roles (domain §6.2): documented environment names, flags for the windows, defaults.

use std::time::Duration;

use clap::Args;
use pgflow::Queue;

use crate::consensus::ConsensusSettings;
use crate::learning::LearningSettings;

/// Flags, the same for every subcommand; each can come from the environment instead.
#[derive(Debug, Clone, Default, Args)]
pub struct Flags {
    /// Watch every applied change this long, in seconds (default: its safety profile's window, else 300)
    #[arg(long, value_name = "S", env = "EVOLUTION_OBSERVATION_S", global = true)]
    pub observation_s: Option<f64>,
    /// Report an applied change this often, in seconds (default 30)
    #[arg(long, value_name = "S", env = "EVOLUTION_REPORT_S", global = true)]
    pub report_s: Option<f64>,
    /// Collect votes this long, in seconds (default 30)
    #[arg(long, value_name = "S", env = "EVOLUTION_VOTE_S", global = true)]
    pub vote_s: Option<f64>,
    /// Fewest votes that decide (default 3)
    #[arg(long, value_name = "N", env = "EVOLUTION_MIN_VOTES", global = true)]
    pub min_votes: Option<usize>,
    /// Approve without a vote what is very like a change known to be safe: on or off (default on)
    #[arg(long, value_name = "ON|OFF", env = "EVOLUTION_AUTO_APPROVE", value_parser = on_off, global = true)]
    pub auto_approve: Option<bool>,
    /// Let the risk score choose the rule of a vote: on or off (default off)
    #[arg(long, value_name = "ON|OFF", env = "EVOLUTION_RISK_TIERS", value_parser = on_off, global = true)]
    pub risk_tiers: Option<bool>,
    /// Lower the error threshold of agent types that do well: on or off (default off)
    #[arg(long, value_name = "ON|OFF", env = "EVOLUTION_LEARNING_TIGHTEN", value_parser = on_off, global = true)]
    pub learning_tighten: Option<bool>,
    /// Look at the queues this often, in seconds (default 60)
    #[arg(long, value_name = "S", env = "EVOLUTION_HEALTH_S", global = true)]
    pub health_s: Option<f64>,
    /// Alert when pgflow's tables have more bytes than this (default: no limit)
    #[arg(long, value_name = "BYTES", env = "EVOLUTION_BYTES_MAX", global = true)]
    pub bytes_max: Option<i64>,
    /// Kill a check that takes longer, in seconds (default 60)
    #[arg(long, value_name = "S", env = "EVOLUTION_CHECK_TIMEOUT_S", global = true)]
    pub check_timeout_s: Option<f64>,
}

fn on_off(word: &str) -> Result<bool, String> {
    match word {
        "on" | "true" | "1" => Ok(true),
        "off" | "false" | "0" => Ok(false),
        _ => Err("say on or off".to_owned()),
    }
}

/// Workers per queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workers {
    /// Proposals: taken in by central, executed by an instance.
    pub proposals: usize,
    /// Metrics: judged by central, read again by an instance.
    pub metrics: usize,
    /// Patterns (central).
    pub patterns: usize,
    /// Consensus results and voting requests (instance).
    pub consensus: usize,
    /// Votes and deadlines, from which results are made (central).
    pub consensus_results: usize,
    /// Rollbacks (instance).
    pub rollback: usize,
    /// Safety profiles (instance).
    pub safety: usize,
    /// Learning, which sends profiles (central).
    pub profile: usize,
}

/// The lengths of time that everything waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// How long an applied change is watched; none: as its safety profile says.
    pub observation: Option<Duration>,
    /// How often it is reported meanwhile.
    pub report: Duration,
    /// How long a check may take.
    pub check: Duration,
    /// How often central looks at the queues.
    pub health: Duration,
}

/// Report periods of silence until the alert `metrics_stale`.
pub const STALE_PERIODS: u32 = 3;

/// Settings of a role.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Workers per queue.
    pub workers: Workers,
    /// Redeliveries after the first try.
    pub max_retries: u16,
    /// The first retry's delay; it doubles.
    pub retry_delay: Duration,
    /// Windows.
    pub windows: Windows,
    /// Bytes of pgflow's tables that are too much.
    pub bytes_max: Option<i64>,
    /// The vote; its window is how long votes are collected.
    pub consensus: ConsensusSettings,
    /// The learning loop.
    pub learning: LearningSettings,
    /// Report a pattern for every change that proved itself.
    pub mine_patterns: bool,
}

/// Which role's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Singularity.
    Instance,
    /// CentralCloud.
    Central,
}

/// Longest window that is accepted, in seconds.
const WINDOW_S_MAX: f64 = 86_400.0;
/// The longest delay of a retry.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(60);
/// The longest that a handler may take that neither executes nor checks.
const DEADLINE: Duration = Duration::from_secs(30);

impl Settings {
    /// The documented defaults.
    pub fn new(role: Role) -> Self {
        Self {
            workers: Workers {
                proposals: if role == Role::Central { 3 } else { 2 },
                metrics: 2,
                patterns: 1,
                consensus: 2,
                consensus_results: 2,
                rollback: 1,
                safety: 1,
                profile: 1,
            },
            max_retries: 3,
            retry_delay: Duration::from_secs(1),
            windows: Windows {
                observation: None,
                report: Duration::from_secs(30),
                check: Duration::from_secs(60),
                health: Duration::from_secs(60),
            },
            bytes_max: None,
            consensus: ConsensusSettings::default(),
            learning: LearningSettings::default(),
            mine_patterns: true,
        }
    }

    /// The defaults, changed by the environment (read through `variable`), changed by flags.
    ///
    /// Per queue: its own variable, else `PGFLOW_WORKERS`, else `PGFLOW_QUEUE_WORKERS`, else the default.
    ///
    /// # Errors
    /// A value that is no number or out of range, named.
    pub fn read(role: Role, flags: &Flags, variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let mut settings = Self::new(role);
        let number = |names: &[&str], low: u64, high: u64| -> Result<Option<u64>, String> {
            let Some((name, text)) = names.iter().find_map(|n| Some((n, variable(n)?))) else { return Ok(None) };
            let value = text.trim().parse().ok().filter(|v| (low..=high).contains(v));
            value.map(Some).ok_or_else(|| format!("{name} is `{text}`, not a number from {low} to {high}"))
        };
        let w = &mut settings.workers;
        for (name, count) in [
            ("PGFLOW_PROPOSALS_WORKERS", &mut w.proposals),
            ("PGFLOW_METRICS_WORKERS", &mut w.metrics),
            ("PGFLOW_PATTERNS_WORKERS", &mut w.patterns),
            ("PGFLOW_CONSENSUS_WORKERS", &mut w.consensus),
            ("PGFLOW_CONSENSUS_RESULTS_WORKERS", &mut w.consensus_results),
            ("PGFLOW_ROLLBACK_WORKERS", &mut w.rollback),
            ("PGFLOW_SAFETY_WORKERS", &mut w.safety),
            ("PGFLOW_PROFILE_WORKERS", &mut w.profile),
        ] {
            if let Some(n) = number(&[name, "PGFLOW_WORKERS", "PGFLOW_QUEUE_WORKERS"], 1, 1_000)? {
                *count = usize::try_from(n).unwrap_or(1);
            }
        }
        if let Some(n) = number(&["PGFLOW_MAX_RETRIES", "PGFLOW_MESSAGE_MAX_RETRIES"], 0, 1_000)? {
            settings.max_retries = u16::try_from(n).unwrap_or(u16::MAX);
        }
        if let Some(ms) = number(&["PGFLOW_RETRY_DELAY_MS", "PGFLOW_MESSAGE_RETRY_DELAY"], 0, 60_000)? {
            settings.retry_delay = Duration::from_millis(ms);
        }
        settings.take(flags)?;
        Ok(settings)
    }

    fn take(&mut self, flags: &Flags) -> Result<(), String> {
        let seconds = |name: &str, value: Option<f64>| match value {
            Some(s) if (0.05..=WINDOW_S_MAX).contains(&s) => Ok(Some(Duration::from_secs_f64(s))),
            Some(s) => Err(format!("--{name} is {s}, not in 0.05 to {WINDOW_S_MAX} seconds")),
            None => Ok(None),
        };
        self.windows.observation = seconds("observation-s", flags.observation_s)?;
        self.windows.report = seconds("report-s", flags.report_s)?.unwrap_or(self.windows.report);
        self.windows.check = seconds("check-timeout-s", flags.check_timeout_s)?.unwrap_or(self.windows.check);
        self.windows.health = seconds("health-s", flags.health_s)?.unwrap_or(self.windows.health);
        self.bytes_max = flags.bytes_max.or(self.bytes_max);
        if let Some(window) = seconds("vote-s", flags.vote_s)? {
            self.consensus.window = window.try_into().map_err(|_| "--vote-s is out of range".to_owned())?;
        }
        if let Some(votes) = flags.min_votes {
            if votes == 0 {
                return Err("--min-votes is 0: use --auto-approve to ask nobody".to_owned());
            }
            self.consensus.min_votes = votes;
        }
        if flags.auto_approve == Some(false) {
            // Likeness is at most 1.
            self.consensus.auto_approve_from = f64::INFINITY;
        }
        self.consensus.risk_tiers = flags.risk_tiers.unwrap_or(self.consensus.risk_tiers);
        self.learning.tighten = flags.learning_tighten.unwrap_or(self.learning.tighten);
        Ok(())
    }

    /// A queue with these settings. Only the one for rollbacks keeps a worker free for high priority.
    pub(crate) fn queue(&self, name: &str, workers: usize) -> Queue {
        let queue = Queue::new(name).workers(workers).high_reserve(name == crate::messages::ROLLBACK_TRIGGERS);
        queue.max_retries(self.max_retries).retry_delay(self.retry_delay, RETRY_DELAY_MAX)
    }

    /// The same, for handlers that only talk to the database.
    pub(crate) fn brief_queue(&self, name: &str, workers: usize) -> Queue {
        self.queue(name, workers).deadline(DEADLINE)
    }

    /// Is this the last try of a message?
    pub(crate) fn is_last(&self, attempt: u32) -> bool {
        attempt > u32::from(self.max_retries)
    }

    /// How long a change with this profile window is watched.
    pub(crate) fn observation(&self, by_profile: time::Duration) -> time::Duration {
        let set = self.windows.observation.and_then(|window| window.try_into().ok());
        set.unwrap_or(by_profile)
    }
}
