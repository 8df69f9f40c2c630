//! Settings of both roles (domain §6.2): the documented defaults, and what flags, environment and file make of them.

mod flags;

use std::time::Duration;

use serde::Serialize;

pub use flags::{Flags, Tier};

use crate::consensus::ConsensusSettings;
use crate::consumers::Serving;
use crate::learning::LearningSettings;
use crate::transport::Mode;

/// Workers per queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
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

impl Workers {
    /// The documented counts for a deployment of this size; what is not listed there stays.
    fn of_tier(self, tier: Tier) -> Self {
        let (proposals, metrics, patterns, consensus, rollback) = match tier {
            Tier::Small => (1, 1, 1, 1, 1),
            Tier::Medium => (3, 2, 2, 2, 1),
            Tier::Large => (5, 4, 3, 4, 2),
        };
        Self { proposals, metrics, patterns, consensus, consensus_results: consensus, rollback, ..self }
    }
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
    /// How often central looks for rollbacks and executions whose order is dead.
    pub health: Duration,
    /// How often an instance sends what it measured, agent by agent.
    pub batch: Duration,
}

/// Report periods of silence until the alert `metrics_stale`.
pub const STALE_PERIODS: u32 = 3;

/// Settings of a role.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How the messages of both roles in one process travel.
    pub transport: Mode,
    /// Workers per queue.
    pub workers: Workers,
    /// Redeliveries after the first try.
    pub max_retries: u16,
    /// The first retry's delay; it doubles.
    pub retry_delay: Duration,
    /// Windows.
    pub windows: Windows,
    /// Bytes of pgflow's tables that are too much: `alert_bytes` of the runtime, unless its own configuration says so.
    pub bytes_max: Option<u64>,
    /// The vote; its window is how long votes are collected.
    pub consensus: ConsensusSettings,
    /// Let what became of approved changes move the confidence that a vote needs.
    pub adaptive_gate: bool,
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
pub(crate) const RETRY_DELAY_MAX: Duration = Duration::from_secs(60);
/// The longest that a handler may take that neither executes nor checks.
const DEADLINE: Duration = Duration::from_secs(30);

