//! An instance's proposals. Every change of state is a compare-and-set that answers whether it took place.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use tokio_postgres::types::Json;
use tokio_postgres::{GenericClient, Row};
use uuid::Uuid;

use super::typed::{Parameters, query, query_one, query_opt, took};
use super::{Result, json, json_or_none, sql};
use crate::json::Object;
use crate::messages::{Ballot, Verdict};
use crate::metrics::Metrics;
use crate::profile::Profile;
use crate::proposal::State;
use crate::voter::Record;

/// A proposal as it is submitted.
#[derive(Debug, Clone)]
pub struct NewProposal {
    /// Its id.
    pub proposal_id: Uuid,
    /// Who proposes, and executes.
    pub instance_id: String,
    /// Who thought of it.
    pub agent_type: String,
    /// Which one of them.
    pub agent_id: Option<String>,
    /// What sort of change.
    pub change_type: String,
    /// The change.
    pub code_change: Object,
    /// Free fields.
    pub metadata: Object,
    /// The proposer's figures.
    pub safety_profile: Profile,
    /// Expected benefit, 0..10.
    pub impact_score: f64,
    /// Expected danger, 0..10.
    pub risk_score: f64,
    /// Its score at submission.
    pub priority: f64,
    /// What it conflicts on.
    pub target_key: Option<String>,
}

/// A proposal as it stands.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// Its id.
    pub proposal_id: Uuid,
    /// Who proposes, and executes.
    pub instance_id: String,
    /// Who thought of it.
    pub agent_type: String,
    /// What sort of change.
    pub change_type: String,
    /// The change.
    pub code_change: Object,
    /// Free fields.
    pub metadata: Object,
    /// The proposer's figures.
    pub safety_profile: Profile,
    /// Expected benefit, 0..10.
    pub impact_score: f64,
    /// Expected danger, 0..10.
    pub risk_score: f64,
    /// Its score at submission.
    pub priority: f64,
    /// What it conflicts on.
    pub target_key: Option<String>,
    /// Where it stands.
    pub status: State,
    /// Instances voted on it.
    pub by_vote: bool,
    /// Before the change, once it was applied.
    pub metrics_before: Option<Metrics>,
    /// From where it is measured since a neighbour was taken back.
    pub baseline: Option<Metrics>,
    /// A rollback was ordered.
    pub rollback_requested: bool,
}

impl Proposal {
    pub(super) fn read(row: &Row) -> Result<Self> {
        let votes: BTreeMap<String, serde_json::Value> = json(row, "consensus_votes")?;
        Ok(Self {
            proposal_id: row.try_get("proposal_id")?,
            instance_id: row.try_get("instance_id")?,
            agent_type: row.try_get("agent_type")?,
            change_type: row.try_get("change_type")?,
            code_change: json(row, "code_change")?,
            metadata: json(row, "metadata")?,
            safety_profile: json(row, "safety_profile")?,
            impact_score: row.try_get("impact_score")?,
            risk_score: row.try_get("risk_score")?,
            priority: row.try_get("priority")?,
            target_key: row.try_get("target_key")?,
            status: row.try_get("status")?,
            by_vote: !votes.is_empty(),
            metrics_before: json_or_none(row, "metrics_before")?,
            baseline: json_or_none(row, "baseline")?,
            rollback_requested: row.try_get::<_, Option<OffsetDateTime>>("rollback_requested_at")?.is_some(),
        })
    }

    /// The reading that its next ones are compared with; none of a change that is not in place yet.
    pub fn measured_from(&self) -> Option<Metrics> {
        self.baseline.clone().or_else(|| self.metrics_before.clone())
    }

    fn read_opt(row: Option<Row>) -> Result<Option<Self>> {
        row.as_ref().map(Self::read).transpose()
    }
}

/// What an execution measured.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// Before the change.
    pub before: Metrics,
    /// After it.
    pub after: Metrics,
    /// How long all of it took, ms.
    pub took_ms: i64,
}

/// `insert_proposal.sql`; false when the id is taken.
pub async fn insert_proposal<C: GenericClient + Sync>(client: &C, new: &NewProposal) -> Result<bool> {
    let parameters: Parameters<'_> = &[
        &new.proposal_id,
        &new.instance_id,
        &new.agent_type,
        &new.agent_id,
        &new.change_type,
        &Json(&new.code_change),
        &Json(&new.metadata),
        &Json(&new.safety_profile),
        &new.impact_score,
        &new.risk_score,
        &new.priority,
        &new.target_key,
    ];
    took(client, sql!("insert_proposal"), parameters).await
}

/// `send_next_proposals.sql`
pub async fn send_next_proposals<C: GenericClient + Sync>(
    client: &C,
    instance: &str,
    most: i64,
) -> Result<Vec<Proposal>> {
    query(client, sql!("send_next_proposals"), &[&instance, &most]).await?.iter().map(Proposal::read).collect()
}

