//! One file a command, or a family of them. Each asks the library and shows the answer.

mod bench;
mod dev;
mod init;
mod publish;
mod work;

use crate::{
    args::{Cli, Command},
    fault::Fault,
    output::Output,
};

/// Runs the command to its end.
pub(crate) async fn run(cli: Cli) -> Result<(), Fault> {
    let Cli { global, command } = cli;
    let out = Output { json: global.json };
    match command {
        Command::Dev(dev) => dev::run(&global, dev, out).await,
        Command::Bench(bench) => bench::run(&global, bench, out).await,
        Command::Init { dry_run } => init::run(&global, dry_run, out).await,
        Command::Publish(publish) => publish::run(&global, publish, out).await,
        Command::Work(work) => work::run(&global, work).await,
        _ => Err(Fault::failed("not built yet")),
    }
}
