//! Proposals in a list.

use serde::Serialize;
use time::OffsetDateTime;
use tokio_postgres::GenericClient;
use uuid::Uuid;

use super::typed::query;
use super::{Result, sql};
use crate::json::three_decimals;
use crate::proposal::State;

/// A line of a list of proposals.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listed {
    /// Its id.
    pub proposal_id: Uuid,
    /// Who proposes, and executes.
    pub instance_id: String,
    /// Who thought of it.
    pub agent_type: String,
    /// What sort of change.
    pub change_type: String,
    /// What it conflicts on.
    pub target: Option<String>,
    /// Where it stands.
    pub status: State,
    /// Its observation is over.
    pub kept: bool,
    /// Its score as of now, three decimals.
    pub score: f64,
    /// When it was submitted.
    #[serde(with = "crate::json::utc")]
    pub created_at: OffsetDateTime,
    /// Why it failed.
    pub error: Option<String>,
}

/// `list_proposals.sql`
pub async fn list_proposals<C: GenericClient + Sync>(
    client: &C,
    instance: Option<&str>,
    states: &[State],
    limit: i64,
) -> Result<Vec<Listed>> {
    let states: Vec<&str> = states.iter().map(|state| state.tag()).collect();
    let rows = query(client, sql!("list_proposals"), &[&instance, &states, &limit]).await?;
    rows.iter()
        .map(|row| {
            Ok(Listed {
                proposal_id: row.try_get("proposal_id")?,
                instance_id: row.try_get("instance_id")?,
                agent_type: row.try_get("agent_type")?,
                change_type: row.try_get("change_type")?,
                target: row.try_get("target_key")?,
                status: row.try_get("status")?,
                kept: row.try_get("kept")?,
                score: three_decimals(row.try_get("score")?),
                created_at: row.try_get("created_at")?,
                error: row.try_get("execution_error")?,
            })
        })
        .collect()
}
