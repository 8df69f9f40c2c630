//! What a message's life writes: bytes of the write-ahead log, and commits.

use std::time::{Duration, Instant};

use super::{
    arena::{Arena, Ball},
    drain::{self, Shape},
    report::{Amount, Figure, Report, Round},
};
use crate::{Error, Outgoing, Result};

/// Messages of one bulk publish.
const BULK: usize = 10_000;
/// How long connections may take to be gone, which then have told what they counted.
const GONE_LIMIT: Duration = Duration::from_secs(20);

/// How [`wal`] measures.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// Rounds of ours and of the floor's.
    pub rounds: usize,
    /// Messages of a turn.
    pub messages: usize,
    /// Bytes of each message's body, at least 100.
    pub bytes: usize,
    /// How many the instance handles at once.
    pub workers: usize,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self { rounds: 3, messages: 50_000, bytes: 300, workers: 32 }
    }
}

/// Measures what publishing in bulk and handling write, for each message. The floor: COPY into a copy of the tables without
/// triggers, then claims and settles of 256.
///
/// # Errors
/// When the database fails.
pub async fn wal(url: &str, options: &WalOptions) -> Result<Report> {
    Arena::with(url, async |arena| measure(arena, options).await).await
}

async fn measure(arena: &Arena, options: &WalOptions) -> Result<Vec<Figure>> {
    let balls: Vec<Ball> = (0..options.messages as u64).map(|n| Ball::sized(n, options.bytes)).collect();
    let (mut bytes, mut commits) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        arena.settle_down().await?;
        let before = written(arena).await?;
        let publisher = arena.foreign_publisher(1).await?;
        for bulk in balls.chunks(BULK) {
            publisher.publish_many(bulk).await?;
        }
        drop(publisher);
        drain::all(arena, &Shape::PLAIN, options.workers, options.messages).await?;
        let own = written(arena).await?.since(before);
        arena.settle_down().await?;
        let before = written(arena).await?;
        let c = arena.floor.connect(false).await?;
        for bulk in balls.chunks(BULK) {
            let out = bulk.iter().map(Outgoing::new).collect::<Result<Vec<_>>>()?;
            arena.floor.copy(&c, &out).await?;
        }
        drop(c);
        drain::floor(arena, &Shape::PLAIN, options.messages).await?;
        let floor = written(arena).await?.since(before);
        let per_message = |count: i64| Amount::cost(count as f64 / options.messages as f64);
        bytes.push(Round::new(per_message(own.bytes), per_message(floor.bytes)));
        commits.push(Round::new(per_message(own.commits), per_message(floor.commits)));
        arena.empty().await?;
    }
    Ok(vec![Figure::new("wal_bytes_per_message", bytes), Figure::new("commits_per_message", commits)])
}

#[derive(Clone, Copy)]
struct Written {
    bytes: i64,
    commits: i64,
}

impl Written {
    fn since(self, before: Self) -> Self {
        Self { bytes: self.bytes - before.bytes, commits: self.commits - before.commits }
    }
}

/// What the server has written and this database committed so far. A connection tells what it counted when it is gone.
async fn written(arena: &Arena) -> Result<Written> {
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgflow%' \
                  AND pid <> pg_backend_pid()";
    let begun = Instant::now();
    while arena.count(others).await? > 0 {
        if begun.elapsed() > GONE_LIMIT {
            return Err(Error::state("bench wal", "other pgflow connections are at work in this database"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(Written {
        bytes: arena.count("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").await?,
        commits: arena.count("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()").await?,
    })
}
