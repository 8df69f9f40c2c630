//! Waiting messages, each handled and settled in one transaction with an effect of its handler's, ours and the floor's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use futures_util::future::try_join_all;
use tokio::sync::Mutex;

use super::{
    arena::{self, Arena, filled},
    drain,
};
use crate::{AnyHandler, Context, Error, Failure, Result};

/// Connections for handlers' transactions, ours and the floor's: as many as there are workers, at most so many.
const CONNECTIONS_MAX: usize = 32;
/// Rows that the floor claims at once.
const FLOOR_BATCH: i32 = 256;
/// The handler's effect: one row into a table without an index.
const EFFECT: &str = "INSERT INTO {schema}.bench_effects DEFAULT VALUES";
const FLOOR_EFFECT: &str = "INSERT INTO {floor}.bench_effects DEFAULT VALUES";

/// How the floor sends a message's four statements.
#[derive(Clone, Copy)]
pub(super) enum Sent {
    /// All together, as nobody can who looks at an answer.
    AtOnce,
    /// BEGIN, the effect, and settle with COMMIT, each after the answer to the one before, as a handler must: one that sent its
    /// effect behind a BEGIN that failed would have it committed by itself.
    InTurn,
}

/// Makes the tables that the effects go to.
pub(super) async fn prepare(arena: &Arena) -> Result<()> {
    let at = "at timestamptz NOT NULL DEFAULT clock_timestamp()";
    arena
        .run(&format!("CREATE TABLE {{schema}}.bench_effects ({at}); CREATE TABLE {{floor}}.bench_effects ({at})"))
        .await
}

/// Seconds from an instance's start until history holds all of these messages, each with its effect.
pub(super) async fn own(arena: &Arena, workers: usize, messages: usize) -> Result<f64> {
    let (handled, effect) = (Arc::new(AtomicUsize::new(0)), Arc::<str>::from(filled(EFFECT)));
    let start = {
        let handled = handled.clone();
        let mut config = arena.config.clone();
        config.handler_connections = workers.min(CONNECTIONS_MAX);
        let build = move || Effect { handled: handled.clone(), statement: effect.clone() };
        async move { Ok(vec![arena::serve(config, 1, workers, build).await?]) }
    };
    arena.run("TRUNCATE {schema}.bench_effects").await?;
    let seconds = drain::until_done(arena, messages, &handled, start).await?;
    match arena.count("SELECT count(*) FROM {schema}.bench_effects").await? {
        effects if usize::try_from(effects) == Ok(messages) => Ok(seconds),
        effects => Err(Error::state("bench", format!("{messages} messages left {effects} effects: report it"))),
    }
}

/// Seconds until the floor has done the same: one connection claims batches, the others take message by message.
pub(super) async fn floor(arena: &Arena, workers: usize, messages: usize, sent: Sent) -> Result<f64> {
    let (floor, effect) = (&arena.floor, filled(FLOOR_EFFECT));
    let claimer = floor.connect(false).await?;
    let connections = try_join_all((0..workers.min(CONNECTIONS_MAX)).map(|_| floor.connect(false))).await?;
    let waiting = Mutex::new(Vec::new());
    let next = async || {
        let mut waiting = waiting.lock().await;
        if waiting.is_empty() {
            let (ids, tokens) = floor.claim(&claimer, FLOOR_BATCH).await?;
            // The last is taken first.
            waiting.extend(ids.into_iter().zip(tokens).rev());
        }
        Ok::<_, Error>(waiting.pop())
    };
    let (begun, settled) = (Instant::now(), AtomicUsize::new(0));
    try_join_all(connections.iter().map(async |c| {
        while let Some(claimed) = next().await? {
            match sent {
                Sent::AtOnce => floor.settle_with(c, &effect, claimed).await?,
                Sent::InTurn => floor.settle_after(c, &effect, claimed).await?,
            }
            settled.fetch_add(1, Ordering::Relaxed);
        }
        Ok::<_, Error>(())
    }))
    .await?;
    let seconds = begun.elapsed().as_secs_f64();
    match settled.into_inner() {
        all if all == messages => Ok(seconds),
        some => Err(Error::state("bench", format!("the floor settled {some} of its {messages} messages"))),
    }
}

/// One effect in the transaction that settles the message.
struct Effect {
    handled: Arc<AtomicUsize>,
    statement: Arc<str>,
}

impl AnyHandler for Effect {
    async fn handle(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        cx.transaction().await?.batch_execute(&self.statement).await?;
        self.handled.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
