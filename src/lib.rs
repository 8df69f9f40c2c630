//! Placeholder map.

mod address;
pub mod admin;
#[cfg(feature = "cli")]
pub mod bench;
mod codec;
mod config;
mod connect;
#[cfg(all(feature = "devpg", unix))]
pub mod devpg;
mod dispatch;
mod error;
mod handler;
mod listen;
mod message;
pub mod migrate;
mod monitor;
mod pool;
mod publish;
mod runtime;
mod settle;
mod store;
mod supervise;
mod sweep;
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
    pub use crate::admin::LIST_MAX;
    pub use crate::config::{HEARTBEAT_MS_MAX, WORKERS_MAX};
    pub use crate::message::{
        DELAY_MAX, HEADERS_BYTES_MAX, INSTANCE_BYTES_MAX, KEY_BYTES_MAX, KIND_BYTES_MAX, QUEUE_BYTES_MAX,
    };
    pub use crate::publish::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX};
}
pub use publish::{Publisher, Receipt};
pub use runtime::{Builder, Runtime};
pub use supervise::TreeNode;
