//! Real processes: the test's own program, started again in another role, so that a kill and a stop are real.
//!
//! A child lives as long as its parent holds the other end of its stdin: at the end of that it ends itself.

use std::{
    io::{BufRead, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use pgflow::{Config, Runtime};
use serde::{Deserialize, Serialize};

use super::{
    history::{Event, Journal},
    traffic::{FIFO, FifoWorker, LOAD, Publishers, Worker, queue},
};

const SPEC: &str = "PGFLOW_FAULTS_CHILD";

/// What a child is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    pub name: String,
    pub url: String,
    pub dir: PathBuf,
    pub role: Role,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Role {
    Instance { workers: usize, fifo: bool, lease_ms: u64, ahead_us: i64, connections: usize },
    Publishers { seed: u64, first: u32, tasks: u32, seconds: f64, think_ms: u64, spool: Option<PathBuf> },
}

/// How often an instance's listener is looked at.
const LOOK: Duration = Duration::from_millis(5);
pub const HEARTBEAT_MS: u64 = 200;

/// The child's side; nothing without its environment.
pub async fn run() {
    let Ok(text) = std::env::var(SPEC) else { return };
    let spec: Spec = serde_json::from_str(&text).expect("a spec");
    let stop = told_to_stop();
    match spec.role {
        Role::Instance { workers, fifo, lease_ms, ahead_us, connections } => {
            let journal = Journal::open(&spec.dir, &spec.name, ahead_us);
            let mut config = Config::new(&spec.url).instance(&spec.name);
            (config.heartbeat_ms, config.rescue_grace_ms, config.lease_ms) = (HEARTBEAT_MS, 500, lease_ms);
            (config.control_connections, config.handler_connections) = (connections.max(2), connections.max(1));
            serve(config, workers, fifo, &journal, stop).await;
        }
        Role::Publishers { seed, first, tasks, seconds, think_ms, spool } => {
            let journal = Journal::open(&spec.dir, &spec.name, 0);
            Publishers { url: spec.url, seed, first, tasks, seconds, think_ms, spool }.run(&journal).await;
            journal.flush().await;
        }
    }
    std::process::exit(0);
}

async fn serve(
    config: Config,
    workers: usize,
    fifo: bool,
    journal: &Journal,
    stop: tokio::sync::oneshot::Receiver<()>,
) {
    let runtime = loop {
        let (one, two) = (journal.clone(), journal.clone());
        let mut builder =
            Runtime::builder(config.clone()).queue(queue(LOAD, workers)).handler(move || Worker(one.clone()));
        if fifo {
            builder = builder.queue(queue(FIFO, 1)).handler(move || FifoWorker(Worker(two.clone())));
        }
        match builder.start().await {
            Ok(runtime) => break runtime,
            // The server is away, or an earlier instance of the name is still live.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    let mut up = false;
    tokio::pin!(stop);
    loop {
        if runtime.is_listening() != up {
            up = !up;
            journal.note(Event::Listening { up });
        }
        tokio::select! {
            _ = &mut stop => break,
            () = runtime.ended() => {
                journal.durable(Event::GaveUp).await;
                return;
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    let (found_by_heartbeat, found_by_takeover) = (runtime.found_by_heartbeat(), runtime.found_by_takeover());
    let _ = runtime.stop(Duration::from_secs(10)).await;
    journal.durable(Event::Ended { found_by_heartbeat, found_by_takeover }).await;
}

/// A line on stdin asks to stop. Its end means that the parent is gone.
fn told_to_stop() -> tokio::sync::oneshot::Receiver<()> {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut lines = std::io::stdin().lock().lines();
        if let Some(Ok(_)) = lines.next() {
            let _ = tell.send(());
            let _ = lines.next();
        }
        std::process::exit(1);
    });
    told
}

/// A running child, killed when it is dropped.
pub struct Process {
    pub name: String,
    child: Child,
}

impl Process {
    pub fn start(spec: &Spec, preload: Option<(&Path, &str)>) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("our own path"));
        command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
        command.env(SPEC, serde_json::to_string(spec).expect("a spec encodes"));
        if let Some((library, time)) = preload {
            command.env("LD_PRELOAD", library).env("FAKETIME", time).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        let log = std::fs::File::create(spec.dir.join(format!("{}.log", spec.name))).expect("a log");
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).spawn().expect("a child");
        Self { name: spec.name.clone(), child }
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops it as `kill -STOP` does. The shell that wakes it again needs nobody: not even a killed test leaves it stopped.
    pub fn freeze(&self, seconds: u64) -> Child {
        let pid = self.child.id();
        let script = format!("kill -STOP {pid}; sleep {seconds}; kill -CONT {pid}");
        Command::new("sh").args(["-c", &script]).spawn().expect("a shell")
    }

    pub fn thaw(&self) {
        let status = Command::new("kill").args(["-CONT", &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|s| s.success()), "{} is there", self.name);
    }

    pub fn ask_to_stop(&mut self) {
        let _ = self.child.stdin.as_mut().map(|stdin| stdin.write_all(b"stop\n"));
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
