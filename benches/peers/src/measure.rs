//! One turn of one system in one measure: a new database, the work, its figures.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio_postgres::Client;

use crate::{
    arena::{self, Arena},
    options::{Kind, Options},
    peer::{Fill, Peer},
    results::{Measure, percentile},
    wait,
};

/// Between two looks at whether all is done.
const LOOK_MS: u64 = 5;
/// Bytes of a message whose log is measured, and the usual one's.
const WAL_BYTES: usize = 300;
const BYTES: usize = crate::local::BYTES;
/// How long a backlog for the log may take, which must be worked off.
const WAL_CAP: Duration = Duration::from_secs(60);

/// What a turn has measured, and what a reader should know of it.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) values: Vec<(Measure, f64)>,
    pub(crate) remarks: Vec<String>,
}

/// The turns of a kind: each is one database and one call of [`take`].
pub(crate) fn turns(kind: Kind, options: &Options) -> Vec<Variant> {
    match kind {
        Kind::Latency => options.gaps.iter().map(|gap_ms| Variant::Latency { gap_ms: *gap_ms }).collect(),
        Kind::Drain => vec![Variant::Drain],
        Kind::Enqueue => options.connections.iter().map(|number| Variant::Enqueue { connections: *number }).collect(),
        Kind::Wal => vec![Variant::Wal],
    }
}

/// A measure with its number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Variant {
    Latency { gap_ms: u64 },
    Drain,
    Enqueue { connections: u16 },
    Wal,
}

/// Takes a turn.
pub(crate) async fn take(arena: &mut Arena, peer: &mut dyn Peer, variant: Variant, options: &Options) -> Result<Turn> {
    let url = arena.fresh(peer).await?;
    match variant {
        Variant::Latency { gap_ms } => latency(peer, &url, gap_ms, options).await,
        Variant::Drain => drain(arena, peer, &url, options).await,
        Variant::Enqueue { connections } => enqueue(peer, &url, connections, options).await,
        Variant::Wal => wal(arena, peer, &url, options).await,
    }
}

async fn latency(peer: &mut dyn Peer, url: &str, gap_ms: u64, options: &Options) -> Result<Turn> {
    let mut samples = peer.latency(url, options.samples as usize, Duration::from_millis(gap_ms)).await?;
    samples.sort_unstable();
    let ms = |percent| percentile(&samples, percent) as f64 / 1_000.0;
    let values = vec![(Measure::LatencyP50 { gap_ms }, ms(50)), (Measure::LatencyP99 { gap_ms }, ms(99))];
    Ok(Turn { values, remarks: Vec::new() })
}

async fn enqueue(peer: &mut dyn Peer, url: &str, connections: u16, options: &Options) -> Result<Turn> {
    let time = Duration::try_from_secs_f64(options.enqueue_s).context("the length of an enqueue turn")?;
    let sent = peer.single(url, connections.into(), time).await?;
    let share = 100.0 * sent.handled as f64 / sent.messages.max(1) as f64;
    let values = vec![
        (Measure::Enqueue { connections }, sent.messages as f64 / sent.seconds.max(f64::MIN_POSITIVE)),
        (Measure::Meanwhile { connections }, share),
    ];
    Ok(Turn { values, remarks: Vec::new() })
}

