//! Placeholder.
#[allow(dead_code, reason = "the runtime that takes pools and listeners from it comes next")]
mod connect;
#[cfg(all(feature = "devpg", unix))]
pub mod devpg;
mod error;
#[allow(dead_code, reason = "the store that renders its queries with it comes next")]
pub mod migrate;
pub use connect::{connect, redacted};
pub use error::{Error, Result};
