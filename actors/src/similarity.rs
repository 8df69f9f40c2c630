//! How alike two token lists are: a trait, and a default that needs no model.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::hash::{DefaultHasher, Hash, Hasher};

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
        Shingles::of(a).likeness(&Shingles::of(b))
    }
}

/// A token list, made ready to be compared with many others by [`ShingleCosine`]'s measure.
#[derive(Debug, Clone)]
pub struct Shingles<'a> {
    tokens: Cow<'a, [String]>,
    /// Each shingle once, in order of hash and tokens.
    counted: Vec<Counted>,
    squares: f64,
}

#[derive(Debug, Clone, Copy)]
struct Counted {
    /// Compared first: nearly always enough.
    hash: u64,
    /// Where the shingle begins.
    at: usize,
    times: f64,
}

impl<'a> Shingles<'a> {
    /// Of these tokens.
    pub fn of(tokens: impl Into<Cow<'a, [String]>>) -> Self {
        let tokens = tokens.into();
        let mut all: Vec<Counted> = Vec::new();
        if !tokens.is_empty() {
            // A list shorter than a shingle is one.
            let shingles = tokens.windows(SHINGLE_TOKENS.min(tokens.len())).enumerate();
            all.extend(shingles.map(|(at, shingle)| Counted { hash: hash(shingle), at, times: 1.0 }));
        }
        all.sort_unstable_by(|a, b| order((&tokens, a), (&tokens, b)));
        let mut counted: Vec<Counted> = Vec::with_capacity(all.len());
        for one in all {
            match counted.last_mut() {
                Some(last) if order((&tokens, last), (&tokens, &one)).is_eq() => last.times += 1.0,
                _ => counted.push(one),
            }
        }
        let squares = counted.iter().map(|c| c.times * c.times).sum();
        Self { tokens, counted, squares }
    }

    /// 0 (nothing in common) to 1 (the same), see [`Similarity::between`].
    pub fn likeness(&self, other: &Shingles<'_>) -> f64 {
        if self.tokens.is_empty() || other.tokens.is_empty() {
            return 0.0;
        }
        if self.tokens == other.tokens {
            return 1.0;
        }
        let (mut dot, mut rest) = (0.0, other.counted.as_slice());
        for own in &self.counted {
            while let Some((theirs, after)) = rest.split_first() {
                let order = order((&other.tokens, theirs), (&self.tokens, own));
                if order.is_gt() {
                    break;
                }
                if order.is_eq() {
                    dot += own.times * theirs.times;
                }
                rest = after;
            }
        }
        (dot / (self.squares * other.squares).sqrt()).clamp(0.0, 1.0)
    }
}

fn hash(shingle: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    shingle.hash(&mut hasher);
    hasher.finish()
}

fn order((tokens, a): (&[String], &Counted), (others, b): (&[String], &Counted)) -> Ordering {
    let of = |tokens: &'_ [String], at: usize| tokens.len().min(at + SHINGLE_TOKENS);
    a.hash.cmp(&b.hash).then_with(|| tokens[a.at..of(tokens, a.at)].cmp(&others[b.at..of(others, b.at)]))
}