async fn drain(arena: &Arena, peer: &mut dyn Peer, url: &str, options: &Options) -> Result<Turn> {
    let messages = options.messages as usize;
    let fill = Fill { messages, bytes: BYTES, batch: options.batch as usize, limit_s: options.cap_s };
    let sent = peer.fill(url, fill).await?;
    let mut turn = Turn::default();
    turn.values.push((Measure::Bulk, sent.messages as f64 / sent.seconds.max(f64::MIN_POSITIVE)));
    if sent.messages < messages {
        turn.remarks.push(format!("bulk cut after {} of {messages} messages", sent.messages));
    }
    let watch = arena::connect(url).await?;
    watch.batch_execute("VACUUM ANALYZE").await.context("vacuum the backlog")?;
    arena.checkpoint().await?;
    let cap = Duration::try_from_secs_f64(options.cap_s).context("the cap")?;
    let drained = work_off(peer, url, &watch, sent.messages, cap).await?;
    turn.values.push((Measure::Drain, drained.done as f64 / drained.seconds.max(f64::MIN_POSITIVE)));
    if drained.done < sent.messages {
        turn.remarks.push(format!("drain cut after {} of {} messages", drained.done, sent.messages));
    }
    if drained.repeated > 0 {
        turn.remarks.push(format!("{} handler calls were repetitions", drained.repeated));
    }
    Ok(turn)
}

async fn wal(arena: &Arena, peer: &mut dyn Peer, url: &str, options: &Options) -> Result<Turn> {
    let most = peer.about().wal_messages.unwrap_or(usize::MAX);
    let messages = most.min(options.wal_messages as usize);
    let before = arena.written(peer).await?;
    let fill = Fill { messages, bytes: WAL_BYTES, batch: options.batch as usize, limit_s: options.cap_s };
    let sent = peer.fill(url, fill).await?;
    let watch = arena::connect(url).await?;
    let drained = work_off(peer, url, &watch, sent.messages, WAL_CAP).await?;
    drop(watch);
    if drained.done < sent.messages {
        bail!("only {} of {} messages were worked off within {WAL_CAP:?}", drained.done, sent.messages);
    }
    let after = arena.written(peer).await?;
    let each = |count: i64| count as f64 / sent.messages.max(1) as f64;
    let mut turn = Turn::default();
    turn.values.push((Measure::WalBytes, each(after.wal_bytes - before.wal_bytes)));
    turn.values.push((Measure::Commits, each(after.commits - before.commits)));
    if sent.messages < options.wal_messages as usize {
        turn.remarks.push(format!("log of {} messages", sent.messages));
    }
    Ok(turn)
}

struct Drained {
    done: usize,
    seconds: f64,
    /// Calls of the handler beyond one for each message.
    repeated: usize,
}

/// From just before the worker starts until its handlers saw every message and the database says that none is unfinished.
async fn work_off(peer: &mut dyn Peer, url: &str, watch: &Client, messages: usize, cap: Duration) -> Result<Drained> {
    let begun = Instant::now();
    peer.start(url, messages).await?;
    let counted = count_down(peer, url, watch, messages, begun, cap).await;
    peer.stop().await?;
    counted
}

async fn count_down(
    peer: &mut dyn Peer,
    url: &str,
    watch: &Client,
    messages: usize,
    begun: Instant,
    cap: Duration,
) -> Result<Drained> {
    loop {
        let asked = begun.elapsed();
        let handled = peer.handled().await?;
        let over = asked >= cap;
        // Counting rows takes the server's time: not before all have been handled.
        if handled.messages >= messages || over {
            // What is unfinished now was so when it was asked, or before.
            let asked = begun.elapsed();
            let unfinished = unfinished(peer, url, watch).await?;
            if unfinished == 0 && handled.messages < messages {
                let lost = messages - handled.messages;
                bail!("the database says all is done, but handlers never saw {lost} of {messages} messages");
            }
            if unfinished == 0 || over {
                let done = messages.saturating_sub(unfinished);
                let repeated = handled.calls.saturating_sub(handled.messages);
                return Ok(Drained { done, seconds: asked.as_secs_f64(), repeated });
            }
        }
        wait(LOOK_MS).await;
    }
}

async fn unfinished(peer: &mut dyn Peer, url: &str, watch: &Client) -> Result<usize> {
    let count = match peer.about().unfinished {
        Some(sql) => watch.query_one(sql, &[]).await.context("count what is unfinished")?.get::<_, i64>(0),
        None => peer.unfinished(url).await.context("count what is unfinished")?,
    };
    usize::try_from(count).context("a negative number is unfinished")
}
