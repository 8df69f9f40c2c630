//! The spool: what is published while Postgres is away is on the disk before `Ok`, and in Postgres afterwards, once and in order.

#![cfg(all(feature = "devpg", unix))]

#[path = "../support/mod.rs"]
mod support;

mod damage;
mod doubt;
mod full_disk;
mod killed;
mod limits;
mod outage;
mod proxy;
mod refused;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use pgflow::{Config, Durable, Message, Outgoing, Publisher, Receipt};
use proxy::Proxy;
use serde::{Deserialize, Serialize};
use support::{TestDb, eventually, query_text};
use tokio_postgres::Client;

/// Only a failing test waits so long.
const SOON: Duration = Duration::from_secs(60);
/// Nobody listens there: Postgres is away for good.
const NOWHERE: &str = "postgresql://postgres@127.0.0.1:1/none?sslmode=disable";

#[derive(Serialize, Deserialize, Debug)]
struct Note {
    n: i64,
}

impl Message for Note {
    const KIND: &'static str = "note";
    const QUEUE: &'static str = "notes";
}

fn note(n: i64) -> Outgoing {
    Outgoing::new(&Note { n }).expect("it encodes")
}

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pgflow-spool-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    /// Another folder with the same files.
    fn copy(&self) -> Self {
        let copy = Self::new();
        copy.take_from(self);
        copy
    }

    /// Becomes what the other is.
    fn take_from(&self, other: &Self) {
        let _ = std::fs::remove_dir_all(&self.0);
        std::fs::create_dir_all(&self.0).unwrap();
        for file in std::fs::read_dir(&other.0).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), self.0.join(file.file_name())).unwrap();
        }
    }

    fn segments(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(&self.0).unwrap().map(|file| file.unwrap().path());
        let mut found: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|e| e == "seg")).collect();
        found.sort();
        found
    }

    fn inspect(&self) -> pgflow::spool::Inspection {
        pgflow::spool::inspect(&self.0).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Settings with a spool there; one connection, so that what is prepared stays.
fn config(url: &str, dir: &Path) -> Config {
    let mut config = Config::new(url).instance("tester").spool_dir(dir);
    config.handler_connections = 1;
    config
}

/// A publisher that will never reach Postgres.
async fn cut_off(dir: &Path) -> Publisher {
    Publisher::connect(&config(NOWHERE, dir)).await.unwrap()
}

/// A database behind a proxy, and a publisher with a spool.
struct Scene {
    db: TestDb,
    proxy: Proxy,
    folder: Folder,
    sql: Client,
}

impl Scene {
    async fn new() -> Self {
        let db = TestDb::new().await;
        let sql = db.client().await;
        sql.batch_execute("SELECT pgflow_create_queue('notes')").await.unwrap();
        Self { proxy: Proxy::new().await, folder: Folder::new(), db, sql }
    }

    fn url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{}?sslmode=disable", self.proxy.port, self.db.name())
    }

    fn config(&self) -> Config {
        config(&self.url(), &self.folder.0)
    }

    async fn publisher(&self) -> Publisher {
        Publisher::connect(&self.config()).await.unwrap()
    }

    /// A process without Postgres writes these down, and ends.
    async fn spools(&self, notes: std::ops::Range<i64>) {
        let publisher = cut_off(&self.folder.0).await;
        publisher.send_many(notes.map(note).collect()).await.unwrap();
        closed(publisher, &self.folder).await;
    }

    /// A process with Postgres forwards all that is there, and ends.
    async fn forwards(&self) {
        let publisher = self.publisher().await;
        drained(&publisher).await;
        closed(publisher, &self.folder).await;
    }

    /// The numbers of all notes that can be started, in the order in which they will be.
    async fn ns(&self) -> Vec<i64> {
        ns(&self.sql).await
    }
}

async fn ns(sql: &Client) -> Vec<i64> {
    let text = query_text(sql, "SELECT payload ->> 'n' FROM pgflow_messages ORDER BY id").await;
    text.iter().map(|n| n.parse().unwrap()).collect()
}

/// Nothing waits in the spool any more.
async fn drained(publisher: &Publisher) {
    eventually(SOON, || async { publisher.spooled().unwrap().messages == 0 }).await;
}

/// The publisher's folder is free: its thread has ended.
async fn closed(publisher: Publisher, dir: &Folder) {
    drop(publisher);
    eventually(SOON, || async { !dir.inspect().in_use }).await;
}

fn is_spooled(receipt: &Receipt) -> bool {
    receipt.durable == Durable::Spooled
}
