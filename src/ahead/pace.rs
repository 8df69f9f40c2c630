//! How fast a queue's workers go through messages. Pure.

use std::time::{Duration, Instant};

/// How far it looks back: once to twice so long. As many messages may wait as were run in so long.
pub(super) const SPAN: Duration = Duration::from_millis(4);
/// A worker that takes longer on average is not quick.
const QUICK: Duration = Duration::from_millis(1);
/// Fewer runs in a span say nothing.
const RUNS_MIN: u32 = 8;

/// Runs that ended within a span, and the time they took together.
#[derive(Clone, Copy, Debug, Default)]
struct Runs {
    number: u32,
    took: Duration,
}

impl Runs {
    fn quick(self) -> u32 {
        if self.number >= RUNS_MIN && self.took <= QUICK * self.number { self.number } else { 0 }
    }
}

/// The runs of this span and of the one before. Only workers that were busy count in it: one that hangs adds nothing.
#[derive(Debug, Default)]
pub(super) struct Pace {
    began: Option<Instant>,
    this: Runs,
    last: Runs,
}

impl Pace {
    /// A run took so long.
    pub(super) fn ran(&mut self, now: Instant, took: Duration) {
        self.turn_over(now);
        self.this.number += 1;
        self.this.took += took;
    }

    /// How many messages quick workers go through in a span, by the last two; 0 when they are not quick.
    pub(super) fn per_span(&mut self, now: Instant) -> usize {
        self.turn_over(now);
        // One of them slow: not quick.
        let slow = [self.this, self.last].iter().any(|r| r.took > QUICK * r.number);
        if slow { 0 } else { self.this.quick().max(self.last.quick()) as usize }
    }

    fn turn_over(&mut self, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let age = now.saturating_duration_since(began);
        if age >= SPAN {
            self.last = if age < 2 * SPAN { self.this } else { Runs::default() };
            self.this = Runs::default();
            self.began = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Duration = Duration::from_micros(1);

    fn after(runs: u32, each: Duration) -> (Pace, Instant) {
        let (mut pace, now) = (Pace::default(), Instant::now());
        (0..runs).for_each(|_| pace.ran(now, each));
        (pace, now)
    }

    /// Fear: messages are claimed ahead of workers that are slow, or of whom nothing is known.
    #[test]
    fn slow_or_unknown_workers_have_no_pace() {
        let (mut pace, now) = after(RUNS_MIN - 1, 100 * US);
        assert_eq!(pace.per_span(now), 0, "too few to tell");
        let (mut pace, now) = after(100, QUICK + US);
        assert_eq!(pace.per_span(now), 0);
        let (mut pace, now) = after(100, QUICK);
        assert_eq!(pace.per_span(now), 100);
        pace.ran(now, 100 * QUICK);
        assert_eq!(pace.per_span(now), 0, "one that was slow counts by its time");
    }

    /// Fear: what they did a while ago is taken for what they do.
    #[test]
    fn a_pace_is_forgotten_in_two_spans() {
        let (mut pace, now) = after(20, 100 * US);
        assert_eq!(pace.per_span(now + SPAN), 20);
        pace.ran(now + SPAN, 100 * US);
        assert_eq!(pace.per_span(now + SPAN), 20, "this span has only begun");
        assert_eq!(pace.per_span(now + 2 * SPAN), 0);
        let (mut pace, now) = after(20, 100 * US);
        assert_eq!(pace.per_span(now + 2 * SPAN), 0);
    }
}
