//! A handler's verdict.

use std::{fmt, time::Duration};

/// A verdict other than done. Its text is kept with the message, cut at 4 KiB.
#[derive(Debug)]
pub struct Failure(pub(crate) Verdict);

#[derive(Debug)]
pub(crate) enum Verdict {
    Retry { error: String, delay: Option<Duration> },
    Snooze { delay: Duration },
    Dead { error: String },
}

impl Failure {
    /// Try again after the queue's backoff; counts as a try.
    pub fn retry(error: impl fmt::Display) -> Self {
        Self(Verdict::Retry { error: error.to_string(), delay: None })
    }

    /// Try again after this delay, in whole milliseconds, without jitter; counts as a try.
    pub fn retry_in(delay: Duration, error: impl fmt::Display) -> Self {
        Self(Verdict::Retry { error: error.to_string(), delay: Some(delay) })
    }

    /// Come back after this delay, in whole milliseconds; does not count as a try, so it may go on for ever.
    pub fn snooze(delay: Duration) -> Self {
        Self(Verdict::Snooze { delay })
    }

    /// Can never succeed: into the DLQ at once.
    pub fn dead(error: impl fmt::Display) -> Self {
        Self(Verdict::Dead { error: error.to_string() })
    }

    /// Why; empty for a snooze.
    pub fn error(&self) -> &str {
        match &self.0 {
            Verdict::Retry { error, .. } | Verdict::Dead { error } => error,
            Verdict::Snooze { .. } => "",
        }
    }

    /// Whether trying again is of no use.
    pub fn is_dead(&self) -> bool {
        matches!(self.0, Verdict::Dead { .. })
    }

    /// Whether it is no failed try, but comes back later.
    pub fn is_snooze(&self) -> bool {
        matches!(self.0, Verdict::Snooze { .. })
    }

    /// The delay that it asks for; none where the queue's backoff holds, or nothing is tried again.
    pub fn delay(&self) -> Option<Duration> {
        match self.0 {
            Verdict::Retry { delay, .. } => delay,
            Verdict::Snooze { delay } => Some(delay),
            Verdict::Dead { .. } => None,
        }
    }
}

/// `?` on an error means retry. (`Failure` itself is no `Error`, so that this can cover every error type.)
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(s) = source {
            let s_text = s.to_string();
            if !text.contains(&s_text) {
                text.push_str(": ");
                text.push_str(&s_text);
            }
            source = s.source();
        }
        Self::retry(text)
    }
}
