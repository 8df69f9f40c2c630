//! pgflow and its rivals side by side: `make compare`, or see `--help`.
//!
//! Each round takes every system in turn through every measure (A B C … A B C …), each turn in a database made anew, so that what
//! one leaves behind meets no other. Figures are medians of the rounds. `peers` has one file for each system.

mod arena;
mod local;
mod machine;
mod measure;
mod options;
mod peer;
mod peers;
mod pool;
mod report;
mod results;
mod seen;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;

use crate::{
    arena::Arena,
    machine::Machine,
    measure::{Turn, Variant},
    options::Options,
    peer::Peer,
    results::{Incident, Results, Value},
};

/// A turn that takes longer has hung; its system is left out from then on.
const HUNG: Duration = Duration::from_secs(300);

#[tokio::main]
async fn main() -> ExitCode {
    match compare(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("compare: {e:#}");
            ExitCode::FAILURE
        }
    }
}

async fn compare(options: Options) -> Result<()> {
    let mut peers = peers::all();
    if !options.only.is_empty() {
        peers.retain(|peer| options.only.iter().any(|part| peer.about().name.contains(part.as_str())));
    }
    if peers.is_empty() {
        bail!("no system's name contains one of {:?}", options.only);
    }
    let mut arena = Arena::open(options.database_url.clone()).await?;
    let machine = Machine::ask(&arena.admin).await?;
    let measured = tokio::select! {
        results = rounds(&mut arena, &mut peers, &options, &machine) => results,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("wait for an interrupt").and_then(|()| bail!("interrupted in the midst of a round"))
        }
    };
    for peer in &mut peers {
        if let Err(e) = peer.end().await {
            eprintln!("{}: {e:#}", peer.about().name);
        }
    }
    let closed = arena.close(&peers).await;
    // First what took so long.
    let results = measured?;
    report::print(&results, &machine, &options)?;
    closed
}

/// After each round all that is known is written, so that a run that is cut short leaves the rounds before.
async fn rounds(
    arena: &mut Arena,
    peers: &mut [Box<dyn Peer>],
    options: &Options,
    machine: &Machine,
) -> Result<Results> {
    let begun = Instant::now();
    let mut results =
        Results { systems: peers.iter().map(|peer| peer.about().clone()).collect(), ..Results::default() };
    let mut hung = Vec::new();
    let variants: Vec<Variant> = options.measures.iter().flat_map(|kind| measure::turns(*kind, options)).collect();
    for round in 1..=options.rounds {
        for variant in &variants {
            for peer in peers.iter_mut() {
                if hung.contains(&peer.about().name) {
                    continue;
                }
                let quiet_s = Duration::try_from_secs_f64(options.quiet_s).unwrap_or_default();
                results.turns += 1;
                results.busy_turns += usize::from(!machine::quiet(quiet_s).await);
                match arena.commit_us().await {
                    Ok(commit_us) => results.commit_us.push(commit_us),
                    Err(e) => eprintln!("before the turn of {}: {e:#}", peer.about().name),
                }
                let turn = measure::take(arena, peer.as_mut(), *variant, options);
                let turn = match tokio::time::timeout(HUNG, turn).await {
                    Ok(turn) => turn,
                    Err(e) => {
                        hung.push(peer.about().name);
                        Err(e).context("the turn hung; this system is left out from here on")
                    }
                };
                if turn.is_err() {
                    // Whatever it left running must not take part in the turns of others.
                    let _ = tokio::time::timeout(HUNG, peer.stop()).await;
                }
                if let Err(e) = arena.done(peer.as_ref()).await {
                    eprintln!("after the turn of {}: {e:#}", peer.about().name);
                }
                note(&mut results, round, peer.about().name, *variant, turn);
            }
        }
        results.rounds = round;
        results.seconds = begun.elapsed().as_secs_f64();
        report::write(&results, machine, options)?;
    }
    Ok(results)
}

fn note(results: &mut Results, round: u16, system: &'static str, variant: Variant, turn: Result<Turn>) {
    match turn {
        Ok(turn) => {
            for (measure, value) in turn.values {
                eprintln!("round {round} {system}: {} {}", measure.title(), measure.words(value));
                results.values.push(Value { round, system, measure, value });
            }
            for what in turn.remarks {
                eprintln!("round {round} {system}: {what}");
                results.incidents.push(Incident { round, system, what, failed: false });
            }
        }
        Err(e) => {
            let what = format!("{variant:?}: {e:#}");
            eprintln!("round {round} {system} FAILED: {what}");
            results.incidents.push(Incident { round, system, what, failed: true });
        }
    }
}

/// Milliseconds.
async fn wait(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
