//! `execution_metrics` (domain §3.3): Guardian judges every report, and orders at most one rollback a change.

use std::sync::Arc;
use std::time::Duration;

use pgflow::Failure;
use time::OffsetDateTime;
use tokio_postgres::Client;
use uuid::Uuid;

use super::{Own, close};
use crate::alerts::{Alert, passed};
use crate::breach::{Assessment, Metric, assess};
use crate::consumers::{Consume, Context};
use crate::events::{METRICS_RECEIVED, tell};
use crate::messages::ExecutionMetrics;
use crate::metrics::judged;
use crate::producers::central::{order_rollback, watch_later};
use crate::proposal::State;
use crate::settings::STALE_PERIODS;
use crate::store::{self, Report, Rollback, WatchedChange};
use crate::thresholds::Thresholds;

pub(crate) struct Reports(pub(crate) Arc<Own>);

impl Consume for Reports {
    type Payload = ExecutionMetrics;

    async fn consume(&mut self, report: ExecutionMetrics, cx: &Context<'_>) -> Result<&'static str, Failure> {
        let id = report.proposal_id;
        let tx = cx.transaction().await?;
        let Some(change) = store::lock_change(tx, id).await? else {
            return Err(Failure::retry(format!("change_not_registered: {id}")));
        };
        if change.instance_id != report.instance_id {
            return Err(Failure::dead(format!("wrong_instance: {id} is a change of {}", change.instance_id)));
        }
        let status = report.status.as_deref().and_then(State::from_tag);
        tell!(
            METRICS_RECEIVED,
            proposal_id = %id,
            instance_id = report.instance_id,
            status = report.status,
            "metrics received"
        );
        match status {
            Some(State::RolledBack) => {
                keep(tx, &report).await?;
                close_rolled_back(tx, &self.0, id, &change).await?;
            }
            Some(State::Failed) => {
                keep(tx, &report).await?;
                close(tx, &self.0, id, "failed").await?;
                clear_alerts(tx, &self.0, id).await?;
            }
            _ if !change.is_open() => keep(tx, &report).await?,
            _ => self.judge(cx, tx, &report, &change).await?,
        }
        Ok("metrics_recorded")
    }
}

/// Keeps a report that is not judged.
async fn keep(tx: &Client, report: &ExecutionMetrics) -> Result<(), Failure> {
    let judged = judged(&report.metrics_before, &report.metrics_after);
    store::insert_metrics(tx, Report { message: report, judged: &judged, breaches: &[] }).await?;
    Ok(())
}

/// The instance took the change back: close it, and learn how long that took.
async fn close_rolled_back(tx: &Client, own: &Own, id: Uuid, change: &WatchedChange) -> Result<(), Failure> {
    close(tx, own, id, "rolled_back").await?;
    clear_alerts(tx, own, id).await?;
    if let Some(seconds) = store::complete_rollback(tx, id).await? {
        let mut strategy = store::strategy(tx, &change.change_type).await?;
        strategy.learn(true, seconds);
        store::save_strategy(tx, &strategy).await?;
        tracing::info!(target: "evolution", proposal_id = %id, seconds, "rollback confirmed");
    }
    Ok(())
}

/// Whatever was wrong with a change, it is gone.
async fn clear_alerts(tx: &Client, own: &Own, id: Uuid) -> Result<(), Failure> {
    for over in Alert::ALL.iter().copied() {
        own.alarms.clear(tx, over, id).await?;
    }
    Ok(())
}

impl Reports {
    async fn judge(
        &self,
        cx: &Context<'_>,
        tx: &Client,
        report: &ExecutionMetrics,
        change: &WatchedChange,
    ) -> Result<(), Failure> {
        let id = report.proposal_id;
        let settings = &self.0.settings;
        let learned = store::learned_profile(tx, &change.agent_type).await?;
        let limits = Thresholds::effective(&change.agent_type, &change.safety_profile, learned.as_ref());
        let judged = judged(&report.metrics_before, &report.metrics_after);
        let shadowed = report.shadowed.keys().filter_map(|metric| Metric::from_tag(metric)).collect();
        let seen = assess(&judged, &limits, &change.breach_counts, &shadowed);
        store::insert_metrics(tx, Report { message: report, judged: &judged, breaches: &seen.breaches }).await?;

        let now = OffsetDateTime::now_utc();
        let ends = change.window_ends_at.unwrap_or(now + settings.observation(limits.window));
        let clean = seen.breaches.is_empty() && shadowed.is_empty();
        store::save_report(tx, id, &seen.counts, clean, (now, ends)).await?;
        if change.first_report_at.is_none() {
            watch_later(cx.transport(), tx, (id, false), watch_delay(settings.windows.report, ends, now)).await?;
        }
        self.act(cx, tx, report, change, &seen).await?;
        self.0.alarms.clear(tx, Alert::MetricsStale, id).await?;
        if seen.counts.is_empty() {
            self.0.alarms.clear(tx, Alert::ThresholdBreach, id).await?;
        }
        let ordered = store::rollback_ordered(tx, id).await?;
        // The last report is sent when the instance's window closes, which began a moment before ours.
        let last = now + settings.windows.report / 2 >= ends;
        if last && clean && !ordered && close(tx, &self.0, id, "succeeded").await? {
            tracing::info!(target: "evolution", proposal_id = %id, "change succeeded: clean to the end of its window");
        }
        Ok(())
    }

    async fn act(
        &self,
        cx: &Context<'_>,
        tx: &Client,
        report: &ExecutionMetrics,
        change: &WatchedChange,
        seen: &Assessment,
    ) -> Result<(), Failure> {
        let id = report.proposal_id;
        for breach in &seen.breaches {
            tracing::warn!(
                target: "evolution",
                proposal_id = %id,
                actual = breach.actual,
                threshold = breach.threshold,
                "threshold_breach_detected: {}",
                breach.metric
            );
        }
        if let Some((breach, count)) = seen.roll_back {
            let order = Rollback {
                proposal_id: id,
                rollback_id: Uuid::now_v7(),
                instance_id: change.instance_id.clone(),
                reason: breach.metric.reason().to_owned(),
                limit: breach.limit(),
                breach_count: count,
                strategy: store::strategy(tx, &change.change_type).await?,
            };
            order_rollback(cx.transport(), tx, &order).await?;
        } else if seen.alert && seen.breaches.iter().any(|b| seen.counts.get(&b.metric) == Some(&1)) {
            // Once for breaches in a row, not at every report.
            let detail = passed(&change.instance_id, &seen.breaches);
            self.0.alarms.raise(tx, Alert::ThresholdBreach, id, &detail).await?;
        }
        Ok(())
    }
}

/// When to look after a change again: after three periods, or when its window ends, whichever comes first.
pub(super) fn watch_delay(period: Duration, ends: OffsetDateTime, now: OffsetDateTime) -> Duration {
    let stale = period * STALE_PERIODS;
    match Duration::try_from(ends - now) {
        // A moment more than the window, so that the report of its end is in.
        Ok(left) if !left.is_zero() => stale.min(left + period),
        _ => stale,
    }
}
