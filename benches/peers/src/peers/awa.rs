//! awa, its queue storage active.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use awa::{Client, InsertOpts, InsertParams, JobArgs, JobResult, QueueConfig, QueueStorage, QueueStorageConfig};
use serde::{Deserialize, Serialize};
use sqlx08::PgPool;

use super::QUEUE;
use crate::{
    local::System,
    peer::{About, Ball, Load, Role},
    pool::old::pool,
    seen::Seen,
};

/// How long the jobs under way may take to end.
const STOP: Duration = Duration::from_secs(10);

/// The message, by the derive macro of awa.
#[derive(Debug, Serialize, Deserialize, JobArgs)]
pub(super) struct AwaBall {
    #[serde(flatten)]
    ball: Ball,
}

pub(super) struct Awa;

/// A share of a pool with as many connections as there are producers.
pub(super) struct Producer {
    pool: PgPool,
    store: Arc<QueueStorage>,
}

pub(super) struct Running {
    client: Client,
    pool: PgPool,
}

impl System for Awa {
    type Sender = Producer;
    type Worker = Running;

    fn about() -> About {
        About {
            name: "awa",
            version: "0.6.9".to_owned(),
            language: "Rust",
            role: Role::Rival,
            idle: "4 workers, NOTIFY, no deadline",
            enqueue: "the same",
            drain: "512 workers, 24 connections, no deadline",
            bulk: "QueueStorage::enqueue_params_copy",
            history: "kept: until its segments rotate out, dead letters apart",
            killed: "none lost; rescued when its heartbeats are stale",
            unfinished: None,
            wal_messages: None,
        }
    }

    async fn setup(url: &str) -> Result<()> {
        let pool = pool(url, 2).await?;
        let made = async {
            awa::migrations::run(&pool).await.context("migrate")?;
            QueueStorage::new(QueueStorageConfig::default())?.install(&pool).await.context("install the queue storage")
        };
        let made = made.await;
        pool.close().await;
        made
    }

    async fn senders(url: &str, number: usize) -> Result<Vec<Self::Sender>> {
        let pool = pool(url, u32::try_from(number)?).await?;
        let store = Arc::new(QueueStorage::new(QueueStorageConfig::default())?);
        Ok((0..number).map(|_| Producer { pool: pool.clone(), store: store.clone() }).collect())
    }

    async fn send(sender: &mut Self::Sender, ball: Ball) -> Result<()> {
        awa::insert_with(&sender.pool, &AwaBall { ball }, options()).await?;
        Ok(())
    }

    async fn send_many(sender: &mut Self::Sender, balls: Vec<Ball>) -> Result<()> {
        let jobs: Vec<InsertParams> = balls
            .iter()
            .map(|ball| {
                Ok(InsertParams {
                    kind: AwaBall::kind().to_owned(),
                    args: serde_json::to_value(ball)?,
                    opts: options(),
                })
            })
            .collect::<Result<_>>()?;
        sender.store.enqueue_params_copy(&sender.pool, &jobs).await?;
        Ok(())
    }

    async fn close(senders: Vec<Self::Sender>) -> Result<()> {
        for sender in senders {
            sender.pool.close().await;
        }
        Ok(())
    }

    async fn work(url: &str, load: Load, seen: Arc<Seen>) -> Result<Self::Worker> {
        let (connections, workers) = match load {
            Load::Idle | Load::Enqueue => (10, 4),
            Load::Drain => (24, 512),
        };
        let pool = pool(url, connections).await?;
        let queue = QueueConfig { max_workers: workers, deadline_duration: Duration::ZERO, ..QueueConfig::default() };
        let client = Client::builder(pool.clone())
            .queue(QUEUE, queue)
            .register::<AwaBall, _, _>(move |args, _| {
                let seen = seen.clone();
                async move {
                    seen.start(&args.ball);
                    Ok(JobResult::Completed)
                }
            })
            .build()?;
        client.start().await.context("start")?;
        Ok(Running { client, pool })
    }

    async fn unfinished(url: &str) -> Result<i64> {
        let pool = pool(url, 1).await?;
        let counts = QueueStorage::new(QueueStorageConfig::default())?.queue_counts(&pool, QUEUE).await;
        pool.close().await;
        let counts = counts?;
        Ok(counts.available + counts.running)
    }

    async fn stop(worker: Self::Worker) -> Result<()> {
        worker.client.shutdown(STOP).await;
        worker.pool.close().await;
        Ok(())
    }
}

fn options() -> InsertOpts {
    InsertOpts { queue: QUEUE.to_owned(), ..InsertOpts::default() }
}
