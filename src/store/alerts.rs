//! Alerts that stand, and what the leader's monitor judges them by.

use deadpool_postgres::GenericClient;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::{ToSql, Type};

use super::Store;
use crate::{Error, Result};

/// How loud an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertLevel {
    /// Somebody should look in working hours.
    Warn,
    /// Somebody must look now.
    Page,
}

impl AlertLevel {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Page => "page",
        }
    }
}

/// An alert that stands: it was raised and not cleared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Alert {
    /// Who says so: `pgflow`, or the application's name for itself.
    pub source: String,
    /// What is wrong: `dead_letters`, `latency`, `lag`, `size`, or an application's own.
    pub alert: String,
    /// What it is about: a queue's name, a change's id; empty when it is about the whole.
    pub subject: String,
    /// How loud it is.
    pub level: AlertLevel,
    /// The figures, in words.
    pub detail: String,
    /// Since when it stands (RFC 3339, UTC).
    pub raised_at: String,
}

/// What one source has to say of one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) alert: String,
    pub(crate) subject: String,
    pub(crate) level: AlertLevel,
    pub(crate) detail: String,
}

/// One queue as the monitor sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct QueueSample {
    pub(crate) name: String,
    pub(crate) paused: bool,
    pub(crate) dead: i64,
    pub(crate) pending: i64,
    /// How long the oldest claimable message has waited, in s.
    pub(crate) oldest_s: Option<f64>,
}

/// What an alert did.
#[derive(Debug)]
pub(crate) struct Turned {
    pub(crate) alert: String,
    pub(crate) subject: String,
    pub(crate) detail: String,
    pub(crate) raised: bool,
}

fn raising(alert: &str) -> impl Fn() -> String {
    move || format!("raise alert \"{alert}\"")
}

fn clearing(alert: &str) -> impl Fn() -> String {
    move || format!("clear alert \"{alert}\"")
}

impl Store {
    /// Every queue's dead letters, depth and oldest message; at most `count_max` rows are counted of each lane.
    pub(crate) async fn sample<C: GenericClient>(&self, c: &C, count_max: i32) -> Result<Vec<QueueSample>> {
        let rows = self.query(c, || "sample the queues".into(), &self.sql.sample, &[&count_max]).await?;
        let read = |r: &tokio_postgres::Row| QueueSample {
            name: r.get(0),
            paused: r.get(1),
            dead: r.get(2),
            pending: r.get(3),
            oldest_s: r.get(4),
        };
        Ok(rows.iter().map(read).collect())
    }

    /// Notes the size of pgflow's tables in bytes; answers it, and the one of a day ago.
    pub(crate) async fn measure<C: GenericClient>(&self, c: &C) -> Result<(i64, Option<i64>)> {
        let row = &self.query(c, || "measure the tables".into(), &self.sql.measure, &[]).await?[0];
        Ok((row.get(0), row.get(1)))
    }

    /// Makes these all that `source` has to say; answers what was raised and cleared by it.
    pub(crate) async fn set_alerts<C: GenericClient>(&self, c: &C, source: &str, said: &[Said]) -> Result<Vec<Turned>> {
        let column = |of: fn(&Said) -> &str| said.iter().map(of).collect::<Vec<_>>();
        let (alerts, subjects) = (column(|s| &s.alert), column(|s| &s.subject));
        let (levels, details) = (column(|s| s.level.as_str()), column(|s| &s.detail));
        let phase = || "set the alerts".into();
        let rows =
            self.query(c, phase, &self.sql.set_alerts, &[&source, &alerts, &subjects, &levels, &details]).await?;
        let read =
            |r: &tokio_postgres::Row| Turned { alert: r.get(0), subject: r.get(1), detail: r.get(3), raised: r.get(4) };
        Ok(rows.iter().map(read).collect())
    }

    /// Raises one alert; one that stands keeps its time. Answers whether that is news.
    pub(crate) async fn raise_alert<C: GenericClient>(&self, c: &C, source: &str, said: &Said) -> Result<bool> {
        let Said { alert, subject, level, detail } = said;
        let params: [&(dyn ToSql + Sync); 5] = [&source, alert, subject, &level.as_str(), detail];
        let rows = self.query(c, raising(alert), &self.sql.raise_alert, &params).await?;
        Ok(rows[0].get(0))
    }

    /// Like [`Self::raise_alert`], inside the caller's transaction.
    pub(crate) async fn raise_alert_in<C>(&self, c: &C, source: &str, said: &Said) -> Result<bool>
    where
        C: tokio_postgres::GenericClient + Sync,
    {
        let Said { alert, subject, level, detail } = said;
        let params: [(&(dyn ToSql + Sync), Type); 5] = [
            (&source, Type::TEXT),
            (alert, Type::TEXT),
            (subject, Type::TEXT),
            (&level.as_str(), Type::TEXT),
            (detail, Type::TEXT),
        ];
        let rows = c.query_typed(&self.sql.raise_alert, &params).await;
        Ok(rows.map_err(|e| Error::database(raising(alert)(), e))?[0].get(0))
    }

    /// Clears one alert; answers whether it stood.
    pub(crate) async fn clear_alert<C: GenericClient>(
        &self,
        c: &C,
        source: &str,
        alert: &str,
        subject: &str,
    ) -> Result<bool> {
        let rows = self.query(c, clearing(alert), &self.sql.clear_alert, &[&source, &alert, &subject]).await?;
        Ok(!rows.is_empty())
    }

    /// Like [`Self::clear_alert`], inside the caller's transaction.
    pub(crate) async fn clear_alert_in<C>(&self, c: &C, source: &str, alert: &str, subject: &str) -> Result<bool>
    where
        C: tokio_postgres::GenericClient + Sync,
    {
        let params: [(&(dyn ToSql + Sync), Type); 3] =
            [(&source, Type::TEXT), (&alert, Type::TEXT), (&subject, Type::TEXT)];
        let rows = c.query_typed(&self.sql.clear_alert, &params).await;
        Ok(!rows.map_err(|e| Error::database(clearing(alert)(), e))?.is_empty())
    }

    /// The alerts that stand, the gravest and oldest first; at most `limit`.
    pub(crate) async fn list_alerts<C: GenericClient>(&self, c: &C, limit: i32) -> Result<Vec<Alert>> {
        self.objects(c, || "list the alerts".into(), &self.sql.list_alerts, &[&limit]).await
    }
}
