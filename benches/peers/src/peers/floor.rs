//! Plain SQL by tokio-postgres, for what this server can do: no retries, no errors kept, no priorities, no history.

use std::{future::poll_fn, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use futures_util::future::try_join_all;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};
use tokio_postgres::{AsyncMessage, Client, NoTls, Statement};

use crate::{
    local::System,
    peer::{About, Ball, Load, Role},
    seen::Seen,
};

const TABLES: &str = "CREATE TABLE ball (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, taken boolean NOT NULL DEFAULT false, \
     body text NOT NULL); \
     CREATE INDEX ball_free ON ball (id) WHERE NOT taken";
const INSERT: &str = "WITH one AS (INSERT INTO ball (body) VALUES ($1)) SELECT pg_notify('ball', '')";
const INSERT_MANY: &str = "INSERT INTO ball (body) SELECT unnest($1::text[])";
const CLAIM: &str = "WITH free AS (SELECT id FROM ball WHERE NOT taken ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED) \
     UPDATE ball SET taken = true FROM free WHERE ball.id = free.id RETURNING ball.id, body";
const SETTLE: &str = "DELETE FROM ball WHERE id = ANY($1)";
/// Plans must not depend on statistics that a new table does not have.
const SETTINGS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off; \
     SET enable_mergejoin = off; SET jit = off";

/// Connections that work off a backlog, and rows of a claim.
const READERS: usize = 2;
const CLAIMED: i64 = 500;
/// Between two looks without a notification.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct Floor;

pub(super) struct Producer {
    client: Client,
    driver: JoinHandle<()>,
    insert: Statement,
    insert_many: Statement,
}

pub(super) struct Running {
    stop: watch::Sender<bool>,
    readers: Vec<JoinHandle<Result<()>>>,
    listener: Client,
    driver: JoinHandle<()>,
}

impl System for Floor {
    type Sender = Producer;
    type Worker = Running;

    fn about() -> About {
        About {
            name: "plain SQL",
            version: "tokio-postgres 0.7".to_owned(),
            language: "Rust",
            role: Role::Floor,
            idle: "INSERT with pg_notify; LISTEN; claim of 1",
            enqueue: "the same",
            drain: "2 connections: claim of 500, then delete",
            bulk: "INSERT from unnest",
            history: "none",
            killed: "stuck: nobody frees what was claimed",
            unfinished: Some("SELECT count(*) FROM ball"),
            wal_messages: None,
        }
    }

    async fn setup(url: &str) -> Result<()> {
        let (client, driver) = connect(url, None).await?;
        client.batch_execute(TABLES).await?;
        end(client, driver).await
    }

    async fn senders(url: &str, number: usize) -> Result<Vec<Self::Sender>> {
        let all = (0..number).map(async |_| {
            let (client, driver) = connect(url, None).await?;
            let (insert, insert_many) = (client.prepare(INSERT).await?, client.prepare(INSERT_MANY).await?);
            Ok::<_, anyhow::Error>(Producer { client, driver, insert, insert_many })
        });
        try_join_all(all).await
    }

    async fn send(sender: &mut Self::Sender, ball: Ball) -> Result<()> {
        sender.client.execute(&sender.insert, &[&serde_json::to_string(&ball)?]).await?;
        Ok(())
    }

    async fn send_many(sender: &mut Self::Sender, balls: Vec<Ball>) -> Result<()> {
        let bodies: Vec<String> = balls.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        sender.client.execute(&sender.insert_many, &[&bodies]).await?;
        Ok(())
    }

    async fn close(senders: Vec<Self::Sender>) -> Result<()> {
        for sender in senders {
            end(sender.client, sender.driver).await?;
        }
        Ok(())
    }

    async fn work(url: &str, load: Load, seen: Arc<Seen>) -> Result<Self::Worker> {
        let (readers, most) = match load {
            Load::Idle | Load::Enqueue => (1, 1),
            Load::Drain => (READERS, CLAIMED),
        };
        let woken = Arc::new(Notify::new());
        let (listener, driver) = connect(url, Some(woken.clone())).await?;
        listener.batch_execute("LISTEN ball").await?;
        let (stop, stopping) = watch::channel(false);
        let readers = (0..readers)
            .map(|_| tokio::spawn(read(url.to_owned(), most, woken.clone(), seen.clone(), stopping.clone())))
            .collect();
        Ok(Running { stop, readers, listener, driver })
    }

    async fn stop(worker: Self::Worker) -> Result<()> {
        worker.stop.send_replace(true);
        let mut ended = Ok(());
        for reader in worker.readers {
            ended = ended.and(reader.await.context("a reader panicked")?);
        }
        end(worker.listener, worker.driver).await?;
        ended
    }
}

/// Claims, handles and deletes until nothing is free, then waits for a notification.
async fn read(
    url: String,
    most: i64,
    woken: Arc<Notify>,
    seen: Arc<Seen>,
    mut stopping: watch::Receiver<bool>,
) -> Result<()> {
    let (client, driver) = connect(&url, None).await?;
    let (claim, settle) = (client.prepare(CLAIM).await?, client.prepare(SETTLE).await?);
    while !*stopping.borrow() {
        let rows = client.query(&claim, &[&most]).await.context("claim")?;
        if rows.is_empty() {
            tokio::select! {
                _ = tokio::time::timeout(LOOK, woken.notified()) => {}
                changed = stopping.changed() => changed.map_err(|_| anyhow!("nobody is left to say stop"))?,
            }
            continue;
        }
        let mut ids = Vec::with_capacity(rows.len());
        for row in &rows {
            seen.start(&serde_json::from_str(row.get(1)).context("read a message")?);
            ids.push(row.get::<_, i64>(0));
        }
        client.execute(&settle, &[&ids]).await.context("delete")?;
    }
    end(client, driver).await
}

/// With a task that drives it, and tells of notifications where somebody wants to know.
async fn connect(url: &str, woken: Option<Arc<Notify>>) -> Result<(Client, JoinHandle<()>)> {
    let (client, mut connection) = tokio_postgres::connect(url, NoTls).await.context("connect")?;
    let driver = tokio::spawn(async move {
        // Its end, good or bad, is seen by whoever uses the client.
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let (AsyncMessage::Notification(_), Some(woken)) = (message, &woken) {
                woken.notify_one();
            }
        }
    });
    client.batch_execute(SETTINGS).await?;
    Ok((client, driver))
}

async fn end(client: Client, driver: JoinHandle<()>) -> Result<()> {
    drop(client);
    driver.await.context("a connection's driver panicked")
}
