//! The program under test: run to its end, or running.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Far above what a loaded machine needs: only a failing test waits so long.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The program with this database in its environment, and nothing else of ours.
pub(crate) fn pgflow(url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgflow"));
    for name in ["DATABASE_URL", "RUST_LOG", "PGFLOW_LOG", "PGFLOW_KEY"] {
        command.env_remove(name);
    }
    command.env("PGFLOW_DATABASE_URL", url).env("RUST_BACKTRACE", "0");
    command
}

/// A run that ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// What a successful run printed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// What a successful run printed as one JSON value.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    /// The one line of a failed run, which printed nothing else.
    #[track_caller]
    pub(crate) fn fault(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        let line = self.stderr.strip_prefix("pgflow: ").and_then(|rest| rest.strip_suffix('\n'));
        let line = line.unwrap_or_else(|| panic!("not one line of ours: {self:?}"));
        assert!(!line.contains('\n') && !line.contains("panicked"), "{self:?}");
        line.to_owned()
    }
}

/// Runs `pgflow` with these arguments and an empty stdin.
pub(crate) fn run(url: &str, arguments: &[&str]) -> Ran {
    run_with(url, arguments, "")
}

/// Runs `pgflow` with these arguments and this stdin.
pub(crate) fn run_with(url: &str, arguments: &[&str], stdin: &str) -> Ran {
    let mut child = Started::new(pgflow(url).args(arguments).stdin(Stdio::piped()));
    // A program that ends before it reads everything is no fault of the test's.
    let _ = child.child.stdin.take().expect("a pipe").write_all(stdin.as_bytes());
    child.ended()
}

/// A program that runs; killed when the test ends.
pub(crate) struct Started {
    pub(crate) child: Child,
    stdout: Receiver<String>,
    stderr: Option<std::thread::JoinHandle<String>>,
}

impl Started {
    /// Starts it with its stdout and stderr read from the first byte on.
    pub(crate) fn new(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let (to, stdout) = channel();
        let mut from = BufReader::new(child.stdout.take().expect("a pipe"));
        std::thread::spawn(move || {
            let mut line = String::new();
            while from.read_line(&mut line).is_ok_and(|n| n > 0) && to.send(std::mem::take(&mut line)).is_ok() {}
        });
        let mut from = child.stderr.take().expect("a pipe");
        let stderr = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = from.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Self { child, stdout, stderr: Some(stderr) }
    }

    /// The next line of stdout, without its end.
    pub(crate) fn line(&self) -> String {
        match self.stdout.recv_timeout(LIMIT) {
            Ok(line) => line.trim_end_matches('\n').to_owned(),
            Err(RecvTimeoutError::Timeout) => panic!("no line on stdout within {LIMIT:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("stdout ended"),
        }
    }

    /// Sends a signal, as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        kill(name, &self.child.id().to_string());
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> Ran {
        let code = self.wait().code();
        let stderr = self.stderr.take().expect("once").join().expect("no panic");
        Ran { code, stdout: self.stdout.iter().collect(), stderr }
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "it runs on after {LIMIT:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process of this id is there.
pub(crate) fn is_alive(pid: &str) -> bool {
    Command::new("kill").args(["-0", pid]).stderr(Stdio::null()).status().expect("kill runs").success()
}

fn kill(signal: &str, pid: &str) {
    assert!(Command::new("kill").args([&format!("-{signal}"), pid]).status().expect("kill runs").success());
}

/// The names of an object's fields, sorted.
#[track_caller]
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// A stdout whose reader has left before the first byte.
pub(crate) fn nobody_reads() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}
