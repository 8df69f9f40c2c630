//! Progress while the demo runs: events as lines, and on a terminal one more line that is written over and over.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Columns of the line that is written over; a longer one would wrap and stay.
const COLUMNS: usize = 79;

/// Where progress is shown: standard error, so that standard output holds the summary alone.
pub(crate) struct Live {
    begun: Instant,
    terminal: bool,
    status: Mutex<String>,
}

impl Live {
    /// Starts the clock.
    pub(crate) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { begun: Instant::now(), terminal, status: Mutex::default() }
    }

    /// Seconds since the start.
    pub(crate) fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// Something happened.
    pub(crate) fn event(&self, text: impl AsRef<str>) {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let line = format!("{:6.1} s  {}\n", self.seconds(), text.as_ref());
        self.write(&if self.terminal { format!("\r\x1b[2K{line}{status}") } else { line });
    }

    /// How things stand; shown on a terminal only.
    pub(crate) fn status(&self, text: impl AsRef<str>) {
        if !self.terminal {
            return;
        }
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        *status = format!("{:6.1} s  {}", self.seconds(), text.as_ref()).chars().take(COLUMNS).collect();
        self.write(&format!("\r\x1b[2K{status}"));
    }

    /// Takes the line away.
    pub(crate) fn end(&self) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if self.terminal && !status.is_empty() {
            self.write("\r\x1b[2K");
        }
        status.clear();
    }

    fn write(&self, text: &str) {
        // Nobody who closed standard error wants to hear of it.
        let mut out = std::io::stderr().lock();
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
    }
}
