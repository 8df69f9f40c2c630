//! Placeholder.
mod connect;
#[cfg(all(feature = "devpg", unix))]
pub mod devpg;
mod error;
pub use connect::{connect, redacted};
pub use error::{Error, Result};
