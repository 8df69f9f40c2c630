//! Whether an instance that runs for hours keeps more and more: memory, handles, rows, locks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::{
    arena::{Arena, Ball, STOP},
    idle::{proc_file, rss_mib},
    report::{Amount, Figure, Report, Round},
};
use crate::{AnyHandler, Context, Error, Failure, Outgoing, Publisher, Result};

/// Between two batches.
const BATCH_EVERY: Duration = Duration::from_millis(50);
/// One message of so many fails at its first try, three have one of [`KEYS`] keys, one is delayed by [`DELAY`].
const MIX: u64 = 20;
const KEYS: u64 = 50;
const DELAY: Duration = Duration::from_millis(500);

/// How [`soak`] measures.
#[derive(Clone, Debug)]
pub struct SoakOptions {
    /// How long.
    pub time: Duration,
    /// Parts of the time, at least 2; the first, in which caches fill, is the others' floor.
    pub rounds: u32,
    /// Messages a second, at least 1.
    pub rate_per_s: u32,
    /// How many the instance handles at once.
    pub workers: usize,
}

impl Default for SoakOptions {
    fn default() -> Self {
        Self { time: Duration::from_secs(3_600), rounds: 60, rate_per_s: 2_000, workers: 32 }
    }
}

/// Watches an instance, and a publisher in the same process, under a steady mix of messages: plain, keyed, delayed, failing once.
///
/// A round is what a part of the time ends with, beside the end of the first part: nothing of it may grow.
/// `soak_handled_per_s`, `soak_left_messages` (published and not handled), `soak_rss_mib`, `soak_handles` (open files), `soak_threads`,
/// `soak_connections`, `soak_locks`, `soak_tables_mib` (all but history, audit trail and letters, with indexes),
/// `soak_dead_rows` (of the same), `soak_history_bytes_per_message`.
///
/// # Errors
/// Numbers of rounds or messages that are too small; where there is no `/proc` (the measurement needs Linux); when the database fails.
pub async fn soak(url: &str, options: &SoakOptions) -> Result<Report> {
    if options.rate_per_s == 0 || options.rounds < 2 {
        return Err(Error::input("bench soak", "the rate must be at least 1, the rounds at least 2"));
    }
    Arena::with(url, async |arena| measure(arena, options).await).await
}

async fn measure(arena: &Arena, options: &SoakOptions) -> Result<Vec<Figure>> {
    let handled = Arc::new(AtomicI64::new(0));
    let build = {
        let handled = handled.clone();
        move || Moody { handled: handled.clone() }
    };
    let instance = arena.serve(options.workers, build).await?;
    let publisher = arena.foreign_publisher(1).await?;
    let published = AtomicI64::new(0);
    let parts = async {
        let begun = Instant::now();
        let mut parts = Vec::new();
        let (mut seen, mut before) = (begun, 0);
        for part in 1..=options.rounds {
            sleep_until(begun + options.time * part / options.rounds).await;
            let now = Instant::now();
            let all = handled.load(Ordering::Relaxed);
            let per_s = (all - before) as f64 / (now - seen).as_secs_f64();
            (seen, before) = (now, all);
            parts.push(Part { per_s, left: published.load(Ordering::Relaxed) - all, ..part_of(arena, all).await? });
        }
        Ok(parts)
    };
    let parts = tokio::select! {
        parts = parts => parts?,
        broken = publish(&publisher, options.rate_per_s, &published) => return Err(broken),
    };
    instance.stop(STOP).await?;
    let figure = |name: &str, of: &dyn Fn(&Part) -> Amount| {
        let rounds = parts.iter().map(|part| Round::new(of(part), of(&parts[0]))).collect();
        Figure::new(name, rounds)
    };
    Ok(vec![
        figure("soak_handled_per_s", &|p| Amount::Rate { per_s: p.per_s.round() as i64 }),
        figure("soak_left_messages", &|p| Amount::cost(p.left as f64)),
        figure("soak_rss_mib", &|p| Amount::cost(p.rss_mib)),
        figure("soak_handles", &|p| Amount::cost(p.handles)),
        figure("soak_threads", &|p| Amount::cost(p.threads)),
        figure("soak_connections", &|p| Amount::cost(p.connections)),
        figure("soak_locks", &|p| Amount::cost(p.locks)),
        figure("soak_tables_mib", &|p| Amount::cost(p.tables_mib)),
        figure("soak_dead_rows", &|p| Amount::cost(p.dead_rows)),
        figure("soak_history_bytes_per_message", &|p| Amount::cost(p.history_bytes_per_message)),
    ])
}

