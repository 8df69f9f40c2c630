//! One file a command, or a family of them. Each asks the library and shows the answer.

mod bench;
mod dev;
mod dlq;
mod doctor;
mod init;
mod look;
mod publish;
mod queue;
mod serve;
mod spool;
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
    let ended = match command {
        Command::Dev(dev) => dev::run(&global, dev, out).await,
        Command::Init { dry_run } => init::run(&global, dry_run, out).await,
        Command::Mode { mode } => look::mode(&global, mode.as_deref(), out).await,
        Command::Queues => queue::list(&global, out).await,
        Command::Stats { queue } => queue::stats(&global, &queue, out).await,
        Command::Pending { queue, limit } => queue::pending(&global, &queue, limit.limit, out).await,
        Command::Dlq(dlq) => dlq::run(&global, dlq, out).await,
        Command::Queue(change) => queue::change(&global, change, out).await,
        Command::Publish(publish) => publish::run(&global, publish, out).await,
        Command::Spool { dir, command } => spool::run(&global, &dir, command, out).await,
        Command::Work(work) => work::run(&global, work, out).await,
        Command::Trace { id } => look::trace(&global, &id, out).await,
        Command::Explain { id } => look::explain(&global, &id, out).await,
        Command::Cancel { id } => look::cancel(&global, &id, out).await,
        Command::Doctor => doctor::run(&global, out).await,
        Command::Top => queue::top(&global, out).await,
        Command::Tree => look::tree(&global, out).await,
        Command::Serve { listen } => serve::run(&global, listen, out).await,
        Command::Bench(bench) => bench::run(&global, bench, out).await,
    };
    ended.map_err(|fault| fault.in_schema(&global.schema))
}
