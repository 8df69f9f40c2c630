//! Placeholder.
#![allow(dead_code)]

mod codec;
mod config;
mod connect;
#[cfg(all(feature = "devpg", unix))]
pub mod devpg;
mod error;
mod message;
pub mod migrate;
mod store;

pub use codec::{Codec, DecodeError, Encoded};
pub use config::{Config, Queue};
pub use connect::{connect, redacted};
pub use error::{Error, Result};
pub use message::{Message, Outgoing, Priority};
