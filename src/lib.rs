//! Placeholder.
#[cfg(all(feature = "devpg", unix))]
pub mod devpg;
mod error;
pub use error::{Error, Result};
