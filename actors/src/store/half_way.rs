//! What a process left half-way.

use std::collections::HashSet;

use time::OffsetDateTime;
use tokio_postgres::{GenericClient, Row};
use uuid::Uuid;

use super::typed::query;
use super::{Proposal, Result, Rollback, json, sql};
use crate::consensus::{Decision, Status};
use crate::messages::ProposalForConsensus;

/// A proposal that something must still happen to.
#[derive(Debug, Clone)]
pub(crate) struct HalfWay {
    pub(crate) proposal: Proposal,
    /// When its observation ends, while there is one.
    pub(crate) left_until: Option<OffsetDateTime>,
    /// It was approved, and Guardian's case is open.
    pub(crate) is_watched: bool,
    /// Guardian has had no report yet.
    pub(crate) awaits_first: bool,
    /// The vote on it; none: central never took it in.
    pub(crate) vote: Option<FoundVote>,
}

/// A vote as it was found.
#[derive(Debug, Clone)]
pub(crate) struct FoundVote {
    pub(crate) deadline: OffsetDateTime,
    /// The proposal as central got it.
    pub(crate) asked: ProposalForConsensus,
    /// `Voting` while it is open.
    pub(crate) decision: Decision,
}

/// `half_way.sql`
pub(crate) async fn half_way<C: GenericClient + Sync>(client: &C, instance: &str) -> Result<Vec<HalfWay>> {
    let rows = client.query(sql!("half_way"), &[&instance]).await?;
    rows.iter()
        .map(|row| {
            Ok(HalfWay {
                proposal: Proposal::read(row)?,
                left_until: row.try_get("left_until")?,
                is_watched: row.try_get::<_, Option<bool>>("is_watched")?.unwrap_or(false),
                awaits_first: row.try_get::<_, Option<bool>>("awaits_first")?.unwrap_or(false),
                vote: vote(row)?,
            })
        })
        .collect()
}

fn vote(row: &Row) -> Result<Option<FoundVote>> {
    let Some(status) = row.try_get::<_, Option<Status>>("vote_status")? else { return Ok(None) };
    let rationale: Option<String> = row.try_get("vote_rationale")?;
    let decision =
        Decision { status, confidence: row.try_get("vote_confidence")?, rationale: rationale.unwrap_or_default() };
    Ok(Some(FoundVote { deadline: row.try_get("vote_deadline")?, asked: json(row, "vote_proposal")?, decision }))
}

/// `open_rollbacks.sql`
pub(crate) async fn open_rollbacks<C: GenericClient + Sync>(client: &C, instance: &str) -> Result<Vec<Rollback>> {
    let rows = client.query(sql!("open_rollbacks"), &[&instance]).await?;
    rows.iter()
        .map(|row| {
            Ok(Rollback {
                proposal_id: row.try_get("proposal_id")?,
                rollback_id: row.try_get("rollback_id")?,
                instance_id: instance.to_owned(),
                reason: row.try_get("reason")?,
                limit: json(row, "breach")?,
                breach_count: row.try_get::<_, i32>("breach_count")?.unsigned_abs(),
                strategy: json(row, "strategy")?,
            })
        })
        .collect()
}

/// A proposal whose order to execute is a dead letter.
#[derive(Debug, Clone)]
pub(crate) struct DeadExecution {
    pub(crate) proposal: Proposal,
    /// Why the order died.
    pub(crate) error: String,
    /// It was one to take the change back, after another had died.
    pub(crate) again: bool,
}

/// `dead_executions.sql`
pub(crate) async fn dead_executions<C: GenericClient + Sync>(client: &C) -> Result<Vec<DeadExecution>> {
    let rows = query(client, sql!("dead_executions"), &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(DeadExecution {
                proposal: Proposal::read(row)?,
                error: row.try_get("error")?,
                again: row.try_get("again")?,
            })
        })
        .collect()
}

/// `waiting_messages.sql`: proposal and type.
pub(crate) async fn waiting_messages<C: GenericClient + Sync>(
    client: &C,
    proposals: &[Uuid],
) -> Result<HashSet<(Uuid, String)>> {
    let rows = client.query(sql!("waiting_messages"), &[&proposals]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}
