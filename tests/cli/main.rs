//! The command `pgflow` as others meet it: real processes, their exit codes, what they print and what they leave behind.
#![cfg(all(feature = "cli", unix))]

mod bench;
mod dev;
mod messages;
mod operate;
mod program;
mod publish;
mod serve;
mod spool;
#[path = "../support/mod.rs"]
mod support;
mod usage;
mod work;
