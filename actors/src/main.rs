//! The command `evolution`.

mod bench;
mod cli;
mod demo;
mod trace;

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
            eprintln!("evolution: start the threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("evolution: {error:#}");
            ExitCode::FAILURE
        }
    }
}
