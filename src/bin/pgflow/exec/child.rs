//! One run of the command: a process group of its own, fed and read at once, killed whole when it is dropped.
//!
//! A group of its own, so that Ctrl-C in a terminal reaches `pgflow work` alone and running commands get their grace, and
//! so that what a shell started ends with it.

use std::{
    collections::HashSet,
    io::Write as _,
    pin::pin,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pgflow::{Failure, Incoming, limits};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStderr, ChildStdin, Command},
};

use super::tail::Tail;

/// How much of stderr becomes the error.
const ERROR_BYTES_MAX: usize = 2_048;
/// How long stderr is read on after the command ended: a process it left in the background may hold it open for ever.
const STDERR_REST: Duration = Duration::from_millis(200);

/// All process groups that run now. A handler of high priority runs on a thread that ends only with the process: what
/// it runs is killed from here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Running(Arc<Mutex<HashSet<i32>>>);

impl Running {
    /// Kills all of them.
    pub(crate) fn kill_all(&self) {
        for group in self.0.lock().unwrap_or_else(PoisonError::into_inner).drain() {
            kill(group);
        }
    }

    fn note(&self, group: i32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(group);
    }

    /// True if it was there.
    fn forget(&self, group: i32) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&group)
    }
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// The end of what it wrote to stderr, trimmed.
    pub(crate) errors: String,
}

/// A run. Dropped before it ended, its process group is killed.
pub(crate) struct RunningChild {
    child: Child,
    group: i32,
    running: Running,
}

impl RunningChild {
    /// Starts the command.
    pub(crate) fn spawn(command: &str, message: &Incoming, running: &Running) -> Result<Self, Failure> {
        let mut sh = Command::new("sh");
        sh.arg("-c")
            .arg(command)
            .env("PGFLOW_ID", message.id.to_string())
            .env("PGFLOW_MESSAGE_ID", message.message_id.to_string())
            .env("PGFLOW_QUEUE", &*message.queue)
            .env("PGFLOW_KIND", &message.kind)
            .env("PGFLOW_ATTEMPT", message.attempt.to_string())
            .env("PGFLOW_PRIORITY", message.priority.to_string())
            .env_remove("PGFLOW_KEY")
            .env_remove("PGFLOW_HEADERS")
            .env_remove("PGFLOW_SOURCE")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(key) = &message.ordering_key {
            sh.env("PGFLOW_KEY", key);
        }
        if let Some(source) = &message.source {
            sh.env("PGFLOW_SOURCE", source);
        }
        // The kernel starts nothing with a variable over 128 KiB, and who writes into the tables meets no limit of ours.
        let headers = message.headers.as_ref().map(ToString::to_string);
        if let Some(headers) = headers.filter(|text| text.len() <= limits::HEADERS_BYTES_MAX) {
            sh.env("PGFLOW_HEADERS", headers);
        }
        let child = sh.spawn().map_err(|e| Failure::retry(format!("start sh: {e}")))?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or(0);
        running.note(group);
        Ok(Self { child, group, running: running.clone() })
    }

    /// Feeds it the payload, passes its stderr on, and waits for its end.
    pub(crate) async fn run(&mut self, payload: &[u8]) -> Result<Ended, Failure> {
        let mut tail = Tail::new(ERROR_BYTES_MAX);
        let (stdin, stderr) = (self.child.stdin.take(), self.child.stderr.take());
        let status = {
            let mut streams = pin!(async { tokio::join!(feed(stdin, payload), pass_on(stderr, &mut tail)) });
            let mut wait = pin!(self.child.wait());
            tokio::select! {
                status = &mut wait => {
                    self.running.forget(self.group);
                    let _ = tokio::time::timeout(STDERR_REST, streams).await;
                    status
                }
                _ = &mut streams => wait.await,
            }
        };
        self.running.forget(self.group);
        let status = status.map_err(|e| Failure::retry(format!("wait for the command: {e}")))?;
        Ok(Ended { status, errors: tail.text() })
    }
}

impl Drop for RunningChild {
    fn drop(&mut self) {
        if self.running.forget(self.group) {
            kill(self.group);
        }
    }
}

/// Writes the payload and closes the pipe. A command that does not read it is no failure.
async fn feed(stdin: Option<ChildStdin>, payload: &[u8]) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(payload).await;
        let _ = stdin.shutdown().await;
    }
}

/// Everything goes on to our own stderr; the end is kept.
async fn pass_on(stderr: Option<ChildStderr>, tail: &mut Tail) {
    let Some(mut stderr) = stderr else { return };
    let mut buffer = [0; 4_096];
    while let Ok(n @ 1..) = stderr.read(&mut buffer).await {
        tail.push(&buffer[..n]);
        let _ = std::io::stderr().write_all(&buffer[..n]);
    }
}

fn kill(group: i32) {
    if let Some(group) = Pid::from_raw(group) {
        // It may have ended by itself.
        let _ = kill_process_group(group, Signal::KILL);
    }
}
