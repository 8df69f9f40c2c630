//! Which change a reading is held against, where several share a workspace and so its counters.
//!
//! A check measures the whole workspace, so that one defect shows in the readings of every change there. Of a metric
//! that passed its limit, one change is the suspect: who is one already; else the newest, since before it the metric was
//! within its limit. The others report the metric as shadowed by it, and Guardian judges them by the rest.

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;
use uuid::Uuid;

use crate::breach::Metric;

/// A change that is applied and watched.
#[derive(Debug, Clone, PartialEq)]
pub struct Watched {
    /// The change.
    pub id: Uuid,
    /// When its execution began; no two in a workspace overlap.
    pub started_at: OffsetDateTime,
    /// What it is held to have done.
    pub suspect: BTreeSet<Metric>,
}

/// Whom a reading is held against.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Blame {
    /// Metrics held against the change that was read.
    pub own: BTreeSet<Metric>,
    /// Metrics held against another one.
    pub shadowed: BTreeMap<Metric, Uuid>,
}

/// Divides the metrics that passed their limits, as `mine` was read, between it and its neighbours.
pub fn blame(passed: impl IntoIterator<Item = Metric>, mine: &Watched, others: &[Watched]) -> Blame {
    let mut blame = Blame::default();
    for metric in passed {
        let suspect = others.iter().find(|o| o.suspect.contains(&metric));
        let newest = others.iter().filter(|o| o.started_at > mine.started_at).max_by_key(|o| (o.started_at, o.id));
        match suspect.or(newest) {
            Some(other) if !mine.suspect.contains(&metric) => {
                blame.shadowed.insert(metric, other.id);
            }
            _ => {
                blame.own.insert(metric);
            }
        }
    }
    blame
}
