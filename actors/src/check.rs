//! The check command: runs in the workspace, prints its metrics as one JSON line, is killed when it takes too long.

use std::future::Future;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::batch::values_of;
use crate::invalid::Invalid;
use crate::json::{Object, holds_nul};
use crate::metrics::Metrics;

/// A command that measures the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Given to `sh -c`.
    pub command: String,
    /// Where it runs.
    pub workspace: PathBuf,
    /// Added to the environment.
    pub env: Vec<(String, String)>,
    /// How long it may take.
    pub timeout: Duration,
}

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// `sh` did not start, or could not be waited for.
    #[error("check_not_started: {0}")]
    NotStarted(#[from] std::io::Error),
    /// It failed.
    #[error("check_failed: {status}; {stderr}")]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said.
        stderr: String,
    },
    /// It was killed after its time.
    #[error("check_timed_out: after {} ms; {stderr}", after.as_millis())]
    TimedOut {
        /// Its time.
        after: Duration,
        /// The end of what it said.
        stderr: String,
    },
    /// It was killed because it is no longer wanted.
    #[error("check_cancelled")]
    Cancelled,
    /// It printed no line that is a JSON object, or one without a known metric: nothing measured must not pass for nothing wrong.
    #[error("check_no_metrics: no line of its output is a JSON object with a known metric; it ends with: {stdout}")]
    NoMetrics {
        /// The end of its output.
        stdout: String,
    },
    /// It printed a line that is JSON, but no metrics.
    #[error("check_bad_metrics: {0}")]
    BadMetrics(String),
    /// A metric is out of range.
    #[error("check_bad_metrics: {0}")]
    OutOfRange(#[from] Invalid),
}

/// Bytes kept of the end of its output.
const STDOUT_TAIL_BYTES: usize = 64 * 1024;
/// Bytes kept of the end of what it says on stderr.
const STDERR_TAIL_BYTES: usize = 4 * 1024;
/// Characters of either shown in an error.
const SHOWN_CHARS: usize = 400;
/// How long pipes may stay open after `sh` ended, before what it left behind is killed.
const PIPES_GRACE: Duration = Duration::from_secs(1);

/// Not inherited: the command runs code that agents wrote, and has no business in the queues' database.
const WITHHELD_ENV: [&str; 2] = ["PGFLOW_DATABASE_URL", "DATABASE_URL"];

impl Check {
    /// Runs the command and reads its metrics; see [`Check::output`].
    pub async fn run(&self, cancelled: impl Future<Output = ()>) -> Result<Metrics, CheckError> {
        parse(&self.output(cancelled).await?)
    }

    /// Runs the command; answers the end of what it printed.
    ///
    /// It is killed, with everything it started, when its time is over, when `cancelled` completes, or when this
    /// future is dropped.
    pub async fn output(&self, cancelled: impl Future<Output = ()>) -> Result<String, CheckError> {
        let mut child = self.spawn()?;
        let mut group = Group::of(&child);
        let stdout = Tail::read(child.stdout.take(), STDOUT_TAIL_BYTES);
        let stderr = Tail::read(child.stderr.take(), STDERR_TAIL_BYTES);
        let status = tokio::select! {
            status = child.wait() => status?,
            () = cancelled => return Err(CheckError::Cancelled),
            () = tokio::time::sleep(self.timeout) => {
                group.kill();
                child.wait().await?;
                group.forget();
                return Err(CheckError::TimedOut { after: self.timeout, stderr: stderr.text(None).await });
            }
        };
        let (stdout, stderr) = tokio::join!(stdout.text(Some(&group)), stderr.text(Some(&group)));
        group.forget();
        if !status.success() {
            return Err(CheckError::Failed { status, stderr: shown(&stderr) });
        }
        Ok(stdout)
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(&self.command).current_dir(&self.workspace);
        for name in WITHHELD_ENV {
            command.env_remove(name);
        }
        command
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }
}

/// Reads the metrics: the last line that is a JSON object.
pub fn parse(stdout: &str) -> Result<Metrics, CheckError> {
    let object = |line: &str| serde_json::from_str::<Object>(line.trim()).ok();
    let Some(found) = stdout.lines().rev().find_map(object) else {
        return Err(CheckError::NoMetrics { stdout: shown(stdout) });
    };
    let metrics: Metrics =
        serde_json::from_value(Value::Object(found)).map_err(|e| CheckError::BadMetrics(e.to_string()))?;
    metrics.validate()?;
    if metrics.other.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)) {
        return Err(CheckError::BadMetrics("a key or text holds NUL (\\u0000), which cannot be kept".to_owned()));
    }
    if values_of(&metrics).is_empty() {
        return Err(CheckError::NoMetrics { stdout: shown(stdout) });
    }
    Ok(metrics)
}

fn shown(text: &str) -> String {
    let text = text.trim();
    let skip = text.chars().count().saturating_sub(SHOWN_CHARS);
    let tail: String = text.chars().skip(skip).collect();
    if tail.is_empty() { "it said nothing".to_owned() } else { tail }
}

/// The process group of a check: killed when dropped, unless it ended.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }

    fn kill(&self) {
        if let Some(pid) = self.0 {
            // An error means that nobody is left.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    /// Everything ended: the number may soon name others, who must not be killed.
    const fn forget(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The end of what a pipe brings, read as it comes so that the writer never blocks.
struct Tail(JoinHandle<Vec<u8>>);

impl Tail {
    fn read(pipe: Option<impl AsyncRead + Unpin + Send + 'static>, limit: usize) -> Self {
        Self(tokio::spawn(async move {
            let mut kept = Vec::new();
            let Some(mut pipe) = pipe else { return kept };
            let mut chunk = [0_u8; 4096];
            while let Ok(read @ 1..) = pipe.read(&mut chunk).await {
                kept.extend_from_slice(&chunk[..read]);
                if kept.len() > 2 * limit {
                    kept.drain(..kept.len() - limit);
                }
            }
            kept
        }))
    }

    /// The text, once the pipe is closed. Who holds it open after the grace is killed, if `group` is given.
    async fn text(mut self, group: Option<&Group>) -> String {
        let first = tokio::time::timeout(PIPES_GRACE, &mut self.0).await;
        let bytes = match first {
            Ok(bytes) => bytes,
            Err(_) => {
                if let Some(group) = group {
                    group.kill();
                }
                tokio::time::timeout(PIPES_GRACE, &mut self.0).await.unwrap_or(Ok(Vec::new()))
            }
        };
        self.0.abort();
        // NUL as well: the database takes no text that holds one.
        String::from_utf8_lossy(&bytes.unwrap_or_default()).replace('\0', "\u{fffd}")
    }
}
