//! What an instance costs that has nothing to do.

use std::time::Duration;

use tokio::time::{Instant, interval, sleep, sleep_until};

use super::{
    arena::{self, Arena, QUEUE, SCHEMA, STOP, failed},
    drain::{self, Shape},
    report::{Amount, Figure, Report, Round, median},
};
use crate::{Admin, AnyHandler, Context, Error, Failure, Result, connect};

/// A backend that falls idle reports what it has counted within 10 s: the start's statements are not ours.
const COUNTED_AFTER: Duration = Duration::from_secs(12);
/// One heartbeat at the least has seen what waits.
const SEEN_AFTER: Duration = Duration::from_secs(2);
/// Ticks of a second in `/proc/self/stat`: 100 on every architecture that Linux shows to programs.
const TICKS_PER_S: f64 = 100.0;

/// Parts of the time in which statements are counted apart.
const WINDOWS: u32 = 5;

/// How [`idle`] measures.
#[derive(Clone, Debug)]
pub struct IdleOptions {
    /// Rounds of ours and of the floor's.
    pub rounds: usize,
    /// Queues that the instance serves.
    pub queues: usize,
    /// Workers of each.
    pub workers: usize,
    /// How long it is watched.
    pub time: Duration,
    /// Messages that wait in a paused queue when memory is looked at again.
    pub pending: usize,
}

impl Default for IdleOptions {
    fn default() -> Self {
        Self { rounds: 1, queues: 50, workers: 4, time: Duration::from_secs(60), pending: 1_000_000 }
    }
}

/// Measures statements, processor time and memory of an instance without messages.
///
/// The floor: one bare connection that runs one statement as often as the instance's heartbeat, and the process before the
/// instance started. `rss_pending_mib`: with many messages waiting that it may not take; the floor is the same without them.
///
/// # Errors
/// Where there is no `/proc` (the measurement needs Linux); when the database fails.
pub async fn idle(url: &str, options: &IdleOptions) -> Result<Report> {
    Arena::with(url, async |arena| measure(url, arena, options).await).await
}

async fn measure(url: &str, arena: &Arena, options: &IdleOptions) -> Result<Vec<Figure>> {
    let (mut statements, mut cpu, mut rss, mut rss_pending) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let bare = watch(arena, options.time, heartbeat(url, arena)).await?;
        let before = rss_mib()?;
        let runtime = arena::serve(arena.config.clone(), options.queues, options.workers, || Nobody).await?;
        sleep(COUNTED_AFTER).await;
        let own = watch(arena, options.time, std::future::pending()).await?;
        let loaded = rss_mib()?;
        let admin = Admin::connect(&arena.config).await?;
        admin.pause_queue(QUEUE).await?;
        drain::fill(arena, &Shape::PLAIN, options.pending).await?;
        sleep(SEEN_AFTER).await;
        rss_pending.push(Round::new(Amount::cost(rss_mib()?), Amount::cost(loaded)));
        runtime.stop(STOP).await?;
        admin.resume_queue(QUEUE).await?;
        arena.empty().await?;
        statements.push(Round::new(Amount::cost(own.statements_per_s), Amount::cost(bare.statements_per_s)));
        cpu.push(Round::new(Amount::cost(own.cpu_percent), Amount::cost(bare.cpu_percent)));
        rss.push(Round::new(Amount::cost(loaded), Amount::cost(before)));
    }
    Ok(vec![
        Figure::new("idle_statements_per_s", statements),
        Figure::new("idle_cpu_percent", cpu),
        Figure::new("rss_mib", rss),
        Figure::new("rss_pending_mib", rss_pending),
    ])
}

/// What was used meanwhile.
struct Used {
    statements_per_s: f64,
    cpu_percent: f64,
}

/// Watches for so long, with `beside` at work (which ends only by an error). Statements are the median of [`WINDOWS`]: once a minute the
/// server's autovacuum has a few dozen transactions of its own.
async fn watch(arena: &Arena, time: Duration, beside: impl Future<Output = Error>) -> Result<Used> {
    // What the arena's own connection did before is told at once; from here on it does no more than look.
    arena.run("SELECT pg_stat_force_next_flush()").await?;
    let commits = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()";
    let (begun, ticks) = (Instant::now(), cpu_ticks()?);
    let windows = async {
        let mut per_s = Vec::new();
        let (mut seen, mut before) = (begun, arena.count(commits).await?);
        for window in 1..=WINDOWS {
            sleep_until(begun + time * window / WINDOWS).await;
            let (now, after) = (Instant::now(), arena.count(commits).await?);
            per_s.push((after - before) as f64 / (now - seen).as_secs_f64());
            (seen, before) = (now, after);
        }
        Ok(median(per_s))
    };
    let statements_per_s = tokio::select! {
        per_s = windows => per_s?,
        broken = beside => return Err(broken),
    };
    let spent = cpu_ticks()? - ticks;
    Ok(Used { statements_per_s, cpu_percent: 100.0 * spent / TICKS_PER_S / begun.elapsed().as_secs_f64() })
}

/// One statement for each heartbeat of an instance.
async fn heartbeat(url: &str, arena: &Arena) -> Error {
    let beats = async {
        let client = connect(url, "pgflow bench floor").await?;
        // One that reads a table: of others the server keeps no count until the connection ends.
        let statement = client.prepare(&format!("SELECT mode FROM \"{SCHEMA}\".pgflow_meta")).await.map_err(failed)?;
        let mut beat = interval(Duration::from_millis(arena.config.heartbeat_ms));
        loop {
            beat.tick().await;
            client.query_one(&statement, &[]).await.map_err(failed)?;
        }
    };
    match beats.await {
        Ok(never) => never,
        Err(broken) => broken,
    }
}

/// Never called.
struct Nobody;

impl AnyHandler for Nobody {
    async fn handle(&mut self, _: &mut Context<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

/// Processor time of this process so far.
fn cpu_ticks() -> Result<f64> {
    let stat = proc_file("/proc/self/stat")?;
    // The name in parentheses may hold anything; user and system time are the 12th and 13th field behind it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    Ok(fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum())
}

/// Memory of this process now.
pub(super) fn rss_mib() -> Result<f64> {
    let status = proc_file("/proc/self/status")?;
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.map(|kib| kib / 1024.0).ok_or_else(|| Error::state("bench", "/proc/self/status does not tell VmRSS"))
}

pub(super) fn proc_file(path: &str) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| Error::io(format!("this bench needs Linux: read {path}"), e))
}
