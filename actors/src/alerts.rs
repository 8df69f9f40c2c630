//! What a person should look at (domain §6.5): rows of pgflow's alerts, of the source `evolution` and about a change each. An alert
//! is raised and cleared as part of the caller's transaction, and stands until what raised it is gone.
//!
//! Dead letters, latency, lag and size are pgflow's own alerts: its leader judges them.

use std::fmt::Write as _;

use metrics::counter;
use pgflow::admin::AlertLevel;
use pgflow::limits::ALERT_DETAIL_BYTES_MAX;
use pgflow::{Admin, Config};
use tokio_postgres::GenericClient;
use uuid::Uuid;

use crate::breach::Breach;
use crate::tag::tagged;

/// The source of these alerts.
pub const SOURCE: &str = "evolution";

tagged! {
    /// Every alert.
    pub enum Alert {
        /// A limit was passed, and nothing is rolled back as yet.
        ThresholdBreach = "threshold_breach",
        /// No report of an approved change for three periods.
        MetricsStale = "metrics_stale",
        /// A change could not be taken back: the worst.
        RollbackFailed = "rollback_failed",
    }
}

impl Alert {
    /// How loud it is: a change that is in place and should not be is the only one that nobody may sleep on.
    pub const fn level(self) -> AlertLevel {
        match self {
            Self::RollbackFailed => AlertLevel::Page,
            Self::ThresholdBreach | Self::MetricsStale => AlertLevel::Warn,
        }
    }
}

/// Raises and clears alerts on the caller's connection; it has none of its own.
pub(crate) struct Alarms(Admin);

impl Alarms {
    /// For the schema that the configuration names.
    pub(crate) async fn new(config: &Config) -> pgflow::Result<Self> {
        Ok(Self(Admin::connect(config).await?))
    }

    /// Raises an alert about a change.
    pub(crate) async fn raise<C: GenericClient + Sync>(
        &self,
        client: &C,
        alert: Alert,
        change: Uuid,
        detail: &str,
    ) -> pgflow::Result<()> {
        let (subject, detail) = (change.to_string(), fitting(detail));
        if self.0.raise_alert_in(client, SOURCE, alert.tag(), &subject, alert.level(), &detail).await? {
            counter!("evolution_alerts_raised_total", "alert" => alert.tag()).increment(1);
            tracing::warn!(target: "evolution", alert = alert.tag(), subject, detail, "ALERT {alert}");
        }
        Ok(())
    }

    /// What raised an alert about a change is over.
    pub(crate) async fn clear<C: GenericClient + Sync>(
        &self,
        client: &C,
        alert: Alert,
        change: Uuid,
    ) -> pgflow::Result<()> {
        let subject = change.to_string();
        if self.0.clear_alert_in(client, SOURCE, alert.tag(), &subject).await? {
            counter!("evolution_alerts_cleared_total", "alert" => alert.tag()).increment(1);
            tracing::info!(target: "evolution", alert = alert.tag(), subject, "alert cleared: {alert}");
        }
        Ok(())
    }
}

/// The limits that an instance's change passed, in words.
pub(crate) fn passed(instance: &str, breaches: &[Breach]) -> String {
    let mut words = format!("on {instance}:");
    for Breach { metric, actual, threshold, .. } in breaches {
        // Writing to a string cannot fail.
        let _ = write!(words, " {metric} is {actual}, its limit {threshold};");
    }
    words + " it is not rolled back as yet: see `evolution trace`"
}

/// A command's output may be longer than an alert's text, and hold anything.
fn fitting(detail: &str) -> String {
    detail[..detail.floor_char_boundary(ALERT_DETAIL_BYTES_MAX)].replace('\0', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fear: the words of a failed command are no alert's, so that the worst alert is refused.
    #[test]
    fn any_text_fits() {
        for text in ["", "short", &"ü".repeat(ALERT_DETAIL_BYTES_MAX), &format!("a{}", "ü".repeat(3_000)), "a\0b"] {
            let kept = fitting(text);
            assert!(kept.len() <= ALERT_DETAIL_BYTES_MAX && !kept.contains('\0'), "{text}");
            assert!(kept.len() >= text.len().min(ALERT_DETAIL_BYTES_MAX - 1), "{text}");
        }
    }
}
