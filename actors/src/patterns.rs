//! Patterns and how reports of them merge (domain §4.1-4.3).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::json::Object;
use crate::messages::PatternDiscovered;
use crate::similarity::Similarity;
use crate::text::{fingerprint, pattern_tokens};

/// What one instance contributed to a pattern.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Mean success of its reports.
    pub success_rate: f64,
    /// Number of its reports, at least 1.
    pub usage_count: u64,
    /// Whose work showed it there.
    pub agent_types: BTreeSet<String>,
    /// Its newest report.
    #[serde(with = "crate::json::utc")]
    pub last_used_at: OffsetDateTime,
}

/// A pattern and everything reported about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pattern {
    /// Name of the evened-out code pattern; with the type, its identity.
    pub fingerprint: String,
    /// What sort.
    pub pattern_type: String,
    /// The code pattern as first reported.
    pub code_pattern: Object,
    /// Per instance; the keys are the source instances.
    pub usage: BTreeMap<String, Usage>,
    /// Mean success, each report counting once.
    pub success_rate: f64,
    /// Mean likeness of the merged reports to the first.
    pub mean_similarity: f64,
    /// Already promoted.
    pub promoted: bool,
    /// The newest report.
    #[serde(with = "crate::json::utc")]
    pub updated_at: OffsetDateTime,
}

/// Instances that make a consensus.
pub const CONSENSUS_INSTANCES: usize = 3;
/// Score of a consensus pattern, and for promotion.
pub const CONSENSUS_SCORE: f64 = 0.95;
/// Success for promotion and learning.
pub const PROVEN_SUCCESS: f64 = 0.95;
/// Reports for promotion.
pub const PROMOTION_USAGE: u64 = 100;
/// Likeness from which two patterns are one.
pub const MERGE_FROM: f64 = 0.90;

/// Products of rates carry float error; a score meant to be 0.95 must pass 0.95.
const TOLERANCE: f64 = 1e-9;

impl Pattern {
    /// A pattern with its first report.
    pub fn first(report: &PatternDiscovered) -> Self {
        let mut pattern = Self {
            fingerprint: fingerprint(&pattern_tokens(&report.code_pattern)),
            pattern_type: report.pattern_type.clone(),
            code_pattern: report.code_pattern.clone(),
            usage: BTreeMap::new(),
            success_rate: 0.0,
            mean_similarity: 0.0,
            promoted: false,
            updated_at: report.timestamp,
        };
        pattern.merge(report, 1.0);
        pattern
    }

    /// Takes one more report in, which is `similarity` like the first: weighted means, union of the sources.
    pub fn merge(&mut self, report: &PatternDiscovered, similarity: f64) {
        let before = self.usage_count() as f64;
        let mean = |old: f64, new: f64, weight: f64| (old * weight + new) / (weight + 1.0);
        self.success_rate = mean(self.success_rate, report.success_rate, before);
        self.mean_similarity = mean(self.mean_similarity, similarity.clamp(0.0, 1.0), before);
        let usage = self.usage.entry(report.instance_id.clone()).or_insert_with(|| Usage {
            success_rate: 0.0,
            usage_count: 0,
            agent_types: BTreeSet::new(),
            last_used_at: report.timestamp,
        });
        usage.success_rate = mean(usage.success_rate, report.success_rate, usage.usage_count as f64);
        usage.usage_count += 1;
        usage.agent_types.insert(report.agent_type.clone());
        usage.last_used_at = usage.last_used_at.max(report.timestamp);
        self.updated_at = self.updated_at.max(report.timestamp);
    }

    /// Reports in total. (Upstream counted rows, one per instance, and could never reach a hundred.)
    pub fn usage_count(&self) -> u64 {
        self.usage.values().map(|u| u.usage_count).sum()
    }

    /// Distinct instances.
    pub fn instances(&self) -> usize {
        self.usage.len()
    }

    /// `min(1, instances / 3) * mean similarity * success`, 0..1.
    pub fn consensus_score(&self) -> f64 {
        let breadth = (self.instances() as f64 / CONSENSUS_INSTANCES as f64).min(1.0);
        breadth * self.mean_similarity * self.success_rate
    }

