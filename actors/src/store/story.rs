//! A proposal's story: its messages, and what happened in the tables.

use time::OffsetDateTime;
use tokio_postgres::GenericClient;
use uuid::Uuid;

use super::typed::{execute, query};
use super::{Result, sql};

/// `link_messages.sql`: of each proposal, a message about it.
pub async fn link_messages<C: GenericClient + Sync>(client: &C, links: &[(Uuid, i64)]) -> Result<()> {
    let (proposals, messages): (Vec<Uuid>, Vec<i64>) = links.iter().copied().unzip();
    execute(client, sql!("link_messages"), &[&proposals, &messages]).await
}

/// `messages_about.sql`
pub async fn messages_about<C: GenericClient + Sync>(client: &C, proposal: Uuid) -> Result<Vec<i64>> {
    query(client, sql!("messages_about"), &[&proposal]).await?.iter().map(|row| row.try_get(0)).collect()
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
    let rows = query(client, sql!("trace"), &[&proposal]).await?;
    rows.iter()
        .map(|row| {
            let detail: Option<String> = row.try_get("detail")?;
            Ok(Happening { at: row.try_get("at")?, what: row.try_get("what")?, detail: detail.unwrap_or_default() })
        })
        .collect()
}
