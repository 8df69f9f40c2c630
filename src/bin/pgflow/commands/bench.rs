//! `pgflow bench`: figures beside their floors.

use pgflow::{
    bench::{self, Report},
    devpg::{DevPg, StopMode},
};

use crate::{
    args::{Bench, Global},
    database,
    fault::Fault,
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
        () = signals.next() => Err(Fault::failed("interrupted")),
    };
    if let Some(server) = own {
        let stopped = tokio::task::spawn_blocking(|| server.stop(StopMode::Immediate)).await;
        stopped.map_err(|e| Fault::failed(format!("stop Postgres: {e}")))??;
    }
    show(&report?, out)
}

async fn measure(url: &str, bench: Bench) -> pgflow::Result<Report> {
    match bench {
        Bench::Latency { messages } => bench::latency(url, messages as usize).await,
        Bench::Throughput { messages, workers } => bench::throughput(url, messages as usize, workers.into()).await,
        Bench::Publish { connections, round } => bench::publish(url, connections.into(), round).await,
    }
}

fn show(report: &Report, out: Output) -> Result<(), Fault> {
    if out.json {
        return output::json_line(report);
    }
    let Report { bench, server, build, setting, floor, durable, .. } = report;
    let durable = if *durable { "durable" } else { "NOT durable" };
    output::text(&format!("{bench}: {setting}; PostgreSQL {server}, {durable}, {build} build\nfloor: {floor}\n"))?;
    out.list(&report.figures, &["name", "value", "floor", "unit", "ratio"])
}