impl Settings {
    /// The documented defaults.
    pub fn new(role: Role) -> Self {
        Self {
            transport: Mode::Queue,
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
                batch: Duration::from_secs(60),
            },
            bytes_max: None,
            consensus: ConsensusSettings::default(),
            adaptive_gate: false,
            learning: LearningSettings::default(),
            mine_patterns: true,
        }
    }

    /// The defaults, changed by `flags` (complete: from flags, environment and file), the documented aliases read through
    /// `variable`. Workers: a queue's own number, else that for all, else the alias, else what the file says in the same order, else the
    /// size's, else the default.
    ///
    /// # Errors
    /// A value that is out of range, named.
    pub fn read(role: Role, flags: &Flags, variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let mut settings = Self::new(role);
        let alias = |name: &str, low: u64, high: u64| -> Result<Option<u64>, String> {
            let Some(text) = variable(name) else { return Ok(None) };
            let value = text.trim().parse().ok().filter(|v| (low..=high).contains(v));
            value.map(Some).ok_or_else(|| format!("{name} is `{text}`, not a number from {low} to {high}"))
        };
        let count = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
        if let Some(tier) = flags.tier {
            settings.workers = settings.workers.of_tier(tier);
        }
        let said = flags.said();
        let all = match said.workers {
            Some(n) => Some(n),
            None => alias("PGFLOW_QUEUE_WORKERS", 1, 1_000)?.map(count),
        };
        let w = &mut settings.workers;
        for (own, filed, workers) in [
            (said.proposals_workers, flags.proposals_workers, &mut w.proposals),
            (said.metrics_workers, flags.metrics_workers, &mut w.metrics),
            (said.patterns_workers, flags.patterns_workers, &mut w.patterns),
            (said.consensus_workers, flags.consensus_workers, &mut w.consensus),
            (said.consensus_results_workers, flags.consensus_results_workers, &mut w.consensus_results),
            (said.rollback_workers, flags.rollback_workers, &mut w.rollback),
            (said.safety_workers, flags.safety_workers, &mut w.safety),
            (said.profile_workers, flags.profile_workers, &mut w.profile),
        ] {
            let Some(n) = own.or(all).or(filed).or(flags.workers) else { continue };
            if !(1..=1_000).contains(&n) {
                return Err(format!("a queue is to have {n} workers, not 1 to 1000"));
            }
            *workers = usize::from(n);
        }
        let retries = match said.max_retries {
            Some(n) => Some(n),
            None => alias("PGFLOW_MESSAGE_MAX_RETRIES", 0, 1_000)?.map(count),
        };
        settings.max_retries = retries.or(flags.max_retries).unwrap_or(settings.max_retries);
        let delay = match said.retry_delay_ms {
            Some(ms) => Some(ms),
            None => alias("PGFLOW_MESSAGE_RETRY_DELAY", 0, 60_000)?,
        };
        settings.retry_delay = delay.or(flags.retry_delay_ms).map_or(settings.retry_delay, Duration::from_millis);
        settings.take(flags)?;
        Ok(settings)
    }

    fn take(&mut self, flags: &Flags) -> Result<(), String> {
        let seconds = |name: &str, value: Option<f64>| match value {
            Some(s) if (0.05..=WINDOW_S_MAX).contains(&s) => Ok(Some(Duration::from_secs_f64(s))),
            Some(s) => Err(format!("--{name} is {s}, not in 0.05 to {WINDOW_S_MAX} seconds")),
            None => Ok(None),
        };
        self.transport = flags.transport.unwrap_or(self.transport);
        let w = &mut self.windows;
        w.observation = seconds("observation-s", flags.observation_s)?;
        w.report = seconds("report-s", flags.report_s)?.unwrap_or(w.report);
        w.check = seconds("check-timeout-s", flags.check_timeout_s)?.unwrap_or(w.check);
        w.health = seconds("health-s", flags.health_s)?.unwrap_or(w.health);
        w.batch = seconds("batch-s", flags.batch_s)?.unwrap_or(w.batch);
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
        self.adaptive_gate = flags.adaptive_gate.unwrap_or(self.adaptive_gate);
        self.learning.tighten = flags.learning_tighten.unwrap_or(self.learning.tighten);
        Ok(())
    }

    /// The settings in words, for people to check.
    pub fn shown(&self) -> serde_json::Value {
        let (c, w) = (&self.consensus, &self.windows);
        serde_json::json!({
            "transport": self.transport,
            "workers": self.workers,
            "max_retries": self.max_retries,
            "retry_delay_ms": u64::try_from(self.retry_delay.as_millis()).unwrap_or(u64::MAX),
            "observation_s": w.observation.map(|d| d.as_secs_f64()),
            "report_s": w.report.as_secs_f64(),
            "batch_s": w.batch.as_secs_f64(),
            "check_timeout_s": w.check.as_secs_f64(),
            "health_s": w.health.as_secs_f64(),
            "bytes_max": self.bytes_max,
            "vote_s": c.window.as_seconds_f64(),
            "min_votes": c.min_votes,
            "auto_approve": c.auto_approve_from <= 1.0,
            "risk_tiers": c.risk_tiers,
            "adaptive_gate": self.adaptive_gate,
            "learning_tighten": self.learning.tighten,
        })
    }

    /// How a queue is served with these settings.
    pub(crate) const fn queue(&self, name: &'static str, workers: usize) -> Serving {
        let (max_retries, retry_delay) = (self.max_retries, self.retry_delay);
        Serving { name, workers, deadline: None, max_retries, retry_delay }
    }

    /// The same, for handlers that only talk to the database.
    pub(crate) const fn brief_queue(&self, name: &'static str, workers: usize) -> Serving {
        Serving { deadline: Some(DEADLINE), ..self.queue(name, workers) }
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
