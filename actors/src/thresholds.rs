//! The limits a change is judged by (domain §3.3): a base per agent type that profiles from outside can only tighten.

use time::Duration;

use crate::agents::built_in;
use crate::profile::Profile;

/// Effective limits of one change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Lowest success rate. Fixed: a profile's `success_rate` is a record of the past (0.99 next to an error
    /// threshold of 0.10 in the documented sample), not a limit. A tighter error threshold does the tightening.
    pub success_rate: f64,
    /// Highest error rate.
    pub error_rate: f64,
    /// Highest p95 latency, milliseconds.
    pub latency_p95_ms: f64,
    /// Highest cost, US cents.
    pub cost_cents: f64,
    /// Highest growth of memory, MB.
    pub memory_delta_mb: f64,
    /// Highest growth of the error count.
    pub error_growth: u64,
    /// Roll back without asking; else only record and alert.
    pub auto_rollback: bool,
    /// How long the change is watched.
    pub window: Duration,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            success_rate: 0.90,
            error_rate: 0.10,
            latency_p95_ms: 3000.0,
            cost_cents: 10.0,
            memory_delta_mb: 1024.0,
            error_growth: 10,
            auto_rollback: true,
            window: Duration::seconds(300),
        }
    }
}

/// No profile from outside brings an error threshold below this, or one noisy run would always roll back.
pub const ERROR_THRESHOLD_FLOOR: f64 = 0.01;

/// Longest observation window; a proposer cannot keep its change watched for ever.
pub const WINDOW_SECONDS_MAX: u64 = 86_400;

impl Thresholds {
    /// The base of an agent type: its built-in profile where it is listed, the table's defaults elsewhere.
    pub fn base(agent_type: &str) -> Self {
        let mut base = Self::default();
        let Some(listed) = built_in(agent_type) else { return base };
        base.error_rate = listed.error_threshold.unwrap_or(base.error_rate);
        base.error_growth = listed.max_error_count.unwrap_or(base.error_growth);
        base.auto_rollback = listed.auto_rollback.unwrap_or(base.auto_rollback);
        if let Some(seconds) = listed.observation_window_seconds {
            base.window = seconds_of(seconds);
        }
        base
    }

    /// These limits, tightened where `profile` is stricter and left alone where it is looser or nonsense.
    pub fn tightened(mut self, profile: &Profile) -> Self {
        let stricter = |limit: f64, given: Option<f64>, floor: f64| match given {
            Some(value) if value.is_finite() && value >= 0.0 => limit.min(value.max(floor)),
            _ => limit,
        };
        self.error_rate = stricter(self.error_rate, profile.error_threshold, ERROR_THRESHOLD_FLOOR);
        self.latency_p95_ms = stricter(self.latency_p95_ms, profile.latency_threshold, 0.0);
        self.cost_cents = stricter(self.cost_cents, profile.cost_threshold.map(|dollars| dollars * 100.0), 0.0);
        self.memory_delta_mb = stricter(self.memory_delta_mb, profile.memory_threshold, 0.0);
        self.error_growth = self.error_growth.min(profile.max_error_count.unwrap_or(u64::MAX));
        self.auto_rollback |= profile.auto_rollback == Some(true);
        if let Some(seconds) = profile.observation_window_seconds {
            self.window = self.window.max(seconds_of(seconds));
        }
        self
    }

    /// The limits of a change: base of its agent type, tightened by its own profile and by the learned one.
    pub fn effective(agent_type: &str, proposed: &Profile, learned: Option<&Profile>) -> Self {
        let own = Self::base(agent_type).tightened(proposed);
        learned.map_or(own, |l| own.tightened(l))
    }
}

fn seconds_of(seconds: u64) -> Duration {
    Duration::seconds(i64::try_from(seconds.min(WINDOW_SECONDS_MAX)).unwrap_or(i64::MAX))
}
