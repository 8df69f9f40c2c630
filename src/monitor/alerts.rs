//! What is worth an alert: dead letters, latency, a growing backlog, growing tables. Pure; the samples come once a minute.

use std::collections::HashMap;

use crate::store::{AlertLevel, QueueSample, Said};

/// More dead letters of one queue than this are worth a look; more than [`DEAD_PAGE`] somebody's sleep.
pub(super) const DEAD_WARN: i64 = 10;
/// See [`DEAD_WARN`].
pub(super) const DEAD_PAGE: i64 = 100;
/// A claimable message that has waited longer than this, in s, is late.
pub(super) const LATE_S: f64 = 5.0;
/// A backlog that grew so many samples in a row is lag, if its oldest message is late.
pub(super) const LAG_SAMPLES: usize = 3;
/// Tables that grew by more than so many percent in a day are worth a look ...
pub(super) const GROWTH_PERCENT: i64 = 20;
/// ... unless they are smaller than so many bytes.
pub(super) const GROWTH_BYTES_MIN: i64 = 256 << 20;

/// What the judgement needs to remember: how often each queue's backlog grew in a row, and its depth then.
#[derive(Debug, Default)]
pub(super) struct Memory {
    depths: HashMap<String, (i64, usize)>,
}

/// Table sizes in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    pub(super) now: i64,
    pub(super) day_ago: Option<i64>,
    /// The limit that the settings state.
    pub(super) limit: Option<i64>,
}

impl Memory {
    /// Everything that stands, by this sample and those before it.
    pub(super) fn judge(&mut self, queues: &[QueueSample], sizes: Sizes) -> Vec<Said> {
        let mut said = Vec::new();
        for q in queues {
            said.extend(dead_letters(q));
            said.extend(latency(q));
            said.extend(self.lag(q));
        }
        self.depths.retain(|name, _| queues.iter().any(|q| q.name == *name));
        said.extend(size(sizes));
        said
    }

    fn lag(&mut self, q: &QueueSample) -> Option<Said> {
        let (depth, grew) = self.depths.entry(q.name.clone()).or_insert((q.pending, 0));
        // More than so many are not counted: as many again may be more.
        let uncounted = q.pending >= i64::from(super::COUNT_MAX);
        *grew = if q.pending > *depth || (uncounted && q.pending == *depth) { *grew + 1 } else { 0 };
        *depth = q.pending;
        let oldest_s = q.oldest_s.filter(|s| *s > LATE_S && !q.paused)?;
        (*grew >= LAG_SAMPLES).then(|| {
            let detail = format!(
                "the backlog grew for {grew} minutes to {} messages{}, the oldest waits for {oldest_s:.0} s: more workers or instances",
                q.pending,
                if uncounted { " or more" } else { "" }
            );
            alert("lag", &q.name, AlertLevel::Warn, detail)
        })
    }
}

fn alert(alert: &str, subject: &str, level: AlertLevel, detail: String) -> Said {
    Said { alert: alert.into(), subject: subject.into(), level, detail }
}

fn dead_letters(q: &QueueSample) -> Option<Said> {
    let level = match q.dead {
        n if n > DEAD_PAGE => AlertLevel::Page,
        n if n > DEAD_WARN => AlertLevel::Warn,
        _ => return None,
    };
    Some(alert("dead_letters", &q.name, level, format!("{} dead letters: `pgflow dlq list {}`", q.dead, q.name)))
}

fn latency(q: &QueueSample) -> Option<Said> {
    let oldest_s = q.oldest_s.filter(|s| *s > LATE_S && !q.paused)?;
    let detail = format!("the oldest message waits for {oldest_s:.0} s: `pgflow stats {}`", q.name);
    Some(alert("latency", &q.name, AlertLevel::Warn, detail))
}

