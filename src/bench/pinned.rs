//! What a transaction that stays open costs: it keeps vacuum from removing what was handled since.

use super::{
    arena::{Arena, failed},
    drain::{self, Shape},
    report::{Amount, Figure, Report, Round},
};
use crate::{Result, connect};

/// Rows that come and go in one statement of the churn.
const CHURN_BATCH: usize = 50_000;

/// How [`pinned`] measures.
#[derive(Clone, Debug)]
pub struct PinnedOptions {
    /// Rounds; in each, one turn without the open transaction and one with it.
    pub rounds: usize,
    /// Messages that come and go while the transaction is open.
    pub churn: usize,
    /// Messages that are handled in a turn.
    pub messages: usize,
    /// How many the instance handles at once.
    pub workers: usize,
}

impl Default for PinnedOptions {
    fn default() -> Self {
        Self { rounds: 3, churn: 200_000, messages: 10_000, workers: 32 }
    }
}

/// Measures draining before and after messages came and went under a transaction that holds an old snapshot.
///
/// `drain_clean`, `drain_pinned`: the floor is that of [`super::throughput`], in the same state; it claims from each lane's start, as plain
/// SQL does, so under the open transaction ours may be faster. `drain_pinned_to_clean`: the rate
/// without the open transaction stands in the floor's place.
///
/// # Errors
/// When the database fails, or a turn takes over ten minutes.
pub async fn pinned(url: &str, options: &PinnedOptions) -> Result<Report> {
    Arena::with(url, async |arena| measure(url, arena, options).await).await
}

async fn measure(url: &str, arena: &Arena, options: &PinnedOptions) -> Result<Vec<Figure>> {
    let (mut clean, mut pinned) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        clean.push(turn(arena, options).await?);
        arena.empty().await?;
        let pin = connect(url, "pgflow bench pin").await?;
        // The first statement takes the snapshot.
        pin.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_xact_id()")
            .await
            .map_err(failed)?;
        churn(arena, options.churn).await?;
        pinned.push(turn(arena, options).await?);
        drop(pin);
        arena.empty().await?;
    }
    let beside = pinned.iter().zip(&clean).map(|(p, c)| Round::new(p.pgflow, c.pgflow)).collect();
    Ok(vec![
        Figure::new("drain_clean", clean),
        Figure::new("drain_pinned", pinned),
        Figure::new("drain_pinned_to_clean", beside),
    ])
}

async fn turn(arena: &Arena, options: &PinnedOptions) -> Result<Round> {
    drain::fill(arena, &Shape::PLAIN, options.messages).await?;
    let own = drain::all(arena, &Shape::PLAIN, options.workers, options.messages).await?;
    let raw = drain::floor(arena, &Shape::PLAIN, options.messages).await?;
    let rate = |seconds| Amount::rate(options.messages, seconds);
    Ok(Round::new(rate(own), rate(raw)))
}

/// Messages that are gone, in both tables.
async fn churn(arena: &Arena, messages: usize) -> Result<()> {
    for begun in (0..messages).step_by(CHURN_BATCH) {
        drain::fill(arena, &Shape::PLAIN, CHURN_BATCH.min(messages - begun)).await?;
        arena.run("DELETE FROM {schema}.pgflow_ready; DELETE FROM {floor}.pgflow_ready").await?;
    }
    Ok(())
}
