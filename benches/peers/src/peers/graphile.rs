//! graphile_worker, the port to Rust.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use graphile_worker::{
    Database, IntoTaskHandlerResult, JobSpec, LocalQueueConfig, Schema, TaskHandler, Worker, WorkerContext,
    WorkerOptions, WorkerUtils,
};
use sqlx::PgPool;
use tokio::task::JoinHandle;

use crate::{
    local::System,
    peer::{About, Ball, Load, Role},
    pool::new::pool,
    seen::Seen,
};

const SCHEMA: &str = "graphile_worker";

impl TaskHandler for Ball {
    const IDENTIFIER: &'static str = "ball";

    async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
        match context.get_ext::<Arc<Seen>>() {
            Some(seen) => {
                seen.start(&self);
                Ok(())
            }
            None => Err("the worker was started without its counter".to_owned()),
        }
    }
}

pub(super) struct Graphile;

/// A share of a pool with as many connections as there are producers.
pub(super) struct Producer {
    utils: WorkerUtils,
    pool: PgPool,
}

pub(super) struct Running {
    worker: Arc<Worker>,
    run: JoinHandle<Result<()>>,
    pool: PgPool,
}

impl System for Graphile {
    type Sender = Producer;
    type Worker = Running;

    fn about() -> About {
        About {
            name: "graphile_worker (Rust)",
            version: "0.14.1".to_owned(),
            language: "Rust",
            role: Role::Rival,
            idle: "concurrency 4, NOTIFY, no local queue",
            enqueue: "the same",
            drain: "concurrency 64, local queue 1,000 × 2, completions batched for 5 ms, 20 connections",
            bulk: "add_jobs",
            history: "none: a finished job is deleted",
            killed: "none lost; locked for 4 hours, or until the sweeper if switched on",
            unfinished: Some("SELECT count(*) FROM graphile_worker._private_jobs"),
            wal_messages: None,
        }
    }

    async fn setup(url: &str) -> Result<()> {
        let pool = pool(url, 1).await?;
        let migrated = WorkerUtils::new(Database::from(pool.clone()), Schema::from(SCHEMA)).migrate().await;
        pool.close().await;
        migrated.map_err(|e| anyhow!("migrate: {e:?}"))
    }

    async fn senders(url: &str, number: usize) -> Result<Vec<Self::Sender>> {
        let pool = pool(url, u32::try_from(number)?).await?;
        // A worker that never runs has what the producers need: the numbers of the tasks' names.
        let worker = WorkerOptions::default().schema(SCHEMA).define_job::<Ball>().pg_pool(pool.clone()).init().await?;
        Ok((0..number).map(|_| Producer { utils: worker.create_utils(), pool: pool.clone() }).collect())
    }

    async fn send(sender: &mut Self::Sender, ball: Ball) -> Result<()> {
        sender.utils.add_job(ball, JobSpec::default()).await.context("add_job")?;
        Ok(())
    }

    async fn send_many(sender: &mut Self::Sender, balls: Vec<Ball>) -> Result<()> {
        let spec = JobSpec::default();
        let jobs: Vec<(Ball, &JobSpec)> = balls.into_iter().map(|ball| (ball, &spec)).collect();
        sender.utils.add_jobs::<Ball>(&jobs).await.context("add_jobs")?;
        Ok(())
    }

    async fn close(senders: Vec<Self::Sender>) -> Result<()> {
        for sender in senders {
            sender.pool.close().await;
        }
        Ok(())
    }

    async fn work(url: &str, load: Load, seen: Arc<Seen>) -> Result<Self::Worker> {
        let pool = pool(url, if load == Load::Drain { 20 } else { 8 }).await?;
        let options = WorkerOptions::default()
            .schema(SCHEMA)
            .define_job::<Ball>()
            .add_extension(seen)
            .pg_pool(pool.clone())
            .listen_os_shutdown_signals(false);
        let options = match load {
            Load::Idle | Load::Enqueue => options.concurrency(4),
            Load::Drain => options
                .concurrency(64)
                .local_queue(LocalQueueConfig::default().with_size(1_000).with_queue_count(2))
                .complete_job_batch_delay(Duration::from_millis(5)),
        };
        let worker = Arc::new(options.init().await?);
        let run = {
            let worker = worker.clone();
            tokio::spawn(async move { worker.run().await.context("run") })
        };
        Ok(Running { worker, run, pool })
    }

    async fn stop(worker: Self::Worker) -> Result<()> {
        worker.worker.request_shutdown();
        let ended = worker.run.await.context("its worker panicked");
        worker.pool.close().await;
        ended?
    }
}
