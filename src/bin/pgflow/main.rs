//! The command `pgflow`: makes a database ready, looks into it, publishes, and runs programs of any language on queues.
//!
//! Results go to stdout, logs and errors to stderr. Exit codes: 0 done, 1 failed, 2 the command line or a setting cannot
//! work. A library function is behind every command; this program adds words and columns.

mod args;
mod commands;
mod database;
mod exec;
mod fault;
mod output;
mod signals;

use std::process::ExitCode;

use clap::Parser as _;

use args::Cli;
use fault::Fault;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return fault::command_line(&error),
    };
    log_to_stderr(cli.command.log_level());
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fault.report(),
    }
}

fn run(cli: Cli) -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Fault::failed(format!("start: {e}")))?;
    let ended = runtime.block_on(commands::run(cli));
    // A read of stdin that nobody waits for any more would hold the end up.
    runtime.shutdown_background();
    ended
}

/// `PGFLOW_LOG`, else `RUST_LOG`, else what suits the command. A filter that cannot be read is said, not obeyed.
fn log_to_stderr(level: &str) {
    use tracing_subscriber::EnvFilter;
    let asked = ["PGFLOW_LOG", "RUST_LOG"].iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    let filter = asked.and_then(|text| match EnvFilter::try_new(&text) {
        Ok(filter) => Some(filter),
        Err(e) => {
            fault::line_to_stderr(&format!("log filter {text:?}: {e}"));
            None
        }
    });
    let filter = filter.unwrap_or_else(|| EnvFilter::new(format!("warn,pgflow={level}")));
    // A log that nobody reads any more: to say so there would be a panic.
    let log = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
    log.with_writer(std::io::stderr).with_ansi(colours()).init();
}

fn colours() -> bool {
    use std::io::IsTerminal as _;
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}
