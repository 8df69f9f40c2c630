//! PostgreSQL as the mailbox of an actor system: durable messages, wake-ups without polling, supervised workers.
//!
//! A message is a row. A trigger wakes a sleeping [`Runtime`] with NOTIFY, and only if one sleeps. A dispatcher claims as
//! many rows as there are idle workers, and a few more ahead of quick ones, high priority first. A worker runs your
//! [`Handler`]. The outcome goes back under the claim's token, or inside the handler's own transaction.
//!
//! Start with [`Message`], [`Handler`] and [`Runtime`]; a program that only sends needs a [`Publisher`]; an operator's
//! program, an [`Admin`]; a test of a handler, [`testing`]. `examples/embed.rs` is a whole program.
//!
//! # The way of a message
//!
//! One direction, one file a step; a step knows nothing of those after it.
//!
//! ```text
//! publish ─► row in ready ─► trigger: does somebody sleep? ─► NOTIFY ─► listen
//!                                                                          │ wake
//!    settle ◄── outcome ── worker ◄── delivery ── pool ◄── deliveries ── dispatch
//!      │                                                    (claim: ready ─► active)
//!      ├─► history     done, cancelled
//!      ├─► scheduled   retry, snooze ── sweep, when due ─► ready
//!      ├─► parked      nobody here can read it ── sweep ─► ready, addressed to one who can
//!      ├─► ready       handed back unstarted, same place, same attempt
//!      └─► dlq         dead
//! ```
//!
//! With a spool, and while Postgres is away, a publish ends in a file, and `forward` brings it into the tables later.
//!
//! What flows back up is small, and its type belongs to the lower file: `worker::Finished` (a worker is idle),
//! `pool::Demand` (so many are), `ahead::RunsLow` (what was claimed ahead does), `settle::CaughtUp` (with the outcomes),
//! `dispatch::ToListener` (arm, hand over), `publish::Nudge` (this process published),
//! `listen::Signal` (what a heartbeat found), `dispatch::Doubt` (a claim's answer was lost).
//!
//! # Layers
//!
//! A file may use only what stands above it, or before it in its own line; `tests/layers.rs` reads the imports.
//!
//! ```text
//! vocabulary   error · codec · message · config · address
//! storage      connect · migrate · store (all SQL: one statement a file in sql/queries) · devpg
//! edges        spool (the journal alone) · publish · handler
//! stages       settle · ahead · worker · pool · dispatch · listen · sweep · forward
//! assembly     supervise · monitor · runtime · admin
//! surfaces     testing · web · bench · the command `pgflow` (these three behind the feature `cli`) · this file
//! ```
//!
//! # Invariants
//!
//! 1. A message is one row in exactly one of ready, scheduled, parked, active, history, dlq. Every move is one statement
//!    or one transaction.
//! 2. `ready` holds only rows that whoever serves their lane may claim now: a claim's predicate skips nothing.
//! 3. Nothing leaves `active` but under the token of its claim, or by a rescue or a crash of the server that forgets the claim,
//!    which make the token stale. A settle that matches no row changes nothing, and is counted.
//! 4. A claimed row is in the ledger of its process until its outcome is committed or known to be fenced. A delivery that
//!    is dropped, whatever actor died with it, settles itself.
//! 5. Never more rows are claimed than idle workers were offered, but for some normal ones of a queue's backlog (8 for each
//!    worker, 256 at most), ahead of workers that are quick. These go back, attempt unchanged, when the first has waited 20 ms, at a pause and at
//!    a stop. Nothing else waits claimed.
//! 6. High before normal before low, in a claim, at a wake, among connections and workers. No wait of ours stands between
//!    a high message and the worker kept for it.
//! 7. A runtime with demand sleeps on a lane only after a scan that came after its arm request, in a later statement, and
//!    with no wake since the request (the proof is in ARCHITECTURE.md). Whoever others sleep behind hands over before it has
//!    no worker left for the lane.
//! 8. A claim locks only the rows that it takes; a claim that failed tells the others.
//! 9. The head of an ordering key is looked up only after its key's row was locked, in a later statement.
//! 10. Only the server's clock decides when a message is due or an instance dead; of a delay that was spooled, what its producer's
//!     clock says is left.
//!
//! 11. With a spool, a publish goes past it only if nothing waits in it; a record stops waiting only when the COMMIT that
//!     forwards it was answered, and that transaction also says how far the spool is forwarded. A message whose publish was not answered is
//!     looked for only when that publish can no longer come.
//!
//! Some are about what is absent:
//!
//! 12. No polling loop: an idle instance runs one heartbeat statement and nothing else. (Mode `poll` is the exception.)
//! 13. No statement outside `store`, `migrate` and the bench names a table. No handler can take a connection that claims.
//! 14. The listener's connection never runs a transaction but the short one that registers it: it would pin vacuum.
//! 15. No handler runs in the control plane's tasks: it runs on the runtime that called [`Builder::start`], or, for a high
//!     message, on a thread of its own, and so does the closure that builds it.
//! 16. No environment variable is read but by `devpg` and the command, no logger installed, and no recorder of metrics but by
//!     `web`: those are the program's.
//! 17. No type of ractor, the actor library, is in the public API. No `unsafe`.
//!
//! # Errors and cancellation
//!
//! [`Error`] says the phase, the object and the cause in its text, and answers three questions: did the caller err
//! ([`Error::is_input`]), is a setting wrong ([`Error::is_config`]), may the same call succeed later
//! ([`Error::is_closed`]). A handler's verdict is no error: see [`Failure`].
//!
//! A call that reads may be dropped at any time. Dropping one that writes leaves it open whether it was done; each such
//! call says so. Repeating is safe where a dedup key or an id makes it so.
//!
//! Metrics and log targets: `docs/OPERATIONS.md` has every name in one table.