/// What a part of the time ended with.
#[derive(Default)]
struct Part {
    per_s: f64,
    left: i64,
    rss_mib: f64,
    handles: f64,
    threads: f64,
    connections: f64,
    locks: f64,
    tables_mib: f64,
    dead_rows: f64,
    history_bytes_per_message: f64,
}

/// All but the rate and what is left.
async fn part_of(arena: &Arena, handled: i64) -> Result<Part> {
    const BYTES: &str = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
        WHERE relnamespace = to_regnamespace('{schema}') AND relkind = 'r' AND";
    let kept = "relname ~ '^pgflow_(history|attempts|dlq)'";
    let entries =
        std::fs::read_dir("/proc/self/fd").map_err(|e| Error::io("bench soak needs Linux: /proc/self/fd", e))?;
    let threads = proc_file("/proc/self/status")?;
    let threads = threads.lines().find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok());
    let count = async |sql: &str| Ok::<_, Error>(arena.count(sql).await? as f64);
    let connections =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'";
    let locks = "SELECT count(*) FROM pg_locks WHERE pid <> pg_backend_pid()
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let dead_rows = "SELECT coalesce(sum(n_dead_tup), 0)::bigint FROM pg_stat_user_tables
        WHERE relid IN (SELECT oid FROM pg_class WHERE relnamespace = to_regnamespace('{schema}')) AND relname !~ '^pgflow_(history|attempts|dlq)'";
    Ok(Part {
        rss_mib: rss_mib()?,
        handles: entries.count() as f64,
        threads: threads.unwrap_or_default(),
        connections: count(connections).await?,
        locks: count(locks).await?,
        tables_mib: count(&format!("{BYTES} NOT {kept}")).await? / f64::from(1 << 20),
        dead_rows: count(dead_rows).await?,
        history_bytes_per_message: count(&format!("{BYTES} {kept}")).await? / handled.max(1) as f64,
        ..Part::default()
    })
}

/// Publishes for ever; ends only by an error.
async fn publish(publisher: &Publisher, rate_per_s: u32, published: &AtomicI64) -> Error {
    let rounds = async {
        let mut every = interval(BATCH_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (begun, mut sent) = (Instant::now(), 0_u64);
        loop {
            every.tick().await;
            let due = (begun.elapsed().as_secs_f64() * f64::from(rate_per_s)) as u64;
            let batch: Vec<Outgoing> = (sent..due).map(message).collect::<Result<_>>()?;
            if !batch.is_empty() {
                publisher.send_many(batch).await?;
            }
            sent = due.max(sent);
            published.store(i64::try_from(sent).unwrap_or(i64::MAX), Ordering::Relaxed);
        }
    };
    match rounds.await {
        Ok(never) => never,
        Err(broken) => broken,
    }
}

fn message(n: u64) -> Result<Outgoing> {
    let out = Outgoing::new(&Ball::new(n))?;
    Ok(match n % MIX {
        1..=3 => out.ordering_key(format!("key {}", n % KEYS)),
        4 => out.delay(DELAY),
        _ => out,
    })
}

/// Fails with one message of the mix, once.
struct Moody {
    handled: Arc<AtomicI64>,
}

impl AnyHandler for Moody {
    async fn handle(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        let ball: Ball = serde_json::from_slice(&cx.incoming().body)?;
        if ball.n.is_multiple_of(MIX) && cx.attempt() == 1 {
            return Err(Failure::retry("as the mix wants it"));
        }
        self.handled.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
