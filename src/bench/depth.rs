//! Whether a claim costs more the more messages wait.

use super::{
    arena::Arena,
    drain::{self, Shape},
    report::{Amount, Figure, Report, Round},
};
use crate::{Error, Result};

/// How [`depth`] measures.
#[derive(Clone, Debug)]
pub struct DepthOptions {
    /// Rounds; in each, every depth takes its turn.
    pub rounds: usize,
    /// Messages that wait when a turn begins; each above `messages`.
    pub depths: Vec<usize>,
    /// Messages that are handled in a turn.
    pub messages: usize,
    /// How many the instance handles at once.
    pub workers: usize,
}

impl Default for DepthOptions {
    fn default() -> Self {
        Self { rounds: 3, depths: vec![20_000, 1_000_000], messages: 10_000, workers: 32 }
    }
}

/// Measures the handling of the same number of messages at several depths of the queue.
///
/// `drain_of_DEPTH`: the floor is that of [`super::throughput`], at the same depth. `drain_of_DEPTH_to_DEPTH`: the deepest queue
/// beside the shallowest of the same round, whose rate stands in the floor's place.
///
/// # Errors
/// A depth that is not above the number of messages; when the database fails, or a turn takes over ten minutes.
pub async fn depth(url: &str, options: &DepthOptions) -> Result<Report> {
    // What an instance has claimed when the turn is over still comes out of the queue.
    let least = options.messages + options.workers;
    if options.depths.iter().any(|depth| *depth <= least) {
        let why = format!("each depth must be above messages and workers together ({least})");
        return Err(Error::input("bench depth", why));
    }
    Arena::with(url, async |arena| measure(arena, options).await).await
}

async fn measure(arena: &Arena, options: &DepthOptions) -> Result<Vec<Figure>> {
    let mut rounds = vec![Vec::new(); options.depths.len()];
    for n in 0..options.rounds {
        for (depth, rounds) in options.depths.iter().zip(&mut rounds) {
            drain::fill(arena, &Shape::PLAIN, *depth).await?;
            let own = || drain::first(arena, options.workers, options.messages);
            let raw = || drain::floor(arena, &Shape::PLAIN, options.messages);
            let (own, raw) = drain::by_turns(n, own, raw).await?;
            let rate = |seconds| Amount::rate(options.messages, seconds);
            rounds.push(Round::new(rate(own), rate(raw)));
            arena.empty().await?;
        }
    }
    let ends = options
        .depths
        .iter()
        .enumerate()
        .min_by_key(|(_, d)| **d)
        .zip(options.depths.iter().enumerate().max_by_key(|(_, d)| **d));
    let mut figures: Vec<Figure> = options
        .depths
        .iter()
        .zip(&rounds)
        .map(|(depth, r)| Figure::new(format!("drain_of_{depth}"), r.clone()))
        .collect();
    if let Some(((low, shallow), (high, deep))) = ends.filter(|((low, _), (high, _))| low != high) {
        let pairs =
            rounds[high].iter().zip(&rounds[low]).map(|(deep, shallow)| Round::new(deep.pgflow, shallow.pgflow));
        figures.push(Figure::new(format!("drain_of_{deep}_to_{shallow}"), pairs.collect()));
    }
    Ok(figures)
}
