//! A command of any language as a handler: payload on stdin, verdict by exit code, stderr's end as the error.

mod child;
mod tail;

use std::sync::Arc;

use pgflow::{AnyHandler, Context, Failure};

pub(crate) use child::Running;
use child::{Ended, RunningChild};

/// The exit code that says: no later try can succeed (EX_DATAERR of sysexits.h).
const DEAD: i32 = 65;

/// Runs `sh -c CMD` for each message. One value lives in each worker; it holds nothing of its own.
pub(crate) struct Exec {
    command: Arc<str>,
    running: Running,
}

impl Exec {
    /// The command, and where its processes are written down while they run.
    pub(crate) fn new(command: Arc<str>, running: Running) -> Self {
        Self { command, running }
    }
}

impl AnyHandler for Exec {
    async fn handle(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        let mut child = RunningChild::spawn(&self.command, cx.incoming(), &self.running)?;
        let ended = tokio::select! {
            ended = child.run(&cx.incoming().body) => ended?,
            // Its message is handed back; the child is killed as it is dropped.
            () = cx.cancelled() => return Err(Failure::retry("the instance stopped")),
        };
        verdict(&ended)
    }
}

fn verdict(ended: &Ended) -> Result<(), Failure> {
    use std::os::unix::process::ExitStatusExt as _;
    let error = |how: String| if ended.errors.is_empty() { how } else { ended.errors.clone() };
    match (ended.status.code(), ended.status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(DEAD), _) => Err(Failure::dead(error(format!("exit code {DEAD}")))),
        (Some(code), _) => Err(Failure::retry(error(format!("exit code {code}")))),
        (None, Some(signal)) => Err(Failure::retry(error(format!("killed by signal {signal}")))),
        (None, None) => Err(Failure::retry(error("ended without an exit code".to_owned()))),
    }
}
