//! How many waiting messages a second are handled, history kept: by handlers that do nothing, and exactly once.

use super::{
    arena::Arena,
    drain::{self, Shape},
    exactly_once::{self, Sent},
    report::{Amount, Figure, Report, Round},
};
use crate::{Error, Result};

/// Most bytes that wait in a turn, all messages together: of larger messages there are fewer.
const TURN_BYTES_MAX: usize = 256 << 20;
/// Of the messages of a turn, one in so many is handled in its exactly-once turn: each takes a commit of its own.
const EXACTLY_ONCE_PART: usize = 5;

/// How [`throughput`] measures.
#[derive(Clone, Debug)]
pub struct ThroughputOptions {
    /// Rounds of ours and of the floor's.
    pub rounds: usize,
    /// Messages that wait when a round begins; where they have more than 256 MiB together, as many as have not.
    pub messages: usize,
    /// How many an instance handles at once.
    pub workers: usize,
    /// Numbers of instances, each a figure more.
    pub runtimes: Vec<usize>,
    /// Numbers of queues, each a figure more.
    pub queues: Vec<usize>,
    /// Bytes of a message, each a figure more.
    pub bytes: Vec<usize>,
}

impl Default for ThroughputOptions {
    fn default() -> Self {
        let (runtimes, queues, bytes) = (Vec::new(), Vec::new(), Vec::new());
        Self { rounds: 5, messages: 50_000, workers: 32, runtimes, queues, bytes }
    }
}

/// Measures the draining of waiting messages: from the start of the instances until the database counts all of them as done.
///
/// `drain`: one instance, one queue, 100 bytes, handlers that do nothing. The floor: the same claim and settle statements on a copy
/// of the tables, 256 rows at a time, by two connections. `drain_runtimes_N`: N instances, each with all the workers.
/// `drain_queues_N`: the messages spread evenly over N queues, the workers shared out, at least four a queue; the floor claims out of all
/// queues at once. `drain_bytes_N`: messages of N bytes that cannot be compressed. All but the one number are as in `drain`.
///
/// `drain_exactly_once`: a fifth of the messages, and each handler inserts a row through its [`crate::Context::transaction`]. The floor:
/// one connection claims 256 at a time; others, as many as our handlers have, take BEGIN, the same insert, settle and COMMIT for
/// each message, all sent at once. `drain_exactly_once_in_turn`: once more, beside a floor that waits for the answers to BEGIN and to
/// the insert, as a handler must.
///
/// # Errors
/// A number that is 0; when the database fails, or a turn takes over ten minutes.
pub async fn throughput(url: &str, options: &ThroughputOptions) -> Result<Report> {
    let tables = [&options.runtimes, &options.queues, &options.bytes];
    if options.messages == 0 || options.workers == 0 || tables.iter().any(|t| t.contains(&0)) {
        return Err(Error::input("bench throughput", "every number must be at least 1"));
    }
    Arena::with(url, async |arena| measure(arena, options).await).await
}

async fn measure(arena: &Arena, options: &ThroughputOptions) -> Result<Vec<Figure>> {
    exactly_once::prepare(arena).await?;
    let turns = turns(options);
    let mut drained: Vec<Vec<Round>> = vec![Vec::new(); turns.len()];
    let once = [("drain_exactly_once", Sent::AtOnce), ("drain_exactly_once_in_turn", Sent::InTurn)];
    let mut exactly_once = once.map(|_| Vec::new());
    for n in 0..options.rounds {
        for ((_, shape), rounds) in turns.iter().zip(&mut drained) {
            let messages = options.messages.min((TURN_BYTES_MAX / shape.bytes).max(1));
            let own = || drain::all(arena, shape, options.workers, messages);
            rounds.push(beside(arena, n, shape, messages, own, || drain::floor(arena, shape, messages)).await?);
        }
        let messages = options.messages.div_ceil(EXACTLY_ONCE_PART);
        for ((_, sent), rounds) in once.into_iter().zip(&mut exactly_once) {
            let own = || exactly_once::own(arena, options.workers, messages);
            let floor = || exactly_once::floor(arena, options.workers, messages, sent);
            rounds.push(beside(arena, n, &Shape::PLAIN, messages, own, floor).await?);
        }
    }
    let names = turns.into_iter().map(|(name, _)| name).chain(once.map(|(name, _)| name.to_owned()));
    let rounds = drained.into_iter().chain(exactly_once);
    Ok(names.zip(rounds).map(|(name, rounds)| Figure::new(name, rounds)).collect())
}

/// What is drained, by the figure's name.
fn turns(options: &ThroughputOptions) -> Vec<(String, Shape)> {
    let plain = Shape::PLAIN;
    let runtimes = options.runtimes.iter().map(|&n| (format!("drain_runtimes_{n}"), Shape { instances: n, ..plain }));
    let queues = options.queues.iter().map(|&n| (format!("drain_queues_{n}"), Shape { queues: n, ..plain }));
    let bytes = options.bytes.iter().map(|&n| (format!("drain_bytes_{n}"), Shape { bytes: n, ..plain }));
    [("drain".to_owned(), plain)].into_iter().chain(runtimes).chain(queues).chain(bytes).collect()
}

/// One round, from filled to empty tables.
async fn beside(
    arena: &Arena,
    round: usize,
    shape: &Shape,
    messages: usize,
    own: impl AsyncFnOnce() -> Result<f64>,
    floor: impl AsyncFnOnce() -> Result<f64>,
) -> Result<Round> {
    drain::fill(arena, shape, messages).await?;
    let (own, floor) = drain::by_turns(round, own, floor).await?;
    arena.empty().await?;
    let rate = |seconds| Amount::rate(messages, seconds);
    Ok(Round::new(rate(own), rate(floor)))
}