fn size(s: Sizes) -> Option<Said> {
    let mib = |bytes: i64| bytes >> 20;
    if let Some(limit) = s.limit.filter(|limit| s.now > *limit) {
        let detail = format!("pgflow's tables take {} MiB, {} are allowed (alert_bytes)", mib(s.now), mib(limit));
        return Some(alert("size", "", AlertLevel::Page, detail));
    }
    let grew = |before: i64| i128::from(s.now - before) * 100 > i128::from(before) * i128::from(GROWTH_PERCENT);
    let before = s.day_ago.filter(|before| s.now >= GROWTH_BYTES_MIN && grew(*before))?;
    let detail = format!("pgflow's tables grew from {} to {} MiB in a day: `pgflow doctor`", mib(before), mib(s.now));
    Some(alert("size", "", AlertLevel::Warn, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(pending: i64, oldest_s: f64) -> QueueSample {
        QueueSample { name: "mail".into(), pending, oldest_s: Some(oldest_s), ..QueueSample::default() }
    }

    fn names(said: &[Said]) -> Vec<(&str, AlertLevel)> {
        said.iter().map(|s| (s.alert.as_str(), s.level)).collect()
    }

    /// Fear: an alert at a figure that is allowed, or none at one that is not.
    #[test]
    fn dead_letters_and_latency_at_their_edges() {
        let judged = |q: QueueSample| Memory::default().judge(&[q], Sizes::default());
        let dead = |dead| judged(QueueSample { name: "mail".into(), dead, ..QueueSample::default() });
        assert_eq!(names(&dead(DEAD_WARN)), []);
        assert_eq!(names(&dead(DEAD_WARN + 1)), [("dead_letters", AlertLevel::Warn)]);
        assert_eq!(names(&dead(DEAD_PAGE)), [("dead_letters", AlertLevel::Warn)]);
        assert_eq!(names(&dead(DEAD_PAGE + 1)), [("dead_letters", AlertLevel::Page)]);
        assert_eq!(names(&judged(queue(1, LATE_S))), []);
        assert_eq!(names(&judged(queue(1, LATE_S + 0.1))), [("latency", AlertLevel::Warn)]);
        assert_eq!(
            names(&judged(QueueSample { paused: true, ..queue(1, 60.0) })),
            [],
            "a paused queue waits by intent"
        );
    }

    /// Fear: a burst is called lag, or a backlog that grows for minutes is not.
    #[test]
    fn lag_is_a_late_backlog_that_grew_three_times_in_a_row() {
        let mut memory = Memory::default();
        let mut lags = |pending, oldest_s| {
            let said = memory.judge(&[queue(pending, oldest_s)], Sizes::default());
            said.iter().any(|s| s.alert == "lag")
        };
        assert!(!lags(5, 9.0) && !lags(6, 9.0) && !lags(7, 9.0) && lags(8, 9.0));
        assert!(!lags(8, 9.0), "it did not grow");
        assert!(!lags(9, 1.0) && !lags(10, 1.0) && !lags(11, 1.0), "nobody waits");
        assert!(lags(12, 9.0));
        // More are not counted: it may grow behind the number.
        let most = i64::from(super::super::COUNT_MAX);
        assert!(lags(most, 9.0) && lags(most, 9.0));
        assert!(!lags(most - 1, 9.0), "it shrank");
    }

    /// Fear: small tables alarm at every batch, or a limit that was set is not kept.
    #[test]
    fn size_by_growth_and_by_limit() {
        let judged = |now, day_ago, limit| names(&Memory::default().judge(&[], Sizes { now, day_ago, limit })).len();
        let big = GROWTH_BYTES_MIN;
        assert_eq!(judged(big, None, None), 0, "nothing is known of yesterday");
        assert_eq!(judged(big * 12 / 10, Some(big), None), 0);
        assert_eq!(judged(big * 13 / 10, Some(big), None), 1);
        assert_eq!(judged(big - 1, Some(1 << 20), None), 0);
        assert_eq!(judged(1001, None, Some(1000)), 1);
        assert_eq!(judged(1000, None, Some(1000)), 0);
    }

    proptest::proptest! {
        /// Fear: one cause raises the same alert twice, so that it can never be cleared.
        #[test]
        fn an_alert_is_said_once_a_subject(
            pending in proptest::collection::vec(0_i64..20, 0..6), oldest_s in 0.0..20.0_f64, dead in 0_i64..200, now in 0_i64..1 << 40,
        ) {
            let mut memory = Memory::default();
            let sizes = Sizes { now, day_ago: Some(1), limit: Some(1 << 39) };
            for pending in pending {
                let queues = ["mail", "parcels"].map(|n| QueueSample { name: n.into(), dead, ..queue(pending, oldest_s) });
                let mut said: Vec<_> = memory.judge(&queues, sizes).into_iter().map(|s| (s.alert, s.subject)).collect();
                let all = said.len();
                said.sort();
                said.dedup();
                proptest::prop_assert_eq!(said.len(), all);
            }
        }
    }
}