/// `next_proposal.sql`
pub async fn next_proposal<C: GenericClient + Sync>(client: &C, instance: &str) -> Result<Option<Proposal>> {
    Proposal::read_opt(query_opt(client, sql!("next_proposal"), &[&instance]).await?)
}

/// `send_proposal.sql`; an error of the index where another open change holds the target.
pub async fn send_proposal<C: GenericClient + Sync>(client: &C, id: Uuid) -> Result<Option<Proposal>> {
    Proposal::read_opt(query_opt(client, sql!("send_proposal"), &[&id]).await?)
}

/// `waits_to_be_sent.sql`
pub async fn waits_to_be_sent<C: GenericClient + Sync>(client: &C, instance: &str) -> Result<bool> {
    query_one(client, sql!("waits_to_be_sent"), &[&instance]).await?.try_get(0)
}

/// `find_proposal.sql`
pub async fn find_proposal<C: GenericClient + Sync>(client: &C, id: Uuid) -> Result<Option<Proposal>> {
    Proposal::read_opt(query_opt(client, sql!("find_proposal"), &[&id]).await?)
}

/// `lock_proposal.sql`
pub async fn lock_proposal<C: GenericClient + Sync>(client: &C, id: Uuid) -> Result<Option<Proposal>> {
    Proposal::read_opt(query_opt(client, sql!("lock_proposal"), &[&id]).await?)
}

/// `agent_outcomes.sql`, as [`crate::score::agent_success`] sees them.
pub async fn agent_success<C: GenericClient + Sync>(client: &C, instance: &str, agent_type: &str) -> Result<f64> {
    let rows = query(client, sql!("agent_outcomes"), &[&instance, &agent_type]).await?;
    let outcomes: Vec<bool> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_>>()?;
    Ok(crate::score::agent_success(outcomes))
}

/// `agent_record.sql`
pub async fn agent_record<C: GenericClient + Sync>(client: &C, instance: &str, agent_type: &str) -> Result<Record> {
    let row = query_one(client, sql!("agent_record"), &[&instance, &agent_type]).await?;
    let count = |at: usize| row.try_get::<_, i64>(at).map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    Ok(Record { applied: count(0)?, failed: count(1)?, rolled_back: count(2)? })
}

/// `enter_decided.sql`
pub async fn enter_decided<C: GenericClient + Sync>(
    client: &C,
    id: Uuid,
    next: State,
    votes: &BTreeMap<String, Ballot>,
    verdict: &Verdict,
    rationale: Option<&str>,
) -> Result<bool> {
    let word = if *verdict == Verdict::Approved { "approved" } else { "rejected" };
    took(client, sql!("enter_decided"), &[&id, &next, &Json(votes), &word, &rationale, &State::before(next)]).await
}

/// `enter_executing.sql`
pub async fn enter_executing<C: GenericClient + Sync>(client: &C, id: Uuid) -> Result<Option<Proposal>> {
    Proposal::read_opt(query_opt(client, sql!("enter_executing"), &[&id]).await?)
}

/// `enter_applied.sql`
pub async fn enter_applied<C: GenericClient + Sync>(
    client: &C,
    id: Uuid,
    run: &Run,
    observed_until: OffsetDateTime,
) -> Result<bool> {
    let parameters: Parameters<'_> = &[&id, &Json(&run.before), &Json(&run.after), &run.took_ms, &observed_until];
    took(client, sql!("enter_applied"), parameters).await
}

/// `enter_failed.sql`
pub async fn enter_failed<C: GenericClient + Sync>(client: &C, id: Uuid, error: &str, run: &Run) -> Result<bool> {
    let parameters: Parameters<'_> = &[&id, &error, &Json(&run.before), &Json(&run.after), &run.took_ms];
    took(client, sql!("enter_failed"), parameters).await
}

/// `request_rollback.sql`
pub async fn request_rollback<C: GenericClient + Sync>(
    client: &C,
    id: Uuid,
    instance: &str,
) -> Result<Option<Proposal>> {
    Proposal::read_opt(query_opt(client, sql!("request_rollback"), &[&id, &instance]).await?)
}

/// `enter_rolled_back.sql`
pub async fn enter_rolled_back<C: GenericClient + Sync>(client: &C, id: Uuid, reason: &str) -> Result<bool> {
    took(client, sql!("enter_rolled_back"), &[&id, &reason]).await
}

/// `enter_kept.sql`
pub async fn enter_kept<C: GenericClient + Sync>(client: &C, id: Uuid) -> Result<bool> {
    took(client, sql!("enter_kept"), &[&id]).await
}
