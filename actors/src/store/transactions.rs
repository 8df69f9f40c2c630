//! The caller's transaction itself: a part of it that may fail alone, and what became of it.

use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSqlOwned, Type};
use tokio_postgres::{GenericClient, Row};

use super::{Result, sql};

/// Begins a part of the caller's transaction that may fail without the rest.
pub(crate) async fn begin_try<C: GenericClient + Sync>(client: &C) -> Result<()> {
    client.batch_execute("SAVEPOINT evolution_try").await
}

/// The part stays.
pub(crate) async fn end_try<C: GenericClient + Sync>(client: &C) -> Result<()> {
    client.batch_execute("RELEASE SAVEPOINT evolution_try").await
}

/// The part never was.
pub(crate) async fn undo_try<C: GenericClient + Sync>(client: &C) -> Result<()> {
    client.batch_execute("ROLLBACK TO SAVEPOINT evolution_try; RELEASE SAVEPOINT evolution_try").await
}

/// `current_xact.sql`
pub(crate) async fn current_xact<C: GenericClient + Sync>(client: &C) -> Result<String> {
    first(client.query_typed(sql!("current_xact"), &[]).await?)
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum XactEnd {
    /// Nothing yet.
    Open,
    /// What it did is there for all.
    Committed,
    /// It never was.
    Aborted,
    /// Nobody knows any more.
    Unknown,
}

/// `xact_status.sql`
pub(crate) async fn xact_end<C: GenericClient + Sync>(client: &C, xact: &str) -> Result<XactEnd> {
    let rows = match client.query_typed(sql!("xact_status"), &[(&xact, Type::TEXT)]).await {
        Ok(rows) => rows,
        // "in the future": another server has taken over, which never saw it.
        Err(e) if e.code() == Some(&SqlState::INVALID_PARAMETER_VALUE) => return Ok(XactEnd::Unknown),
        Err(e) => return Err(e),
    };
    let status: Option<String> = first(rows)?;
    Ok(match status.as_deref() {
        Some("in progress") => XactEnd::Open,
        Some("committed") => XactEnd::Committed,
        Some("aborted") => XactEnd::Aborted,
        _ => XactEnd::Unknown,
    })
}

/// A statement without FROM has one row.
fn first<T: FromSqlOwned + Default>(rows: Vec<Row>) -> Result<T> {
    rows.first().map_or_else(|| Ok(T::default()), |row| row.try_get(0))
}
