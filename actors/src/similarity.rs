//! How alike two token lists are: a trait, and a default that needs no model.

use std::collections::BTreeMap;

/// Compares two token lists.
pub trait Similarity: Send + Sync {
    /// 0 (nothing in common) to 1 (the same). An empty list is like nothing, not even another empty one, so that
    /// no change is approved for having nothing to compare.
    fn between(&self, a: &[String], b: &[String]) -> f64;

    /// The most similar of several, and how similar.
    fn nearest<'a, T>(&self, to: &[String], among: impl IntoIterator<Item = (&'a [String], T)>) -> Option<(T, f64)>
    where
        Self: Sized,
    {
        let mut best: Option<(T, f64)> = None;
        for (other, item) in among {
            let likeness = self.between(to, other);
            if best.as_ref().is_none_or(|(_, most)| likeness > *most) {
                best = Some((item, likeness));
            }
        }
        best
    }
}

/// Cosine of the counts of runs of four tokens. One changed token changes four shingles, so in anything short a
/// small edit is a big difference: right for approving by likeness, where `<` and `<=` are not alike enough.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShingleCosine;

/// Tokens in a shingle.
pub const SHINGLE_TOKENS: usize = 4;

impl Similarity for ShingleCosine {
    fn between(&self, a: &[String], b: &[String]) -> f64 {
        if a.is_empty() || b.is_empty() {
            return 0.0;
        }
        if a == b {
            return 1.0;
        }
        let (a, b) = (shingles(a), shingles(b));
        let dot: f64 = a.iter().filter_map(|(s, n)| Some(n * b.get(s)?)).sum();
        let length = |counts: &BTreeMap<&[String], f64>| counts.values().map(|n| n * n).sum::<f64>();
        (dot / (length(&a) * length(&b)).sqrt()).clamp(0.0, 1.0)
    }
}

fn shingles(tokens: &[String]) -> BTreeMap<&[String], f64> {
    let mut counts = BTreeMap::new();
    // A list shorter than a shingle is one.
    for shingle in tokens.windows(SHINGLE_TOKENS.min(tokens.len())) {
        *counts.entry(shingle).or_insert(0.0) += 1.0;
    }
    counts
}
