//! The command `evolution`.

mod demo;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The evolution system on pgflow.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the whole system on an embedded Postgres, and checks what became of everything.
    Demo(demo::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    demo::leash::heed();
    let Command::Demo(options) = Cli::parse().command;
    demo::run(options).await.unwrap_or_else(|e| {
        eprintln!("evolution: {e:#}");
        ExitCode::FAILURE
    })
}
