//! What a command answers on standard output.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _, stdout};

use anyhow::{Context as _, Result};

/// Writes a line, flushed. That its reader has left is no failure, as in `evolution list | head`; a full disk is one.
pub(crate) fn out(line: impl Display) -> Result<()> {
    let mut stdout = stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("write to standard output"),
        _ => Ok(()),
    }
}
