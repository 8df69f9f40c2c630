//! One round trip a statement. A text alone takes two: its parameters' types have to be asked for first. They never change, so
//! each statement's are asked for once a process; nothing stays prepared on a connection, which may come from any pooler.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{GenericClient, Row};

use super::Result;

/// Values of a statement's parameters.
pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

type Typed<'a> = Vec<(&'a (dyn ToSql + Sync), Type)>;

/// By the statement's text.
type Types = HashMap<&'static str, Arc<[Type]>>;

static TYPES: LazyLock<RwLock<Types>> = LazyLock::new(RwLock::default);

async fn typed<'a, C: GenericClient + Sync>(
    client: &C,
    statement: &'static str,
    parameters: Parameters<'a>,
) -> Result<Typed<'a>> {
    let known = TYPES.read().unwrap_or_else(PoisonError::into_inner).get(statement).cloned();
    let types = match known {
        Some(types) => types,
        None => {
            let types: Arc<[Type]> = client.prepare(statement).await?.params().into();
            TYPES.write().unwrap_or_else(PoisonError::into_inner).insert(statement, Arc::clone(&types));
            types
        }
    };
    Ok(parameters.iter().copied().zip(types.iter().cloned()).collect())
}

/// All rows.
pub(super) async fn query<C: GenericClient + Sync>(
    client: &C,
    statement: &'static str,
    parameters: Parameters<'_>,
) -> Result<Vec<Row>> {
    client.query_typed(statement, &typed(client, statement, parameters).await?).await
}

/// The row, if there is one.
pub(super) async fn query_opt<C: GenericClient + Sync>(
    client: &C,
    statement: &'static str,
    parameters: Parameters<'_>,
) -> Result<Option<Row>> {
    client.query_typed_opt(statement, &typed(client, statement, parameters).await?).await
}

/// The row.
pub(super) async fn query_one<C: GenericClient + Sync>(
    client: &C,
    statement: &'static str,
    parameters: Parameters<'_>,
) -> Result<Row> {
    client.query_typed_one(statement, &typed(client, statement, parameters).await?).await
}

/// No rows.
pub(super) async fn execute<C: GenericClient + Sync>(
    client: &C,
    statement: &'static str,
    parameters: Parameters<'_>,
) -> Result<()> {
    client.execute_typed(statement, &typed(client, statement, parameters).await?).await.map(drop)
}

/// Did a compare-and-set find the row in the state it asked for?
pub(super) async fn took<C: GenericClient + Sync>(
    client: &C,
    statement: &'static str,
    parameters: Parameters<'_>,
) -> Result<bool> {
    Ok(query_opt(client, statement, parameters).await?.is_some())
}
