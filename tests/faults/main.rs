//! The fault matrix: traffic, a fault under it, calm, a drain, and a checker that reads what every process wrote down.
//!
//! `make faults SEED=7 FAULT=F1` runs cells for longer and writes `REPORT.md`; `cargo test` runs a short version of each from one
//! seed. A seed fixes the traffic and the plan of the faults, not what the machine's scheduler does with them.
//! Settings: PGFLOW_FAULTS_SEED, _ONLY (a cell, or a family such as F7), _SECONDS (of load), _REPORT (the table's file), _HOURS (the
//! swizzle alone). On a failure the histories stay, in the folder that the message names.
//!
//! One concept a file: traffic · process · history · proxy · dump · check, order · replay, life, and the model's law · mutants · cell · report; cells by what fails.
#![cfg(all(feature = "devpg", unix))]
#![allow(unreachable_pub, missing_docs, reason = "nobody uses it from elsewhere")]

#[path = "../support/mod.rs"]
mod support;

mod account;
mod cell;
mod check;
mod deaths;
mod disk;
mod dump;
mod failover;
mod finish;
mod history;
#[path = "../models/life_model/law.rs"]
mod law;
mod life;
mod mutants;
mod network;
mod order;
mod patroni;
mod patroni_cells;
mod pressure;
mod process;
mod proxy;
mod replay;
mod replayed;
mod report;
mod server;
mod sockets;
mod spoilt;
mod swizzle;
mod traffic;
mod upgrade;

/// Not a test by itself: without its environment it ends at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    process::run().await;
}
