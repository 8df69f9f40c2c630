//! Alerts, and the looks at the queues that some of them are judged by.

use std::time::Duration;

use metrics::{counter, gauge};
use serde_json::Value;
use time::OffsetDateTime;
use tokio_postgres::GenericClient;
use uuid::Uuid;

use super::{Result, sql, took};
use crate::alerts::{Alert, Depth, GROWTH_OVER, LOOKS_KEPT, Look, Urgency};

/// Whom an alert is about.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The proposal, if it is about one.
    pub proposal: Option<Uuid>,
    /// The instance, if it is about one.
    pub instance: Option<&'a str>,
}

/// `raise_alert.sql` about a change; true when it is news.
pub async fn raise_alert<C: GenericClient + Sync>(
    client: &C,
    alert: Alert,
    (proposal, instance): (Uuid, &str),
    detail: &Value,
) -> Result<bool> {
    // The worst and the only one that nobody may sleep on.
    let urgency = if alert == Alert::RollbackFailed { Urgency::Page } else { Urgency::Warn };
    let about = About { proposal: Some(proposal), instance: Some(instance) };
    raise(client, alert, urgency, &proposal.to_string(), about, detail).await
}

/// `raise_alert.sql`; true when it is news.
pub async fn raise<C: GenericClient + Sync>(
    client: &C,
    alert: Alert,
    urgency: Urgency,
    subject: &str,
    about: About<'_>,
    detail: &Value,
) -> Result<bool> {
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&alert.tag(), &subject, &about.proposal, &about.instance, &urgency.tag(), &detail];
    let news = client.query_one(sql!("raise_alert"), parameters).await?.try_get(0)?;
    if news {
        counter!("evolution_alerts_raised_total", "alert" => alert.tag()).increment(1);
        tracing::warn!(target: "evolution", alert = alert.tag(), urgency = urgency.tag(), subject, %detail, "ALERT {alert}");
    }
    Ok(news)
}

/// `clear_alert.sql`; true when it was open.
pub async fn clear_alert<C: GenericClient + Sync>(client: &C, alert: Alert, subject: &str) -> Result<bool> {
    let cleared = took(client, sql!("clear_alert"), &[&alert.tag(), &subject]).await?;
    if cleared {
        counter!("evolution_alerts_cleared_total", "alert" => alert.tag()).increment(1);
        tracing::info!(target: "evolution", alert = alert.tag(), subject, "alert cleared: {alert}");
    }
    Ok(cleared)
}

/// An open alert.
#[derive(Debug, Clone)]
pub struct OpenAlert {
    /// What.
    pub alert: Alert,
    /// Of what.
    pub subject: String,
    /// Where, if it is about an instance.
    pub instance: Option<String>,
    /// How urgent.
    pub urgency: Urgency,
    /// In figures or words.
    pub detail: Value,
    /// Since when.
    pub raised_at: OffsetDateTime,
}

/// `open_alerts.sql`; the gauges of this process show them too.
pub async fn open_alerts<C: GenericClient + Sync>(client: &C) -> Result<Vec<OpenAlert>> {
    let rows = client.query(sql!("open_alerts"), &[]).await?;
    let open: Vec<OpenAlert> = rows
        .iter()
        .map(|row| {
            Ok(OpenAlert {
                alert: row.try_get("kind")?,
                subject: row.try_get("subject")?,
                instance: row.try_get("instance_id")?,
                urgency: row.try_get("severity")?,
                detail: row.try_get("detail")?,
                raised_at: row.try_get("raised_at")?,
            })
        })
        .collect::<Result<_>>()?;
    for alert in Alert::ALL {
        let count = open.iter().filter(|o| o.alert == *alert).count();
        gauge!("evolution_alerts_open", "alert" => alert.tag()).set(count as f64);
    }
    Ok(open)
}

/// `sample_queues.sql`, `queue_samples.sql`, `sample_size.sql`: looks at the queues, and answers the last looks.
pub async fn look<C: GenericClient + Sync>(client: &C, now: OffsetDateTime, bytes_max: Option<i64>) -> Result<Look> {
    let kept = i64::try_from(LOOKS_KEPT).unwrap_or(i64::MAX);
    client.execute(sql!("sample_queues"), &[&now, &kept]).await?;
    let day = Duration::try_from(GROWTH_OVER).unwrap_or_default().as_secs_f64();
    let size = client.query_one(sql!("sample_size"), &[&now, &day]).await?;
    let mut look = Look {
        dead: size.try_get("dead")?,
        bytes: size.try_get("bytes")?,
        bytes_a_day_ago: size.try_get("before")?,
        bytes_max,
        ..Look::default()
    };
    for row in client.query(sql!("queue_samples"), &[]).await? {
        let depth = Depth {
            at: row.try_get("sampled_at")?,
            pending: row.try_get("pending")?,
            oldest_s: row.try_get("oldest_s")?,
        };
        look.queues.entry(row.try_get("queue_name")?).or_default().push(depth);
    }
    Ok(look)
}

/// A rollback that was given up.
#[derive(Debug, Clone)]
pub struct FailedRollback {
    /// The change.
    pub proposal_id: Uuid,
    /// Where.
    pub instance_id: String,
    /// By whose plan.
    pub change_type: String,
    /// How long it was tried.
    pub seconds: f64,
    /// Why it was given up.
    pub error: String,
}

/// `failed_rollbacks.sql`
pub async fn failed_rollbacks<C: GenericClient + Sync>(client: &C) -> Result<Vec<FailedRollback>> {
    let rows = client.query(sql!("failed_rollbacks"), &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(FailedRollback {
                proposal_id: row.try_get("proposal_id")?,
                instance_id: row.try_get("instance_id")?,
                change_type: row.try_get("change_type")?,
                seconds: row.try_get("seconds")?,
                error: row.try_get("error")?,
            })
        })
        .collect()
}
