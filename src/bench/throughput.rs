//! How many waiting messages a second one instance handles, history kept.

use super::{
    arena::Arena,
    drain,
    report::{Amount, Figure, Report, Round},
};
use crate::Result;

/// How [`throughput`] measures.
#[derive(Clone, Debug)]
pub struct ThroughputOptions {
    /// Rounds of ours and of the floor's.
    pub rounds: usize,
    /// Messages that wait when a round begins.
    pub messages: usize,
    /// How many the instance handles at once.
    pub workers: usize,
}

impl Default for ThroughputOptions {
    fn default() -> Self {
        Self { rounds: 5, messages: 50_000, workers: 32 }
    }
}

/// Measures the draining of waiting messages by handlers that do nothing: from the start of the instance until the
/// database counts all of them as done. The floor: the same claim and settle statements on a copy of the tables, 256 rows
/// at a time, by two connections.
///
/// # Errors
/// When the database fails, or a turn takes over ten minutes.
pub async fn throughput(url: &str, options: &ThroughputOptions) -> Result<Report> {
    Arena::with(url, async |arena| measure(arena, options).await).await
}

async fn measure(arena: &Arena, options: &ThroughputOptions) -> Result<Vec<Figure>> {
    let mut rounds = Vec::new();
    for n in 0..options.rounds {
        drain::fill(arena, options.messages).await?;
        // Turns change places: what one leaves behind (autovacuum, cache) must not always meet the other.
        let (own, raw) = if n % 2 == 0 {
            let own = drain::all(arena, options.workers, options.messages).await?;
            (own, drain::floor(arena, options.messages).await?)
        } else {
            let raw = drain::floor(arena, options.messages).await?;
            (drain::all(arena, options.workers, options.messages).await?, raw)
        };
        let rate = |seconds| Amount::rate(options.messages, seconds);
        rounds.push(Round::new(rate(own), rate(raw)));
        arena.empty().await?;
    }
    Ok(vec![Figure::new("drain", rounds)])
}
