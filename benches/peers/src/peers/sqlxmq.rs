//! sqlxmq.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use sqlx08::{PgConnection, PgPool};
use sqlxmq::{CurrentJob, JobBuilder, JobRunnerHandle, JobRunnerOptions};

use crate::{
    local::System,
    peer::{About, Ball, Load, Role},
    pool::old::{close, connections, pool},
    seen::Seen,
};

/// The folder of its source.
const CRATE: &str = "sqlxmq-0.6.0";
const NAME: &str = "ball";
/// Time until an unfinished job is taken again, since none is kept alive: longer than any turn, so that none is run twice.
const BACKOFF: Duration = Duration::from_secs(60);
/// How long the jobs under way may take to end.
const STOP: Duration = Duration::from_secs(10);
/// Its bulk interface is one in SQL.
const INSERT_MANY: &str = "SELECT mq_insert(array_agg(ROW(gen_random_uuid(), interval '0', 4, $2, 'bench', '', NULL, false, $3, \
     body, NULL)::mq_new_t)) FROM unnest($1::text[]) AS bodies(body)";

pub(super) struct Sqlxmq;

pub(super) struct Running {
    handle: JobRunnerHandle,
    pool: PgPool,
}

impl System for Sqlxmq {
    type Sender = PgConnection;
    type Worker = Running;

    fn about() -> About {
        About {
            name: "sqlxmq",
            version: "0.6.0".to_owned(),
            language: "Rust",
            role: Role::Rival,
            idle: "concurrency 4..8, NOTIFY, keep_alive off",
            enqueue: "the same",
            drain: "concurrency 100..400, 16 connections, keep_alive off",
            bulk: "mq_insert with an array (SQL: no function in Rust)",
            history: "none: a finished job is deleted",
            killed: "none lost; tried again after its backoff",
            unfinished: Some("SELECT count(*) FROM mq_msgs WHERE id <> '00000000-0000-0000-0000-000000000000'"),
            wal_messages: None,
        }
    }

    async fn setup(url: &str) -> Result<()> {
        let scripts = migrations().context("find its migrations, which the crate does not run itself")?;
        let mut one = connections(url, 1).await?;
        let connection = one.first_mut().ok_or_else(|| anyhow!("no connection"))?;
        for script in scripts {
            let sql = std::fs::read_to_string(&script).with_context(|| format!("read {}", script.display()))?;
            sqlx08::raw_sql(&sql)
                .execute(&mut *connection)
                .await
                .with_context(|| format!("run {}", script.display()))?;
        }
        close(one).await
    }

    async fn senders(url: &str, number: usize) -> Result<Vec<Self::Sender>> {
        connections(url, number).await
    }

    async fn send(sender: &mut Self::Sender, ball: Ball) -> Result<()> {
        let mut job = JobBuilder::new(NAME);
        job.set_channel_name("bench").set_retry_backoff(BACKOFF).set_json(&ball)?;
        job.spawn(sender).await?;
        Ok(())
    }

    async fn send_many(sender: &mut Self::Sender, balls: Vec<Ball>) -> Result<()> {
        let bodies: Vec<String> = balls.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        sqlx08::query(INSERT_MANY).bind(bodies).bind(BACKOFF).bind(NAME).execute(sender).await?;
        Ok(())
    }

    async fn close(senders: Vec<Self::Sender>) -> Result<()> {
        close(senders).await
    }

    async fn work(url: &str, load: Load, seen: Arc<Seen>) -> Result<Self::Worker> {
        let (connections, least, most) = match load {
            Load::Idle | Load::Enqueue => (8, 4, 8),
            Load::Drain => (16, 100, 400),
        };
        let pool = pool(url, connections).await?;
        let dispatch = move |job: CurrentJob| {
            tokio::spawn(handle(job, seen.clone()));
        };
        let handle = JobRunnerOptions::new(&pool, dispatch)
            .set_concurrency(least, most)
            .set_keep_alive(false)
            .run()
            .await
            .context("run")?;
        Ok(Running { handle, pool })
    }

    async fn stop(mut worker: Self::Worker) -> Result<()> {
        worker.handle.stop().await;
        worker.handle.wait_jobs_finish(STOP).await;
        worker.pool.close().await;
        Ok(())
    }
}

async fn handle(mut job: CurrentJob, seen: Arc<Seen>) {
    // What fails here stays unfinished, and is counted as that.
    if let Ok(Some(ball)) = job.json::<Ball>() {
        seen.start(&ball);
        if let Err(e) = job.complete().await {
            eprintln!("sqlxmq: a job was not completed: {e}");
        }
    }
}

/// The scripts in the crate's source, in their order.
fn migrations() -> Result<Vec<PathBuf>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).context("find cargo's folder")?;
    let sources = home.join("registry/src");
    let registries = std::fs::read_dir(&sources).with_context(|| format!("list {}", sources.display()))?;
    let mut folders = registries.flatten().map(|entry| entry.path().join(CRATE).join("migrations"));
    let folder =
        folders.find(|folder| folder.is_dir()).with_context(|| format!("no {CRATE} in {}", sources.display()))?;
    let mut scripts = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".up.sql") {
            scripts.push(path);
        }
    }
    scripts.sort();
    Ok(scripts)
}
