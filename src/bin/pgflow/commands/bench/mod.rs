//! `pgflow bench`: figures beside their floors.

mod plot;

use std::path::Path;

use pgflow::{
    bench::{
        self, Amount, DepthOptions, Figure, HerdOptions, IdleOptions, LatencyOptions, Machine, PinnedOptions,
        PriorityOptions, PublishOptions, Report, SoakOptions, ThroughputOptions, WalOptions,
    },
    devpg::{DevPg, StopMode},
};

use serde_json::{Value, json};

use crate::{
    args::{Bench, Global, Measure},
    database,
    fault::{self, Fault},
    output::{self, Output},
    signals::Signals,
};

/// Measures on the database that was named, else on one of its own.
pub(crate) async fn run(global: &Global, bench: Bench, out: Output) -> Result<(), Fault> {
    let mut signals = Signals::catch()?;
    if let Some(file) = &bench.plot {
        // Not after an hour of measuring.
        std::fs::OpenOptions::new().create(true).append(true).open(file).map_err(|e| not_written(file, &e))?;
    }
    let own = match database::given_url(global) {
        Some(_) => None,
        None => Some(
            tokio::task::spawn_blocking(|| DevPg::builder().setting("max_connections", "1100").start())
                .await
                .map_err(|e| Fault::failed(format!("start Postgres: {e}")))??,
        ),
    };
    let url = own.as_ref().map_or_else(|| database::url(global), |server| Ok(server.url()))?;
    let report = tokio::select! {
        report = measure(&url, bench.measure) => report.map_err(Fault::from),
        () = signals.next() => {
            // Dropped, the measurement left its tables behind.
            if own.is_none() {
                bench::clear(&url).await?;
            }
            Err(Fault::failed("interrupted"))
        }
    };
    if let Some(server) = own {
        let stopped = tokio::task::spawn_blocking(|| server.stop(StopMode::Immediate)).await;
        stopped.map_err(|e| Fault::failed(format!("stop Postgres: {e}")))??;
    }
    show(&report?, bench.plot.as_deref(), out)
}

async fn measure(url: &str, what: Measure) -> pgflow::Result<Report> {
    match what {
        Measure::Latency { messages, gaps, rate: rate_per_s, publishers, rounds } => {
            let (rounds, samples, publishers) = (rounds.into(), messages as usize, publishers.into());
            bench::latency(url, &LatencyOptions { rounds, samples, gaps, rate_per_s, publishers }).await
        }
        Measure::Throughput { messages, runtimes, queues, bytes, workers, rounds } => {
            let (rounds, messages, workers) = (rounds.into(), messages as usize, workers.into());
            let runtimes = runtimes.into_iter().map(usize::from).collect();
            let queues = queues.into_iter().map(usize::from).collect();
            let bytes = bytes.into_iter().map(|bytes| bytes as usize).collect();
            bench::throughput(url, &ThroughputOptions { rounds, messages, workers, runtimes, queues, bytes }).await
        }
        Measure::Publish { connections, turn, rounds } => {
            bench::publish(url, &PublishOptions { rounds: rounds.into(), connections: connections.into(), turn }).await
        }
        Measure::Priority { messages, pending, publishers, handling, rounds } => {
            let (samples, pending) = (messages as usize, pending as usize);
            let options =
                PriorityOptions { rounds: rounds.into(), samples, pending, publishers: publishers.into(), handling };
            bench::priority(url, &options).await
        }
        Measure::Depth { depths, messages, workers, rounds } => {
            let depths = depths.into_iter().map(|depth| depth as usize).collect();
            let (rounds, messages, workers) = (rounds.into(), messages as usize, workers.into());
            bench::depth(url, &DepthOptions { rounds, depths, messages, workers }).await
        }
        Measure::Pinned { churn, messages, workers, rounds } => {
            let (churn, messages) = (churn as usize, messages as usize);
            let options = PinnedOptions { rounds: rounds.into(), churn, messages, workers: workers.into() };
            bench::pinned(url, &options).await
        }
        Measure::Idle { queues, workers, time, pending, rounds } => {
            let (queues, workers, pending) = (queues.into(), workers.into(), pending as usize);
            bench::idle(url, &IdleOptions { rounds: rounds.into(), queues, workers, time, pending }).await
        }
        Measure::Herd { instances, messages, gap, rounds } => {
            let (rounds, instances, messages) = (rounds.into(), instances.into(), messages as usize);
            bench::herd(url, &HerdOptions { rounds, instances, messages, gap }).await
        }
        Measure::Soak { time, rate: rate_per_s, workers, rounds } => {
            bench::soak(url, &SoakOptions { time, rounds, rate_per_s, workers: workers.into() }).await
        }
        Measure::Wal { messages, bytes, workers, rounds } => {
            let (messages, bytes) = (messages as usize, bytes as usize);
            bench::wal(url, &WalOptions { rounds: rounds.into(), messages, bytes, workers: workers.into() }).await
        }
    }
}

/// The machine first: on stderr where stdout is JSON.
fn show(report: &Report, plot: Option<&Path>, out: Output) -> Result<(), Fault> {
    let Machine { server, fsync, synchronous_commit, shared_buffers, cores, build, .. } = &report.machine;
    let machine = format!(
        "PostgreSQL {server}, fsync {fsync}, synchronous_commit {synchronous_commit}, shared_buffers {shared_buffers}, \
         {cores} cores, {build} build; each figure is the median of its rounds"
    );
    let drawn = plot.map_or(Ok(()), |file| {
        std::fs::write(file, plot::svg(&report.figures, &machine)).map_err(|e| not_written(file, &e))
    });
    // Whatever became of the picture.
    let printed = print(&report.figures, &machine, out);
    drawn.and(printed)
}

fn print(figures: &[Figure], machine: &str, out: Output) -> Result<(), Fault> {
    if out.json {
        fault::line_to_stderr(machine);
        return output::json_line(figures);
    }
    output::text(&format!("{machine}\n"))?;
    // Figures of one unit make a table.
    for figures in figures.chunk_by(|a, b| columns(a) == columns(b)) {
        let rows: Vec<Value> = figures.iter().map(row).collect();
        out.list(&rows, columns(&figures[0]))?;
    }
    Ok(())
}

fn not_written(file: &Path, error: &std::io::Error) -> Fault {
    Fault::failed(format!("write {}: {error}", file.display()))
}

fn columns(figure: &Figure) -> &'static [&'static str] {
    match figure.pgflow {
        Amount::Time { .. } => &["name", "p50_us", "floor_p50_us", "ratio", "p99_us", "floor_p99_us", "p99_ratio"],
        Amount::Cost { .. } => &["name", "amount", "floor_amount", "ratio"],
        _ => &["name", "per_s", "floor_per_s", "ratio"],
    }
}

/// A figure on one line.
fn row(figure: &Figure) -> Value {
    let mut row = json!({"name": figure.name, "ratio": figure.ratio});
    for (prefix, amount) in [("", figure.pgflow), ("floor_", figure.floor)] {
        match amount {
            Amount::Time { p50_us, p99_us } => {
                row[format!("{prefix}p50_us")] = p50_us.into();
                row[format!("{prefix}p99_us")] = p99_us.into();
            }
            Amount::Rate { per_s } => row[format!("{prefix}per_s")] = per_s.into(),
            Amount::Cost { amount } => row[format!("{prefix}amount")] = amount.into(),
            _ => {}
        }
    }
    if let Some(ratio) = figure.p99_ratio() {
        row["p99_ratio"] = ratio.into();
    }
    row
}
