//! `watch_change`: silence raises `metrics_stale`, once a silence, and rolls nothing back (domain §3.3). A change whose
//! window ended with fresh reports, the last of them clean, is closed here, should that not have done it.

use std::sync::Arc;

use pgflow::Failure;
use time::OffsetDateTime;
use tokio_postgres::Client;
use uuid::Uuid;

use super::metrics::watch_delay;
use super::{Own, close};
use crate::alerts::Alert;
use crate::consumers::{ALREADY_PROCESSED, Consume, Context};
use crate::messages::WatchChange;
use crate::producers::central::watch_later;
use crate::settings::STALE_PERIODS;
use crate::store::{self, WatchedChange};

pub(crate) struct Watches(pub(crate) Arc<Own>);

impl Consume for Watches {
    type Payload = WatchChange;

    async fn consume(&mut self, watch: WatchChange, cx: &Context<'_>) -> Result<&'static str, Failure> {
        let id = watch.proposal_id;
        let period = self.0.settings.windows.report;
        let tx = cx.transaction().await?;
        let change = store::lock_change(tx, id).await?.filter(WatchedChange::is_open);
        let Some(change) = change else { return Ok(ALREADY_PROCESSED) };
        if watch.awaits_first {
            return self.await_first(cx, tx, id, &change).await;
        }
        let (Some(last), Some(ends)) = (change.last_report_at, change.window_ends_at) else {
            return Ok(ALREADY_PROCESSED);
        };
        let now = OffsetDateTime::now_utc();
        let silence = period * STALE_PERIODS;
        let ordered = store::rollback_ordered(tx, id).await?;
        let fresh_at_the_end = last + silence >= ends && change.breach_counts.is_empty() && change.last_report_clean;
        if now >= ends + period && fresh_at_the_end && !ordered {
            close(tx, &self.0, id, "succeeded").await?;
            tracing::info!(target: "evolution", proposal_id = %id, "change succeeded: clean to the end of its window");
            return Ok("succeeded");
        }
        if last >= ends && now >= ends + silence && !ordered {
            // Reported to the end, and never clean: the instance has given up on it, and a person has the alert.
            store::close_change(tx, id, "expired").await?;
            return Ok("expired");
        }
        let told = change.stale_alerted_at.is_some_and(|told| told >= last);
        if now - last >= silence && !told {
            let silent = (now - last).as_seconds_f64();
            let order = if ordered { ", which has a rollback to do" } else { "" };
            let detail = format!("no report from {}{order} for {silent:.0} s", change.instance_id);
            self.0.alarms.raise(tx, Alert::MetricsStale, id, &detail).await?;
            store::mark_stale(tx, id).await?;
        }
        watch_later(cx.transport(), tx, (id, false), watch_delay(period, ends, now)).await?;
        Ok("watched")
    }
}

impl Watches {
    /// Silence from the start: the execution waits for its turn, hangs, or nobody is there to do it.
    async fn await_first(
        &self,
        cx: &Context<'_>,
        tx: &Client,
        id: Uuid,
        change: &WatchedChange,
    ) -> Result<&'static str, Failure> {
        if change.first_report_at.is_some() {
            return Ok(ALREADY_PROCESSED);
        }
        if change.stale_alerted_at.is_none() {
            let detail = format!("no report from {} since it was approved", change.instance_id);
            self.0.alarms.raise(tx, Alert::MetricsStale, id, &detail).await?;
            store::mark_stale(tx, id).await?;
        }
        watch_later(cx.transport(), tx, (id, true), self.0.settings.windows.report * STALE_PERIODS).await?;
        Ok("watched")
    }
}