    /// May it be promoted now?
    pub fn is_promotable(&self) -> bool {
        !self.promoted
            && self.instances() >= CONSENSUS_INSTANCES
            && self.usage_count() >= PROMOTION_USAGE
            && self.success_rate + TOLERANCE >= PROVEN_SUCCESS
            && self.consensus_score() + TOLERANCE >= CONSENSUS_SCORE
    }
}

/// The known pattern a report belongs to, and its likeness: the same fingerprint, else the nearest of the same type
/// at 0.90 or more, else none.
pub fn matching<S: Similarity>(known: &[Pattern], report: &PatternDiscovered, by: &S) -> Option<(usize, f64)> {
    let tokens = pattern_tokens(&report.code_pattern);
    let name = fingerprint(&tokens);
    let same_type = || known.iter().enumerate().filter(|(_, p)| p.pattern_type == report.pattern_type);
    if let Some((index, _)) = same_type().find(|(_, p)| p.fingerprint == name) {
        return Some((index, 1.0));
    }
    let others: Vec<(Vec<String>, usize)> =
        same_type().map(|(index, p)| (pattern_tokens(&p.code_pattern), index)).collect();
    by.nearest(&tokens, others.iter().map(|(t, index)| (t.as_slice(), *index)))
        .filter(|(_, likeness)| *likeness >= MERGE_FROM)
}

/// Records a report among the known patterns; the index of the one it went to.
pub fn record<S: Similarity>(known: &mut Vec<Pattern>, report: &PatternDiscovered, by: &S) -> usize {
    if let Some((index, likeness)) = matching(known, report, by) {
        known[index].merge(report, likeness);
        return index;
    }
    known.push(Pattern::first(report));
    known.len() - 1
}

/// What to list as consensus patterns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConsensusQuery {
    /// Lowest score.
    pub threshold: f64,
    /// Fewest instances.
    pub min_instances: usize,
    /// Most results.
    pub limit: usize,
}

impl Default for ConsensusQuery {
    fn default() -> Self {
        Self { threshold: CONSENSUS_SCORE, min_instances: CONSENSUS_INSTANCES, limit: 10 }
    }
}

/// Consensus patterns, best score first, then best success.
pub fn consensus_patterns(known: &[Pattern], query: ConsensusQuery) -> Vec<&Pattern> {
    let fits =
        |p: &&Pattern| p.instances() >= query.min_instances && p.consensus_score() + TOLERANCE >= query.threshold;
    let mut found: Vec<&Pattern> = known.iter().filter(fits).collect();
    found.sort_by(|a, b| {
        let by_score = b.consensus_score().total_cmp(&a.consensus_score());
        by_score.then(b.success_rate.total_cmp(&a.success_rate)).then(a.fingerprint.cmp(&b.fingerprint))
    });
    found.truncate(query.limit);
    found
}

/// Most suggestions at once.
const SUGGESTIONS_MAX: usize = 5;
/// Nothing less successful is suggested.
const SUGGESTION_SUCCESS: f64 = 0.80;
/// Nothing less alike is suggested.
const SUGGESTION_LIKENESS_ABOVE: f64 = 0.75;

/// Patterns worth showing to someone who works on `code`, most alike first.
pub fn suggestions<'a, S: Similarity>(known: &'a [Pattern], code: &Object, by: &S) -> Vec<(&'a Pattern, f64)> {
    let tokens = pattern_tokens(code);
    let mut found: Vec<(&Pattern, f64)> = known
        .iter()
        .filter(|p| p.success_rate >= SUGGESTION_SUCCESS)
        .map(|p| (p, by.between(&tokens, &pattern_tokens(&p.code_pattern))))
        .filter(|(_, likeness)| *likeness > SUGGESTION_LIKENESS_ABOVE)
        .collect();
    found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.fingerprint.cmp(&b.0.fingerprint)));
    found.truncate(SUGGESTIONS_MAX);
    found
}
