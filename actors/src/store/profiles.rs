//! Safety profiles: what central learned, and what each instance holds.

use time::OffsetDateTime;
use tokio_postgres::GenericClient;
use tokio_postgres::types::Json;

use super::typed::{Parameters, execute, query, query_opt, took};
use super::{Result, json, json_or_none, sql};
use crate::profile::Profile;

/// A profile and where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct LearnedProfile {
    /// Whose.
    pub agent_type: String,
    /// The thresholds.
    pub profile: Profile,
    /// Who learned it.
    pub source: String,
    /// When.
    pub learned_at: OffsetDateTime,
}

/// `safety_profile.sql`
pub async fn safety_profile<C: GenericClient + Sync>(
    client: &C,
    instance: &str,
    agent_type: &str,
) -> Result<Option<Profile>> {
    let row = query_opt(client, sql!("safety_profile"), &[&instance, &agent_type]).await?;
    row.map(|row| json(&row, "profile")).transpose()
}

/// `save_safety_profile.sql`; false when a newer one is there.
pub async fn save_safety_profile<C: GenericClient + Sync>(
    client: &C,
    instance: &str,
    learned: &LearnedProfile,
) -> Result<bool> {
    let parameters: Parameters<'_> =
        &[&instance, &learned.agent_type, &Json(&learned.profile), &learned.source, &learned.learned_at];
    took(client, sql!("save_safety_profile"), parameters).await
}

/// `learned_profiles.sql`
pub async fn learned_profiles<C: GenericClient + Sync>(client: &C) -> Result<Vec<LearnedProfile>> {
    let rows = query(client, sql!("learned_profiles"), &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(LearnedProfile {
                agent_type: row.try_get("agent_type")?,
                profile: json(row, "profile")?,
                source: row.try_get("source")?,
                learned_at: row.try_get("learned_at")?,
            })
        })
        .collect()
}

/// `learned_profile.sql`
pub async fn learned_profile<C: GenericClient + Sync>(client: &C, agent_type: &str) -> Result<Option<Profile>> {
    match query_opt(client, sql!("learned_profile"), &[&agent_type]).await? {
        Some(row) => json_or_none(&row, "profile"),
        None => Ok(None),
    }
}

/// `save_learned_profile.sql`
pub async fn save_learned_profile<C: GenericClient + Sync>(client: &C, learned: &LearnedProfile) -> Result<()> {
    let parameters: Parameters<'_> =
        &[&learned.agent_type, &Json(&learned.profile), &learned.source, &learned.learned_at];
    execute(client, sql!("save_learned_profile"), parameters).await
}
