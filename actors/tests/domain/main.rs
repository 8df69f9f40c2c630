//! Everything the evolution system decides without a database, and what it does to files and processes.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod batches;
mod blames;
mod breaches;
mod changes;
mod checks;
mod defects;
mod golden;
mod learned;
mod patterned;
mod profiles;
mod refusals;
mod repositories;
mod schemas;
mod scores;
mod support;
mod upgrades;
mod votes;
mod workspaces;
