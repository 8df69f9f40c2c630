//! pgmq by its crate, the SQL embedded there: a queue without a worker, which is written here.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use futures_util::future::try_join_all;
use pgmq::{Message, PGMQueueExt};
use sqlx::{PgConnection, PgPool, postgres::PgListener};
use tokio::{sync::watch, task::JoinHandle};

use super::QUEUE;
use crate::{
    local::System,
    peer::{About, Ball, Load, Role},
    pool::new::{close, connections, pool},
    seen::Seen,
};

/// Seconds that a message read stays hidden: longer than any turn, so that none is read twice.
const HIDDEN_S: i32 = 60;
/// Connections that read a backlog, and messages of a read.
const READERS: u32 = 4;
const READ: i32 = 500;
/// Messages of a read when they come one by one.
const READ_IDLE: i32 = 4;
/// Without one, every transaction that sends updates the same row, and takes the server's one lock of notifications.
const THROTTLE: Duration = Duration::from_millis(250);
/// Between two looks without a notification.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct Pgmq;

/// With a connection of its own.
pub(super) struct Producer {
    connection: PgConnection,
    queue: PGMQueueExt,
}

pub(super) struct Running {
    stop: watch::Sender<bool>,
    readers: Vec<JoinHandle<Result<()>>>,
    pool: PgPool,
}

impl System for Pgmq {
    type Sender = Producer;
    type Worker = Running;

    fn about() -> About {
        About {
            name: "pgmq",
            version: "0.34.0-alpha.7".to_owned(),
            language: "Rust",
            role: Role::Library,
            idle: "hand-written worker: enable_notify_insert without throttle, LISTEN, read_batch 4, delete_batch",
            enqueue: "notifications throttled to one in 250 ms (its default), read_batch 500",
            drain: "hand-written worker: 4 connections, read_batch and delete_batch of 500",
            bulk: "send_batch, notifications off",
            history: "none: deleted here (archive_batch would keep it)",
            killed: "none lost; visible again after its timeout. No retry policy, no error kept, no dead letters",
            unfinished: Some("SELECT count(*) FROM pgmq.q_bench"),
            wal_messages: None,
        }
    }

    async fn setup(url: &str) -> Result<()> {
        let pool = pool(url, 2).await?;
        let queue = PGMQueueExt::new_with_pool(pool.clone()).await;
        let made = async {
            queue.install_sql_from_embedded().await.context("install its SQL")?;
            queue.create(QUEUE).await.context("make its queue")
        };
        let made = made.await;
        pool.close().await;
        made.map(drop)
    }

    async fn senders(url: &str, number: usize) -> Result<Vec<Self::Sender>> {
        // Never used: each call says which connection it takes.
        let unused = sqlx::postgres::PgPoolOptions::new().connect_lazy(url)?;
        let queue = PGMQueueExt::new_with_pool(unused).await;
        let all = connections(url, number).await?;
        Ok(all.into_iter().map(|connection| Producer { connection, queue: queue.clone() }).collect())
    }

    async fn send(sender: &mut Self::Sender, ball: Ball) -> Result<()> {
        sender.queue.send_with_cxn(QUEUE, &ball, &mut sender.connection).await?;
        Ok(())
    }

    async fn send_many(sender: &mut Self::Sender, balls: Vec<Ball>) -> Result<()> {
        sender.queue.send_batch_with_cxn(QUEUE, &balls, &mut sender.connection).await?;
        Ok(())
    }

    async fn close(senders: Vec<Self::Sender>) -> Result<()> {
        close(senders.into_iter().map(|sender| sender.connection).collect()).await
    }

    async fn work(url: &str, load: Load, seen: Arc<Seen>) -> Result<Self::Worker> {
        let (readers, most) = match load {
            Load::Idle => (1, READ_IDLE),
            Load::Enqueue => (1, READ),
            Load::Drain => (READERS, READ),
        };
        // One more for the listener of each.
        let pool = pool(url, 2 * readers).await?;
        let queue = PGMQueueExt::new_with_pool(pool.clone()).await;
        // Off for a backlog: each row of a bulk would update the throttle's one row.
        let throttle = match load {
            Load::Idle => Some(Duration::ZERO),
            Load::Enqueue => Some(THROTTLE),
            Load::Drain => None,
        };
        if let Some(throttle) = throttle {
            queue.enable_notify_insert(QUEUE, throttle).await.context("switch notifications on")?;
        }
        let listeners =
            try_join_all((0..readers).map(|_| queue.queue_insert_listener(QUEUE))).await.context("listen")?;
        let (stop, stopping) = watch::channel(false);
        let readers = listeners
            .into_iter()
            .map(|listener| tokio::spawn(read(queue.clone(), listener, most, seen.clone(), stopping.clone())))
            .collect();
        Ok(Running { stop, readers, pool })
    }

    async fn stop(worker: Self::Worker) -> Result<()> {
        worker.stop.send_replace(true);
        let mut ended = Ok(());
        for reader in worker.readers {
            ended = ended.and(reader.await.context("a reader panicked")?);
        }
        worker.pool.close().await;
        ended
    }
}

/// Reads, handles and deletes until the queue is empty, then waits for a notification.
async fn read(
    queue: PGMQueueExt,
    mut listener: PgListener,
    most: i32,
    seen: Arc<Seen>,
    mut stopping: watch::Receiver<bool>,
) -> Result<()> {
    while !*stopping.borrow() {
        let messages: Vec<Message<Ball>> = queue.read_batch(QUEUE, HIDDEN_S, most).await.context("read_batch")?;
        if messages.is_empty() {
            tokio::select! {
                woken = tokio::time::timeout(LOOK, listener.recv()) => {
                    woken.map(|woken| woken.map(drop)).unwrap_or(Ok(())).context("receive a notification")?;
                }
                changed = stopping.changed() => changed.map_err(|_| anyhow!("nobody is left to say stop"))?,
            }
            continue;
        }
        for message in &messages {
            seen.start(&message.message);
        }
        let ids: Vec<i64> = messages.iter().map(|message| message.msg_id).collect();
        queue.delete_batch(QUEUE, &ids).await.context("delete_batch")?;
    }
    Ok(())
}