mod address;
pub mod admin;
mod ahead;
#[cfg(feature = "cli")]
pub mod bench;
mod codec;
mod config;
mod connect;
#[cfg(all(feature = "devpg", unix))]
pub mod devpg;
mod dispatch;
mod error;
mod forward;
mod handler;
mod listen;
mod message;
pub mod migrate;
mod monitor;
mod pool;
mod publish;
mod runtime;
mod settle;
pub mod spool;
mod store;
mod supervise;
mod sweep;
pub mod testing;
#[cfg(feature = "cli")]
pub mod web;
mod worker;

pub use admin::Admin;
pub use codec::{Codec, DecodeError, Encoded};
pub use config::{Config, Queue};
pub use connect::{connect, redacted};
pub use error::{Error, Result};
pub use handler::{AnyHandler, Context, Failure, Handler, Incoming};
pub use message::{Message, Outgoing, Priority};

/// Every limit that a user can meet.
pub mod limits {
    pub use crate::admin::{ALERT_BYTES_MAX, ALERT_DETAIL_BYTES_MAX, ALERT_SUBJECT_BYTES_MAX, LIST_MAX};
    pub use crate::config::{
        ADDRESSEE_TTL_MS_MAX, HEARTBEAT_MS_MAX, LEASE_MS_MAX, PAYLOAD_BYTES_MAX, RESCUE_GRACE_MS_MAX, RETRIES_MAX,
        RETRY_DELAY_FIRST_MAX, RETRY_DELAY_MAX, SPOOL_BYTES_MAX, SPOOL_MESSAGES_MAX, UNKNOWN_GRACE_MS_MAX, WORKERS_MAX,
    };
    pub use crate::message::{
        DELAY_MAX, HEADERS_BYTES_MAX, INSTANCE_BYTES_MAX, KEY_BYTES_MAX, KIND_BYTES_MAX, QUEUE_BYTES_MAX,
    };
    pub use crate::publish::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX};
}
pub use publish::{Durable, Publisher, Receipt};
pub use runtime::{Builder, Runtime};
pub use supervise::TreeNode;
