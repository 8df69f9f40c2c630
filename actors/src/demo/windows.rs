//! The demo profile: the windows of the system, shortened so that everything happens within a minute or two.

use serde::Serialize;

/// Windows in seconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Windows {
    /// How long a change is watched.
    pub(crate) observation_s: u64,
    /// How often it is reported meanwhile.
    pub(crate) report_s: u64,
    /// How long votes are collected.
    pub(crate) vote_s: u64,
    /// How often what was measured is sent in a batch.
    pub(crate) batch_s: u64,
}

/// The demo's.
pub(crate) const DEMO: Windows = Windows { observation_s: 10, report_s: 2, vote_s: 15, batch_s: 5 };

impl Windows {
    /// As the roles take them.
    pub(crate) fn arguments(self) -> [String; 4] {
        [
            format!("--observation-s={}", self.observation_s),
            format!("--report-s={}", self.report_s),
            format!("--vote-s={}", self.vote_s),
            format!("--batch-s={}", self.batch_s),
        ]
    }
}
