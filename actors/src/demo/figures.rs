//! The summary's arithmetic: percentiles, and the figures of a queue from its messages.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;

/// One message as the database holds it in the end.
#[derive(Debug, Clone)]
pub(crate) struct MessageRow {
    /// Its number.
    pub(crate) id: i64,
    /// Its queue.
    pub(crate) queue: String,
    /// Its status.
    pub(crate) status: String,
    /// The proposal it is about.
    pub(crate) proposal: Option<String>,
    /// Tries after the first.
    pub(crate) retries: i32,
    /// When it was published.
    pub(crate) created: SystemTime,
    /// When it was asked to start, if later than when it was published.
    pub(crate) due: Option<SystemTime>,
    /// When each of its tries was started, oldest first.
    pub(crate) starts: Vec<SystemTime>,
    /// When it came to its end.
    pub(crate) finished: Option<SystemTime>,
}

impl MessageRow {
    /// Is it done, dead or cancelled?
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self.status.as_str(), "done" | "dead" | "cancelled")
    }

    /// From the publish to the first start; a wait that was asked for does not count.
    pub(crate) fn latency(&self) -> Option<Duration> {
        let from = self.due.map_or(self.created, |due| due.max(self.created));
        self.starts.iter().find_map(|start| start.duration_since(from).ok())
    }
}

/// One queue's figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct QueueFigures {
    /// Its name.
    pub(crate) name: String,
    /// Messages published.
    pub(crate) published: usize,
    /// Of these, done.
    pub(crate) done: usize,
    /// Of these, dead.
    pub(crate) dead: usize,
    /// Tries after the first, over all of them.
    pub(crate) retries: i64,
    /// Publish to start: half were as fast as this.
    pub(crate) p50_ms: Option<f64>,
    /// Publish to start: 95 in 100 were as fast as this.
    pub(crate) p95_ms: Option<f64>,
    /// Publish to start: 99 in 100 were as fast as this.
    pub(crate) p99_ms: Option<f64>,
}

/// Milliseconds, to a tenth.
pub(crate) fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

/// The smallest value that at least `percent` of them do not exceed (nearest rank). They must be sorted.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// The figures of every queue, by name.
pub(crate) fn per_queue(messages: &[MessageRow]) -> Vec<QueueFigures> {
    let mut queues: BTreeMap<&str, Vec<&MessageRow>> = BTreeMap::new();
    for message in messages {
        queues.entry(&message.queue).or_default().push(message);
    }
    queues.into_iter().map(|(name, messages)| figures(name, &messages)).collect()
}

fn figures(name: &str, messages: &[&MessageRow]) -> QueueFigures {
    let of = |status: &str| messages.iter().filter(|m| m.status == status).count();
    let mut latencies: Vec<Duration> = messages.iter().filter_map(|m| m.latency()).collect();
    latencies.sort_unstable();
    let at = |percent| percentile(&latencies, percent).map(ms);
    QueueFigures {
        name: name.to_owned(),
        published: messages.len(),
        done: of("done"),
        dead: of("dead"),
        retries: messages.iter().map(|m| i64::from(m.retries)).sum(),
        p50_ms: at(50),
        p95_ms: at(95),
        p99_ms: at(99),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn at(ms: u64) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms))
    }

    pub(crate) fn message(id: i64, queue: &str, created: u64, starts: &[u64]) -> MessageRow {
        MessageRow {
            id,
            queue: queue.into(),
            status: "done".into(),
            proposal: None,
            retries: 0,
            created: at(created).unwrap(),
            due: None,
            starts: starts.iter().filter_map(|ms| at(*ms)).collect(),
            finished: starts.last().and_then(|ms| at(*ms + 1)),
        }
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let of = |n: u64| (1..=n).map(Duration::from_millis).collect::<Vec<_>>();
        let ms = |list: &[Duration], p| percentile(list, p).map(|d| d.as_millis());
        assert_eq!(ms(&of(100), 50), Some(50));
        assert_eq!(ms(&of(100), 95), Some(95));
        assert_eq!(ms(&of(100), 99), Some(99));
        assert_eq!(ms(&of(8), 95), Some(8));
        assert_eq!(ms(&of(4), 50), Some(2));
        assert_eq!(ms(&of(1), 99), Some(1));
        assert_eq!(ms(&[], 50), None);
    }

    #[test]
    fn a_wait_that_was_asked_for_is_no_latency() {
        let mut timer = message(1, "q", 0, &[2_004]);
        assert_eq!(timer.latency(), Some(Duration::from_millis(2_004)));
        timer.due = at(2_000);
        assert_eq!(timer.latency(), Some(Duration::from_millis(4)));
    }

    #[test]
    fn a_repeated_message_counts_from_its_first_start() {
        assert_eq!(message(1, "q", 10, &[13, 900]).latency(), Some(Duration::from_millis(3)));
        assert_eq!(message(1, "q", 10, &[]).latency(), None);
    }

    #[test]
    fn queues_are_counted_apart() {
        let mut rows = vec![message(1, "b", 0, &[1]), message(2, "a", 0, &[5]), message(3, "b", 0, &[3])];
        rows[2].status = "dead".into();
        rows[2].retries = 3;
        let figures = per_queue(&rows);
        assert_eq!(figures.iter().map(|q| q.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let b = &figures[1];
        assert_eq!((b.published, b.done, b.dead, b.retries), (2, 1, 1, 3));
        assert_eq!((b.p50_ms, b.p99_ms), (Some(1.0), Some(3.0)));
    }

    #[test]
    fn milliseconds_keep_a_tenth() {
        assert!((ms(Duration::from_micros(1_260)) - 1.3).abs() < 1e-9);
    }
}
