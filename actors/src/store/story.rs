//! A proposal's story: its messages, and what happened in the tables.

use time::OffsetDateTime;
use tokio_postgres::GenericClient;
use uuid::Uuid;

use super::{Result, sql};

/// `link_messages.sql`
pub async fn link_messages<C: GenericClient + Sync>(client: &C, proposal: Uuid, messages: &[i64]) -> Result<()> {
    client.execute(sql!("link_messages"), &[&proposal, &messages]).await.map(drop)
}

/// `messages_about.sql`
pub async fn messages_about<C: GenericClient + Sync>(client: &C, proposal: Uuid) -> Result<Vec<i64>> {
    client.query(sql!("messages_about"), &[&proposal]).await?.iter().map(|row| row.try_get(0)).collect()
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// When.
    pub at: OffsetDateTime,
    /// What, in a word or two.
    pub what: String,
    /// The rest.
    pub detail: String,
}

/// `trace.sql`
pub async fn happenings<C: GenericClient + Sync>(client: &C, proposal: Uuid) -> Result<Vec<Happening>> {
    let rows = client.query(sql!("trace"), &[&proposal]).await?;
    rows.iter()
        .map(|row| {
            let detail: Option<String> = row.try_get("detail")?;
            Ok(Happening { at: row.try_get("at")?, what: row.try_get("what")?, detail: detail.unwrap_or_default() })
        })
        .collect()
}
