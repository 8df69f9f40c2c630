//! The command `evolution`.

mod bench;
mod cli;
mod demo;
mod trace;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, run};

fn main() -> ExitCode {
    demo::leash::heed();
    let cli = Cli::parse();
    if !cli.shows_progress() {
        cli.start_log();
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            return failed(&format!("start the threads: {error}"));
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&format!("{error:#}")),
    }
}

/// Says why; a closed stderr is no reason to panic.
fn failed(why: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "evolution: {why}");
    ExitCode::FAILURE
}
