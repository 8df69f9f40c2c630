//! What every integration test starts from: a database of its own in a server that the whole run shares.
//!
//! The first test starts the server, in whichever process it runs (`cargo test` and cargo-nextest alike), and the end
//! of the last one ends it. A template database is migrated once; each test's database is a copy of it.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    reason = "no test uses all of it, and none is used elsewhere"
)]

mod database;
mod eventually;
pub mod probe;
pub mod victim;

use std::sync::OnceLock;

pub use database::{TestDb, connect, migrated, query_text};
pub use eventually::eventually;
use pgflow::devpg::{DevPg, SharedPg};

/// Test processes, times their threads, times a runtime's connections.
const CONNECTIONS_MAX: &str = "400";

/// The server of this run.
pub fn cluster() -> &'static SharedPg {
    static CLUSTER: OnceLock<SharedPg> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        DevPg::builder()
            .durable(false)
            .setting("max_connections", CONNECTIONS_MAX)
            .setting("max_prepared_transactions", "10")
            // A copy of a template is a checkpoint's worth of work otherwise, and nobody replicates from here.
            .setting("wal_level", "minimal")
            .setting("max_wal_senders", "0")
            .share("test")
            .unwrap_or_else(|error| panic!("{error}"))
    })
}

/// A server for one test alone, which may stop and restart it; its database `postgres` is migrated.
pub async fn own_cluster(durable: bool) -> DevPg {
    let started = tokio::task::spawn_blocking(move || {
        DevPg::builder().durable(durable).setting("max_connections", CONNECTIONS_MAX).start()
    });
    let server = started.await.expect("no panic").unwrap_or_else(|error| panic!("{error}"));
    migrated(&server.url()).await;
    server
}
