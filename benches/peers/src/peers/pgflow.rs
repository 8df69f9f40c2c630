//! Ours. The publisher is that of another program, so that the database's NOTIFY is measured and no nudge within the process.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use pgflow::{Config, Context, Failure, Handler, Message, Publisher, Queue, Runtime};

use super::QUEUE;
use crate::{
    local::System,
    peer::{About, Ball, Load, Role},
    seen::Seen,
};

/// How long the end of an instance may take.
const STOP: Duration = Duration::from_secs(20);

impl Message for Ball {
    const KIND: &'static str = "ball";
    const QUEUE: &'static str = QUEUE;
}

pub(super) struct Pgflow;

impl System for Pgflow {
    type Sender = Arc<Publisher>;
    type Worker = Runtime;

    fn about() -> About {
        About {
            name: "pgflow",
            version: "(this checkout)".to_owned(),
            language: "Rust",
            role: Role::Pgflow,
            idle: "4 workers; publisher of another program",
            enqueue: "the same",
            drain: "32 workers",
            bulk: "publish_many",
            history: "kept: done messages for 7 days, dead letters for 30",
            killed: "none lost; tried again when its lease or its connection is gone",
            unfinished: Some(
                "SELECT (SELECT count(*) FROM pgflow_ready) + (SELECT count(*) FROM pgflow_active) \
                         + (SELECT count(*) FROM pgflow_scheduled) + (SELECT count(*) FROM pgflow_parked) + (SELECT count(*) FROM pgflow_dlq)",
            ),
            wal_messages: None,
        }
    }

    async fn setup(url: &str) -> Result<()> {
        pgflow::migrate::migrate(&mut pgflow::connect(url, "compare").await?, "public").await?;
        let client = pgflow::connect(url, "compare").await?;
        client.execute("SELECT pgflow_create_queue($1)", &[&QUEUE]).await?;
        Ok(())
    }

    async fn senders(url: &str, number: usize) -> Result<Vec<Self::Sender>> {
        let mut config = Config::new(url);
        config.handler_connections = number;
        let publisher = Arc::new(Publisher::connect(&config).await?);
        Ok(vec![publisher; number])
    }

    async fn send(sender: &mut Self::Sender, ball: Ball) -> Result<()> {
        sender.publish(&ball).await?;
        Ok(())
    }

    async fn send_many(sender: &mut Self::Sender, balls: Vec<Ball>) -> Result<()> {
        sender.publish_many(&balls).await?;
        Ok(())
    }

    async fn close(senders: Vec<Self::Sender>) -> Result<()> {
        drop(senders);
        Ok(())
    }

    async fn work(url: &str, load: Load, seen: Arc<Seen>) -> Result<Self::Worker> {
        let workers = match load {
            Load::Idle | Load::Enqueue => 4,
            Load::Drain => 32,
        };
        let queue = Queue::new(QUEUE).workers(workers);
        let handler = move || Nothing { seen: seen.clone() };
        Ok(Runtime::builder(Config::new(url)).queue(queue).handler(handler).start().await?)
    }

    async fn stop(worker: Self::Worker) -> Result<()> {
        Ok(worker.stop(STOP).await?)
    }
}

struct Nothing {
    seen: Arc<Seen>,
}

impl Handler for Nothing {
    type Message = Ball;

    async fn handle(&mut self, ball: Ball, _: &mut Context<'_>) -> Result<(), Failure> {
        self.seen.start(&ball);
        Ok(())
    }
}
