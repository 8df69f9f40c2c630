//! What a person should look at (domain §6.5): when it is raised, and when it is over. An alert is open once a subject,
//! and cleared when what raised it is gone.

use std::collections::BTreeMap;

use time::{Duration, OffsetDateTime};

use crate::tag::tagged;

tagged! {
    /// Every alert.
    pub enum Alert {
        /// A limit was passed, and no rollback follows.
        ThresholdBreach = "threshold_breach",
        /// No report of a watched change for three periods.
        MetricsStale = "metrics_stale",
        /// A change could not be taken back: the worst.
        RollbackFailed = "rollback_failed",
        /// Dead letters pile up.
        DeadLetters = "dead_letters",
        /// A message has waited too long for its start.
        QueueLatency = "queue_latency",
        /// A queue grows faster than it is emptied.
        ConsumerLag = "consumer_lag",
        /// pgflow's tables grow.
        DatabaseSize = "database_size",
    }
}

tagged! {
    /// How much of an eye it wants.
    pub enum Urgency {
        /// In working hours.
        Warn = "warn",
        /// Now.
        Page = "page",
    }
}

/// One thing found by a look at the queues.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// What.
    pub alert: Alert,
    /// Of what: a queue's name, or `all`.
    pub subject: String,
    /// How urgent.
    pub urgency: Urgency,
    /// In words.
    pub detail: String,
}

/// A queue at one look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Depth {
    /// When.
    pub at: OffsetDateTime,
    /// Claimable messages.
    pub pending: i64,
    /// Age of the oldest of them, seconds.
    pub oldest_s: f64,
}

/// What the alerts about queues are judged by.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Look {
    /// Every queue's looks, newest first.
    pub queues: BTreeMap<String, Vec<Depth>>,
    /// Dead letters.
    pub dead: i64,
    /// Bytes of pgflow's tables now.
    pub bytes: i64,
    /// The same a day ago, if that is known.
    pub bytes_a_day_ago: Option<i64>,
    /// A size that is too much whatever it was before.
    pub bytes_max: Option<i64>,
}

/// The subject of what concerns everything.
pub const ALL: &str = "all";

const DEAD_WARN_ABOVE: i64 = 10;
const DEAD_PAGE_ABOVE: i64 = 100;
const LATE_ABOVE_S: f64 = 5.0;
/// Looks in a row with more waiting each time.
const LAG_LOOKS: usize = 3;
const GROWTH_ABOVE: f64 = 0.20;
/// Growth below this is a system that has just begun.
const GROWTH_BYTES_MIN: i64 = 100 << 20;

/// How far back the looks are needed.
pub const LOOKS_KEPT: usize = LAG_LOOKS + 1;
/// Time between a size and the one it is compared with.
pub const GROWTH_OVER: Duration = Duration::hours(24);

/// Everything that is wrong now; what is not among it is over.
pub fn judge(look: &Look) -> Vec<Found> {
    let mut found: Vec<Found> = dead(look).into_iter().chain(size(look)).collect();
    for (queue, looks) in &look.queues {
        let Some(now) = looks.first().filter(|now| now.oldest_s > LATE_ABOVE_S) else { continue };
        let alert = |alert, detail| Found { alert, subject: queue.clone(), urgency: Urgency::Warn, detail };
        found.push(alert(Alert::QueueLatency, format!("its oldest message has waited {:.0} s", now.oldest_s)));
        let grows = looks.len() > LAG_LOOKS && looks.windows(2).take(LAG_LOOKS).all(|w| w[0].pending > w[1].pending);
        if grows {
            let before = looks[LAG_LOOKS].pending;
            found.push(alert(Alert::ConsumerLag, format!("{before} waiting, {} three looks later", now.pending)));
        }
    }
    found
}

fn dead(look: &Look) -> Option<Found> {
    let urgency = if look.dead > DEAD_PAGE_ABOVE { Urgency::Page } else { Urgency::Warn };
    let detail = format!("{} dead letters: `pgflow dlq list`", look.dead);
    (look.dead > DEAD_WARN_ABOVE).then(|| Found { alert: Alert::DeadLetters, subject: ALL.to_owned(), urgency, detail })
}

fn size(look: &Look) -> Option<Found> {
    let mib = |bytes: i64| bytes >> 20;
    let alert = |detail| Found { alert: Alert::DatabaseSize, subject: ALL.to_owned(), urgency: Urgency::Warn, detail };
    if let Some(max) = look.bytes_max.filter(|max| look.bytes > *max) {
        return Some(alert(format!("pgflow's tables have {} MiB, more than {} MiB", mib(look.bytes), mib(max))));
    }
    let before = look.bytes_a_day_ago?;
    let grown = look.bytes - before;
    let much = grown >= GROWTH_BYTES_MIN && grown as f64 > before as f64 * GROWTH_ABOVE;
    much.then(|| alert(format!("pgflow's tables grew from {} to {} MiB in a day", mib(before), mib(look.bytes))))
}
