//! Votes on proposals, and the registration of changes that goes with them.

use time::{Duration, OffsetDateTime};
use tokio_postgres::GenericClient;
use tokio_postgres::types::Json;
use uuid::Uuid;

use super::typed::{Parameters, execute, query, query_one, query_opt, took};
use super::{Result, sql};
use crate::consensus::{Rule, Status};
use crate::messages::ProposalForConsensus;
use crate::voting::CastVote;

/// A proposal's vote as it begins.
#[derive(Debug, Clone)]
pub struct NewVote {
    /// Voting, or approved without one.
    pub status: Status,
    /// How many must be in favour.
    pub rule: Rule,
    /// Likeness to what is known to be safe.
    pub similarity: f64,
    /// Why nobody is asked.
    pub rationale: Option<String>,
    /// How long votes may come in.
    pub window: Duration,
}

/// A proposal's vote as it stands.
#[derive(Debug, Clone)]
pub struct OpenVote {
    /// The proposer.
    pub instance_id: String,
    /// Where it stands.
    pub status: Status,
    /// How many must be in favour.
    pub rule: Rule,
    /// When the votes must be in.
    pub deadline: OffsetDateTime,
    /// What time it is, on the clock of the deadline and of the votes: the database's.
    pub now: OffsetDateTime,
}

/// `insert_consensus.sql`: the deadline; none when the proposal is known.
pub async fn insert_consensus<C: GenericClient + Sync>(
    client: &C,
    proposal: &ProposalForConsensus,
    change_type: &str,
    new: &NewVote,
) -> Result<Option<OffsetDateTime>> {
    let window = new.window.as_seconds_f64();
    let parameters: Parameters<'_> = &[
        &proposal.proposal_id,
        &proposal.instance_id,
        &Json(proposal),
        &new.status,
        &new.rule,
        &new.similarity,
        &new.rationale,
        &window,
        &proposal.agent_type,
        &change_type,
        &Json(&proposal.code_change),
        &Json(&proposal.safety_profile),
    ];
    let row = query_opt(client, sql!("insert_consensus"), parameters).await?;
    row.map(|row| row.try_get("deadline")).transpose()
}

/// `lock_consensus.sql`
pub async fn lock_consensus<C: GenericClient + Sync>(client: &C, id: Uuid) -> Result<Option<OpenVote>> {
    let Some(row) = query_opt(client, sql!("lock_consensus"), &[&id]).await? else { return Ok(None) };
    Ok(Some(OpenVote {
        instance_id: row.try_get("instance_id")?,
        status: row.try_get("status")?,
        rule: row.try_get("rule")?,
        deadline: row.try_get("deadline")?,
        now: row.try_get("now")?,
    }))
}

/// `insert_vote.sql`
pub async fn insert_vote<C: GenericClient + Sync>(client: &C, id: Uuid, vote: &CastVote) -> Result<()> {
    let parameters: Parameters<'_> =
        &[&id, &vote.instance_id, &vote.vote, &vote.confidence, &vote.reason, &vote.voted_at];
    execute(client, sql!("insert_vote"), parameters).await
}

/// `votes_on.sql`
pub async fn votes_on<C: GenericClient + Sync>(client: &C, id: Uuid) -> Result<Vec<CastVote>> {
    let rows = query(client, sql!("votes_on"), &[&id]).await?;
    rows.iter()
        .map(|row| {
            Ok(CastVote {
                instance_id: row.try_get("instance_id")?,
                vote: row.try_get("vote")?,
                confidence: row.try_get("confidence")?,
                reason: row.try_get("reason")?,
                voted_at: row.try_get("voted_at")?,
            })
        })
        .collect()
}

/// `note_vote.sql`
pub async fn note_vote<C: GenericClient + Sync>(client: &C, id: Uuid, voter: &str) -> Result<()> {
    execute(client, sql!("note_vote"), &[&id, &voter]).await
}

/// `forget_vote.sql`
pub async fn forget_vote<C: GenericClient + Sync>(client: &C, id: Uuid, voter: &str) -> Result<()> {
    execute(client, sql!("forget_vote"), &[&id, &voter]).await
}

/// `votes_under_way.sql`
pub async fn votes_under_way<C: GenericClient + Sync>(client: &C, id: Uuid, deadline: OffsetDateTime) -> Result<bool> {
    query_one(client, sql!("votes_under_way"), &[&id, &deadline]).await?.try_get(0)
}

/// `decide_consensus.sql`
pub async fn decide_consensus<C: GenericClient + Sync>(
    client: &C,
    id: Uuid,
    status: Status,
    confidence: f64,
    rationale: &str,
) -> Result<bool> {
    took(client, sql!("decide_consensus"), &[&id, &status, &confidence, &rationale]).await
}

/// `admit_change.sql`
pub async fn admit_change<C: GenericClient + Sync>(client: &C, id: Uuid, approved: bool) -> Result<()> {
    let status = if approved { "active" } else { "expired" };
    execute(client, sql!("admit_change"), &[&id, &status]).await
}
