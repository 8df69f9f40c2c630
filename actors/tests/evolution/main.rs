//! The whole system against a real Postgres: central and instances as runtimes of one process, each with a workspace.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod alarms;
mod bench;
mod conflicts;
mod documented;
mod down;
mod hooks;
mod interrupted;
mod learned;
mod load;
mod neighbours;
mod proposals;
mod queueing;
mod roles;
mod settings;
mod solo;
mod stage;
mod states;
#[path = "../../../tests/support/mod.rs"]
mod support;
mod tables;
mod timers;
mod traces;
mod transports;
mod upstream;
mod versions;
mod votes;
