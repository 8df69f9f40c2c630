//! Patterns, and the figures of learning.

use time::OffsetDateTime;
use tokio_postgres::GenericClient;
use tokio_postgres::types::Json;
use uuid::Uuid;

use super::typed::{Parameters, execute, query, query_one, query_opt, took};
use super::{Result, json, sql};
use crate::learning::Rule;
use crate::patterns::Pattern;

/// `lock_patterns.sql`
pub async fn lock_patterns<C: GenericClient + Sync>(client: &C) -> Result<()> {
    execute(client, sql!("lock_patterns"), &[]).await
}

/// `patterns.sql`
pub async fn patterns<C: GenericClient + Sync>(client: &C, pattern_type: Option<&str>) -> Result<Vec<Pattern>> {
    let rows = query(client, sql!("patterns"), &[&pattern_type]).await?;
    rows.iter()
        .map(|row| {
            Ok(Pattern {
                fingerprint: row.try_get("fingerprint")?,
                pattern_type: row.try_get("pattern_type")?,
                code_pattern: json(row, "code_pattern")?,
                usage: json(row, "usage")?,
                success_rate: row.try_get("success_rate")?,
                mean_similarity: row.try_get("mean_similarity")?,
                promoted: row.try_get("promoted")?,
                updated_at: row.try_get("updated_at")?,
            })
        })
        .collect()
}

/// `save_pattern.sql`, and `save_usage.sql` for the instance that reported.
pub async fn save_pattern<C: GenericClient + Sync>(client: &C, pattern: &Pattern, reporter: &str) -> Result<()> {
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let sources: Vec<&str> = pattern.usage.keys().map(String::as_str).collect();
    let parameters: Parameters<'_> = &[
        &pattern.pattern_type,
        &pattern.fingerprint,
        &Json(&pattern.code_pattern),
        &sources,
        &pattern.success_rate,
        &pattern.mean_similarity,
        &pattern.consensus_score().min(1.0),
        &count(pattern.usage_count()),
        &pattern.promoted,
        &pattern.updated_at,
    ];
    let id: i64 = query_one(client, sql!("save_pattern"), parameters).await?.try_get(0)?;
    let Some(usage) = pattern.usage.get(reporter) else { return Ok(()) };
    let agents: Vec<&str> = usage.agent_types.iter().map(String::as_str).collect();
    let parameters: Parameters<'_> =
        &[&id, &reporter, &usage.success_rate, &count(usage.usage_count), &agents, &usage.last_used_at];
    execute(client, sql!("save_usage"), parameters).await
}

/// `trust_patterns.sql`
pub async fn trust_patterns<C: GenericClient + Sync>(client: &C, fingerprints: &[String]) -> Result<()> {
    execute(client, sql!("trust_patterns"), &[&fingerprints]).await
}

/// `has_trusted_pattern.sql`
pub async fn has_trusted_pattern<C: GenericClient + Sync>(client: &C, pattern_type: &str) -> Result<bool> {
    query_one(client, sql!("has_trusted_pattern"), &[&pattern_type]).await?.try_get(0)
}

/// `save_rule.sql`
pub async fn save_rule<C: GenericClient + Sync>(client: &C, rule: &Rule) -> Result<()> {
    let parameters: Parameters<'_> = &[&rule.rule_id, &Json(rule), &rule.confidence, &rule.generated_at];
    execute(client, sql!("save_rule"), parameters).await
}

/// What a learning run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Patterns that passed the gate.
    pub patterns_processed: i64,
    /// Rules made from them.
    pub rules_generated: i64,
    /// Profiles that changed and were sent.
    pub thresholds_updated: i64,
}

/// `save_learning_run.sql`; false when the run is known.
pub async fn save_learning_run<C: GenericClient + Sync>(
    client: &C,
    run: Uuid,
    figures: Figures,
    finished_at: OffsetDateTime,
) -> Result<bool> {
    let Figures { patterns_processed, rules_generated, thresholds_updated } = figures;
    let parameters: Parameters<'_> = &[&run, &patterns_processed, &rules_generated, &thresholds_updated, &finished_at];
    took(client, sql!("save_learning_run"), parameters).await
}

/// `learning_run.sql`
pub async fn learning_run<C: GenericClient + Sync>(client: &C, run: Uuid) -> Result<Option<Figures>> {
    let Some(row) = query_opt(client, sql!("learning_run"), &[&run]).await? else { return Ok(None) };
    Ok(Some(Figures {
        patterns_processed: row.try_get(0)?,
        rules_generated: row.try_get(1)?,
        thresholds_updated: row.try_get(2)?,
    }))
}

/// `live_instances.sql`
pub async fn live_instances<C: GenericClient + Sync>(client: &C) -> Result<usize> {
    let count: i64 = query_one(client, sql!("live_instances"), &[]).await?.try_get(0)?;
    Ok(usize::try_from(count).unwrap_or(0))
}
