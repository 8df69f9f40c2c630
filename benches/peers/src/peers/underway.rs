//! underway.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use sqlx08::{PgPool, Postgres, Transaction};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use underway::{Queue, Task, Worker, task::Result as TaskResult};

use super::QUEUE;
use crate::{
    local::System,
    peer::{About, Ball, Load, Role},
    pool::old::pool,
    seen::Seen,
};

pub(super) struct Underway;

/// A share of a pool with as many connections as there are producers.
pub(super) struct Producer {
    queue: Arc<Queue<Nothing>>,
    task: Nothing,
    pool: PgPool,
}

pub(super) struct Running {
    stop: CancellationToken,
    run: JoinHandle<Result<()>>,
    pool: PgPool,
}

impl System for Underway {
    type Sender = Producer;
    type Worker = Running;

    fn about() -> About {
        About {
            name: "underway",
            version: "0.2.0".to_owned(),
            language: "Rust",
            role: Role::Rival,
            idle: "concurrency 4, NOTIFY",
            enqueue: "the same",
            drain: "concurrency 16, 20 connections",
            bulk: "enqueue_multi",
            history: "kept: for 14 days, then deleted by a loop the user starts",
            killed: "none lost; tried again when its heartbeat is missed",
            unfinished: Some("SELECT count(*) FROM underway.task WHERE state <> 'succeeded'"),
            // Each take reads and sorts all that wait: 28 a second with 50,000 waiting.
            wal_messages: Some(500),
        }
    }

    async fn setup(url: &str) -> Result<()> {
        let pool = pool(url, 1).await?;
        let made = underway::run_migrations(&pool).await;
        pool.close().await;
        Ok(made?)
    }

    async fn senders(url: &str, number: usize) -> Result<Vec<Self::Sender>> {
        let pool = pool(url, u32::try_from(number)?).await?;
        let queue = queue(&pool).await?;
        let task = || Nothing { seen: Seen::backlog(0) };
        Ok((0..number).map(|_| Producer { queue: queue.clone(), task: task(), pool: pool.clone() }).collect())
    }

    async fn send(sender: &mut Self::Sender, ball: Ball) -> Result<()> {
        sender.queue.enqueue(&sender.pool, &sender.task, &ball).await?;
        Ok(())
    }

    async fn send_many(sender: &mut Self::Sender, balls: Vec<Ball>) -> Result<()> {
        sender.queue.enqueue_multi(&sender.pool, &sender.task, &balls).await?;
        Ok(())
    }

    async fn close(senders: Vec<Self::Sender>) -> Result<()> {
        for sender in senders {
            sender.pool.close().await;
        }
        Ok(())
    }

    async fn work(url: &str, load: Load, seen: Arc<Seen>) -> Result<Self::Worker> {
        let (connections, at_once) = match load {
            Load::Idle | Load::Enqueue => (8, 4),
            Load::Drain => (20, 16),
        };
        let pool = pool(url, connections).await?;
        let mut worker = Worker::new(queue(&pool).await?, Nothing { seen });
        let stop = CancellationToken::new();
        worker.set_concurrency_limit(at_once);
        worker.set_shutdown_token(stop.clone());
        let run = tokio::spawn(async move { worker.run().await.context("run") });
        Ok(Running { stop, run, pool })
    }

    async fn stop(worker: Self::Worker) -> Result<()> {
        worker.stop.cancel();
        let ended = worker.run.await.context("its worker panicked");
        worker.pool.close().await;
        ended?
    }
}

async fn queue(pool: &PgPool) -> Result<Arc<Queue<Nothing>>> {
    Ok(Arc::new(Queue::builder().name(QUEUE).pool(pool.clone()).build().await.context("make its queue")?))
}

pub(super) struct Nothing {
    seen: Arc<Seen>,
}

impl Task for Nothing {
    type Input = Ball;
    type Output = ();

    async fn execute(&self, tx: Transaction<'_, Postgres>, ball: Ball) -> TaskResult<()> {
        self.seen.start(&ball);
        // Its worker goes on in a transaction of its own.
        tx.commit().await?;
        Ok(())
    }
}
