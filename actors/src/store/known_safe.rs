//! What is known to be safe: which changes and patterns, and apart from that their code, which never changes.

use tokio_postgres::GenericClient;
use tokio_postgres::types::Json;
use uuid::Uuid;

use super::typed::{query, query_one};
use super::{Result, sql};
use crate::json::Object;

/// Something that is known to be safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Known {
    /// A change that succeeded.
    Change(Uuid),
    /// A trusted pattern.
    Pattern(i64),
}

/// `known_safe.sql`
pub async fn known_safe<C: GenericClient + Sync>(client: &C) -> Result<Vec<Known>> {
    let row = query_one(client, sql!("known_safe"), &[]).await?;
    let (changes, patterns): (Vec<Uuid>, Vec<i64>) = (row.try_get(0)?, row.try_get(1)?);
    Ok(changes.into_iter().map(Known::Change).chain(patterns.into_iter().map(Known::Pattern)).collect())
}

/// `known_safe_code.sql`
pub async fn known_safe_code<C: GenericClient + Sync>(client: &C, asked: &[Known]) -> Result<Vec<(Known, Object)>> {
    let changes: Vec<Uuid> =
        asked.iter().filter_map(|k| if let Known::Change(id) = k { Some(*id) } else { None }).collect();
    let patterns: Vec<i64> =
        asked.iter().filter_map(|k| if let Known::Pattern(id) = k { Some(*id) } else { None }).collect();
    let rows = query(client, sql!("known_safe_code"), &[&changes, &patterns]).await?;
    rows.iter()
        .map(|row| {
            let (change, pattern): (Option<Uuid>, i64) = (row.try_get(0)?, row.try_get(1)?);
            let known = change.map_or(Known::Pattern(pattern), Known::Change);
            Ok((known, row.try_get::<_, Json<Object>>(2)?.0))
        })
        .collect()
}
