//! Alerts that stand: listed, raised and cleared, alone or as part of the caller's transaction.

use tokio_postgres::GenericClient;

use super::{Admin, Alert, AlertLevel, LIST_MAX, limit};
use crate::{Error, Result, monitor, store::Said};

/// The longest source and the longest name of an alert, in bytes.
pub const ALERT_BYTES_MAX: usize = 128;
/// The longest subject of an alert, in bytes.
pub const ALERT_SUBJECT_BYTES_MAX: usize = 512;
/// The longest detail of an alert, in bytes.
pub const ALERT_DETAIL_BYTES_MAX: usize = 4_096;

impl Admin {
    /// The alerts that stand, the gravest and oldest first, at most [`LIST_MAX`]. pgflow's own (source `pgflow`) are judged
    /// once a minute by the leading instance: `dead_letters` (over 10 in a queue; over 100: page), `latency` (over 5 s),
    /// `lag` (a late backlog that grew three times in a row), `size` (over 20 % in a day, or over a limit).
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn list_alerts(&self) -> Result<Vec<Alert>> {
        self.store.list_alerts(&self.connection().await?, limit(LIST_MAX)).await
    }

    /// Raises an alert of an application's own, until [`Self::clear_alert`]; answers whether that is news: it did not stand, or only
    /// as a warning. One that stands keeps its time, and takes the new level and detail. `source` and `alert` have 1 to 128 bytes,
    /// `subject` up to 512, `detail` up to 4,096.
    ///
    /// # Errors
    /// [`Error::is_input`] when a text is over its limit or holds a NUL, or the source is `pgflow`.
    pub async fn raise_alert(
        &self,
        source: &str,
        alert: &str,
        subject: &str,
        level: AlertLevel,
        detail: &str,
    ) -> Result<bool> {
        let said = said(source, alert, subject, level, detail)?;
        self.store.raise_alert(&self.connection().await?, source, &said).await
    }

    /// Raises an alert as part of the caller's transaction: it stands if and when that commits. See [`Self::raise_alert`].
    ///
    /// One round trip on `client`; nothing is prepared there, and no connection of this admin is used.
    ///
    /// # Errors
    /// Those of [`Self::raise_alert`]: after one that [`Error::is_input`], nothing was sent and the transaction can go on.
    pub async fn raise_alert_in<C: GenericClient + Sync>(
        &self,
        client: &C,
        source: &str,
        alert: &str,
        subject: &str,
        level: AlertLevel,
        detail: &str,
    ) -> Result<bool> {
        self.store.raise_alert_in(client, source, &said(source, alert, subject, level, detail)?).await
    }

    /// Clears an alert; answers whether it stood. One of pgflow's own is raised again when its cause lasts.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn clear_alert(&self, source: &str, alert: &str, subject: &str) -> Result<bool> {
        self.store.clear_alert(&self.connection().await?, source, alert, subject).await
    }

    /// Clears an alert as part of the caller's transaction, like [`Self::raise_alert_in`]; answers whether it stood.
    ///
    /// # Errors
    /// When the database does not answer; the transaction is aborted then.
    pub async fn clear_alert_in<C: GenericClient + Sync>(
        &self,
        client: &C,
        source: &str,
        alert: &str,
        subject: &str,
    ) -> Result<bool> {
        self.store.clear_alert_in(client, source, alert, subject).await
    }
}

/// Checked here, since what the database refuses would abort the caller's transaction.
fn said(source: &str, alert: &str, subject: &str, level: AlertLevel, detail: &str) -> Result<Said> {
    let refuse = |why: String| Err(Error::input(format!("raise alert \"{alert}\" of source \"{source}\""), why));
    if source == monitor::SOURCE {
        return refuse("pgflow's own alerts are judged by the leading instance: choose another source".into());
    }
    for (what, text, min, max) in [
        ("source", source, 1, ALERT_BYTES_MAX),
        ("alert", alert, 1, ALERT_BYTES_MAX),
        ("subject", subject, 0, ALERT_SUBJECT_BYTES_MAX),
        ("detail", detail, 0, ALERT_DETAIL_BYTES_MAX),
    ] {
        if !(min..=max).contains(&text.len()) {
            return refuse(format!("its {what} has {} bytes, {min} to {max} are allowed", text.len()));
        }
        if text.contains('\0') {
            return refuse(format!("its {what} holds a NUL character"));
        }
    }
    Ok(Said { alert: alert.into(), subject: subject.into(), level, detail: detail.into() })
}
