//! What the handlers of a system in this process report: which messages they saw, and when.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::sync::mpsc;

use crate::peer::{Ball, Handled};

/// Shared by all handlers of one worker.
#[derive(Debug)]
pub(crate) struct Seen {
    /// One for each message of a known number of them.
    marks: Vec<AtomicBool>,
    calls: AtomicUsize,
    messages: AtomicUsize,
    starts: Option<mpsc::UnboundedSender<(u64, Instant)>>,
}

impl Seen {
    /// For a worker that is to see so many messages, numbered from 0; others are counted as calls only.
    pub(crate) fn backlog(messages: usize) -> Arc<Self> {
        let marks = std::iter::repeat_with(AtomicBool::default).take(messages).collect();
        Arc::new(Self { marks, calls: AtomicUsize::new(0), messages: AtomicUsize::new(0), starts: None })
    }

    /// For a worker whose every start is wanted.
    pub(crate) fn starts() -> (Arc<Self>, mpsc::UnboundedReceiver<(u64, Instant)>) {
        let (starts, received) = mpsc::unbounded_channel();
        let seen =
            Self { marks: Vec::new(), calls: AtomicUsize::new(0), messages: AtomicUsize::new(0), starts: Some(starts) };
        (Arc::new(seen), received)
    }

    /// The first line of every handler.
    pub(crate) fn start(&self, ball: &Ball) {
        if let Some(starts) = &self.starts {
            // Nobody waits for what comes after the last sample.
            let _ = starts.send((ball.n, Instant::now()));
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mark = usize::try_from(ball.n).ok().and_then(|n| self.marks.get(n));
        if mark.is_some_and(|mark| !mark.swap(true, Ordering::Relaxed)) {
            self.messages.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn handled(&self) -> Handled {
        Handled { calls: self.calls.load(Ordering::Relaxed), messages: self.messages.load(Ordering::Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fear: a message handled twice hides one that never was.
    #[test]
    fn a_message_counts_once() {
        let seen = Seen::backlog(2);
        for n in [0, 0, 7] {
            seen.start(&Ball::new(n, 100));
        }
        let handled = seen.handled();
        assert_eq!((handled.calls, handled.messages), (3, 1));
    }
}
