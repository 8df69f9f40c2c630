//! The system as it is deployed: every role a process of its own, killed and started again while it works.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod chance;
mod judge;
mod kills;
mod ledger;
mod poison;
mod processes;
mod program;
mod script;
#[path = "../../../tests/support/mod.rs"]
mod support;
mod upgrade;
mod whole;
