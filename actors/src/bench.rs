//! `evolution bench`: the documented targets, measured under proposals that are submitted all at once.

mod figures;
mod floor;
mod pool;
mod report;
mod round;
mod stage;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use pgflow::bench::Machine;
use pgflow_actors::settings::Workers;
use pgflow_actors::transport::Transport;
use serde::Serialize;

use crate::cli::output::out;
use crate::demo::stage::interrupted;
use pool::Pool;
use report::Report;
use stage::Stage;

/// The text of a statement, by its file's name.
macro_rules! sql {
    ($name:literal) => {
        include_str!(concat!("../../sql/queries/", $name, ".sql"))
    };
}
use sql;

/// Options of `evolution bench`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Options {
    /// How many proposals are submitted at once
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    proposals: u16,
    /// How many instances there are
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=20))]
    instances: u8,
    /// How often it is measured
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// How many connections the submitters share
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=100))]
    connections: u16,
}

/// Every sample of every round.
#[derive(Debug, Default)]
struct Samples {
    submit: Vec<Duration>,
    floor: Vec<Duration>,
    scoring: Vec<Duration>,
    broadcast: Vec<Duration>,
    broadcast_claimed: Vec<Duration>,
    execution: Vec<Duration>,
    guardian: Vec<Duration>,
    guardian_claimed: Vec<Duration>,
    whole: Vec<Duration>,
}

/// What the figures hold for.
#[derive(Debug, Serialize)]
struct Setting {
    proposals: u16,
    instances: u8,
    rounds: u16,
    connections: u16,
    known_safe: i32,
    central_workers: Workers,
    instance_workers: Workers,
}

/// Measures, on the database that is named or on one of its own, and prints; a missed target is no error.
pub(crate) async fn run(
    options: Options,
    named: Option<String>,
    workers: (Workers, Workers),
    json: bool,
) -> Result<()> {
    let mut stage = Stage::set(named, options.instances, workers).await?;
    let measured = tokio::select! {
        measured = measure(&mut stage, options, workers) => measured,
        stopped = interrupted() => stopped.and_then(|()| bail!("interrupted; every process of the bench was stopped")),
    };
    let ended = stage.end().await;
    let report = measured?;
    ended?;
    if json { out(report.json()) } else { out(report.text().trim_end()) }
}

async fn measure(stage: &mut Stage, options: Options, workers: (Workers, Workers)) -> Result<Report> {
    let transport = Transport::connect(&crate::cli::config(&stage.url).instance("evolution bench")).await?;
    let mut clients = Vec::new();
    for _ in 0..options.connections {
        clients.push(pgflow::connect(&stage.url, "evolution bench").await?);
    }
    let (pool, bare) = (Arc::new(Pool::of(clients)), Arc::new(floor::pool(&stage.url, options.connections).await?));
    let mut samples = Samples::default();
    // Round 0 is the warm-up.
    for number in 0..=options.rounds {
        let changes = round::changes(number, options.proposals);
        samples.floor.extend(floor::round(&bare, changes.clone()).await?);
        round::play(stage, (&transport, &pool), changes, &mut samples).await?;
        if number == 0 {
            samples = Samples::default();
        }
    }
    let setting = Setting {
        proposals: options.proposals,
        instances: options.instances,
        rounds: options.rounds,
        connections: options.connections,
        known_safe: stage::KNOWN_SAFE,
        central_workers: workers.0,
        instance_workers: workers.1,
    };
    Ok(Report::new(Machine::ask(&stage.client).await?, setting, samples))
}
