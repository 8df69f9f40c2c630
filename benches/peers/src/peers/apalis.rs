//! apalis on apalis-postgres.

use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use apalis::prelude::{BoxDynError, Data, ParallelizeExt, TaskBuilder, WorkerBuilder, WorkerBuilderExt, WorkerContext};
use apalis_postgres::{Config, PgConnection, PgPool, PgTask, PostgresStorage, queries::push_tasks};
use tokio::{runtime::Handle, task::JoinHandle};

use super::QUEUE;
use crate::{
    local::System,
    peer::{About, Ball, Load, Role},
    pool::new::{close, connections, pool},
    seen::Seen,
};

/// Jobs that a backlog's worker fetches, and runs, at once.
const FETCHED: usize = 5_000;
const AT_ONCE: usize = 1_000;

pub(super) struct Apalis;

pub(super) struct Running {
    context: WorkerContext,
    run: JoinHandle<Result<()>>,
    pool: PgPool,
}

impl System for Apalis {
    type Sender = PgConnection;
    type Worker = Running;

    fn about() -> About {
        About {
            name: "apalis-postgres",
            version: "1.0.0".to_owned(),
            language: "Rust",
            role: Role::Rival,
            idle: "concurrency 4, pubsub, lock_tasks(false)",
            enqueue: "the same",
            drain: "concurrency 1,000, batch 5,000, pubsub, lock_tasks(false), parallelize(tokio::spawn)",
            bulk: "push_tasks",
            history: "kept: done jobs stay in the table",
            killed: "none lost; taken back when its heartbeats are missed (minutes)",
            unfinished: Some("SELECT count(*) FROM apalis.jobs WHERE status <> 'Done'"),
            wal_messages: None,
        }
    }

    async fn setup(url: &str) -> Result<()> {
        let pool = pool(url, 1).await?;
        let made = PostgresStorage::<()>::setup(&pool).await;
        pool.close().await;
        Ok(made?)
    }

    async fn senders(url: &str, number: usize) -> Result<Vec<Self::Sender>> {
        connections(url, number).await
    }

    async fn send(sender: &mut Self::Sender, ball: Ball) -> Result<()> {
        push(sender, vec![ball]).await
    }

    async fn send_many(sender: &mut Self::Sender, balls: Vec<Ball>) -> Result<()> {
        push(sender, balls).await
    }

    async fn close(senders: Vec<Self::Sender>) -> Result<()> {
        close(senders).await
    }

    async fn work(url: &str, load: Load, seen: Arc<Seen>) -> Result<Self::Worker> {
        let pool = pool(url, 8).await?;
        let config = Config::default().queue(QUEUE).lock_tasks(false);
        let context = WorkerContext::new("compare");
        let at_once = match load {
            Load::Idle | Load::Enqueue => 4,
            Load::Drain => AT_ONCE,
        };
        let config = if load == Load::Drain { config.batch_size(FETCHED) } else { config };
        let backend = PostgresStorage::<Ball>::new(&pool).with_config(config).with_pubsub();
        let worker = WorkerBuilder::new(&context)
            .backend(backend)
            .data(seen)
            .concurrency(at_once)
            .parallelize(tokio::spawn)
            .build(handle);
        let tokio = Handle::current();
        // On a thread of its own: the compiler does not see that the future of this worker can be sent to another.
        let run = tokio::task::spawn_blocking(move || {
            tokio.block_on(async move { worker.run().await.map_err(|e| anyhow!("run: {e:?}")) })
        });
        Ok(Running { context, run, pool })
    }

    async fn stop(worker: Self::Worker) -> Result<()> {
        let asked = worker.context.stop();
        let ended = worker.run.await.context("its worker panicked");
        worker.pool.close().await;
        asked.map_err(|e| anyhow!("stop: {e:?}"))?;
        ended?
    }
}

async fn handle(ball: Ball, seen: Data<Arc<Seen>>) -> Result<(), BoxDynError> {
    seen.start(&ball);
    Ok(())
}

async fn push(connection: &mut PgConnection, balls: Vec<Ball>) -> Result<()> {
    let tasks: Vec<PgTask> =
        balls.iter().map(|ball| Ok(TaskBuilder::new(serde_json::to_vec(ball)?).build())).collect::<Result<_>>()?;
    Ok(push_tasks(connection, QUEUE, tasks).await?)
}
