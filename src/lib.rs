//! Placeholder.
#![allow(dead_code)]

mod codec;
mod config;
mod error;
mod message;
mod migrate;
mod publish;
mod store;

pub use codec::{Codec, DecodeError, Encoded};
pub use config::{Config, Queue};
pub use error::{Error, Result};
pub use message::{Message, Outgoing, Priority};
pub use publish::{Publisher, Receipt};
