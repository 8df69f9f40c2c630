//! `pgflow bench`: figures beside their floors.

use pgflow::{
    bench::{self, Amount, Figure, LatencyOptions, Machine, PublishOptions, Report, ThroughputOptions},
    devpg::{DevPg, StopMode},
};

use serde_json::{Value, json};

use crate::{
    args::{Bench, Global},
    database,
    fault::{self, Fault},
    output::{self, Output},
    signals::Signals,
};

/// Measures on the database that was named, else on one of its own.
pub(crate) async fn run(global: &Global, bench: Bench, out: Output) -> Result<(), Fault> {
    let mut signals = Signals::catch()?;
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
        report = measure(&url, bench) => report.map_err(Fault::from),
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
    show(&report?, out)
}

async fn measure(url: &str, bench: Bench) -> pgflow::Result<Report> {
    match bench {
        Bench::Latency { messages, gaps, rounds } => {
            bench::latency(url, &LatencyOptions { rounds: rounds.into(), samples: messages as usize, gaps }).await
        }
        Bench::Throughput { messages, workers, rounds } => {
            let options =
                ThroughputOptions { rounds: rounds.into(), messages: messages as usize, workers: workers.into() };
            bench::throughput(url, &options).await
        }
        Bench::Publish { connections, turn, rounds } => {
            bench::publish(url, &PublishOptions { rounds: rounds.into(), connections: connections.into(), turn }).await
        }
    }
}

/// The machine first: on stderr where stdout is JSON.
fn show(report: &Report, out: Output) -> Result<(), Fault> {
    let Machine { server, fsync, synchronous_commit, shared_buffers, cores, build, .. } = &report.machine;
    let machine = format!(
        "PostgreSQL {server}, fsync {fsync}, synchronous_commit {synchronous_commit}, shared_buffers {shared_buffers}, \
         {cores} cores, {build} build; each figure is the median of its rounds"
    );
    if out.json {
        fault::line_to_stderr(&machine);
        return output::json_line(&report.figures);
    }
    output::text(&format!("{machine}\n"))?;
    let rows: Vec<Value> = report.figures.iter().map(row).collect();
    let columns = match report.figures.first().map(|f| f.pgflow) {
        Some(Amount::Time { .. }) => &["name", "p50_us", "floor_p50_us", "ratio", "p99_us", "floor_p99_us"][..],
        _ => &["name", "per_s", "floor_per_s", "ratio"],
    };
    out.list(&rows, columns)
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
            _ => {}
        }
    }
    row
}
