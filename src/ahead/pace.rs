//! How fast a queue's workers go through messages. Pure.

use std::time::{Duration, Instant};

/// How far it looks back: once to twice so long.
const SPAN: Duration = Duration::from_millis(100);
/// A worker that takes longer on average is not quick: longer than what is claimed ahead should wait.
pub(super) const QUICK: Duration = super::AHEAD_FOR;
/// Fewer runs in a span say nothing.
pub(super) const RUNS_MIN: u32 = 8;

/// Runs that ended within a span, and the time they took together.
#[derive(Clone, Copy, Debug, Default)]
struct Runs {
    number: u32,
    took: Duration,
}

impl Runs {
    fn and(self, other: Self) -> Self {
        Self { number: self.number + other.number, took: self.took + other.took }
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
        self.this = self.this.and(Runs { number: 1, took });
    }

    /// How long a quick worker's run takes on average, by the last two spans; none when they are not quick.
    pub(super) fn each(&mut self, now: Instant) -> Option<Duration> {
        self.turn_over(now);
        // One of them slow: not quick.
        let slow = [self.this, self.last].iter().any(|r| r.took > QUICK * r.number);
        let runs = self.this.and(self.last);
        (!slow && runs.number >= RUNS_MIN).then(|| runs.took / runs.number)
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
        assert_eq!(pace.each(now), None, "too few to tell");
        let (mut pace, now) = after(RUNS_MIN, QUICK + US);
        assert_eq!(pace.each(now), None);
        let (mut pace, now) = after(RUNS_MIN, QUICK);
        assert_eq!(pace.each(now), Some(QUICK));
        pace.ran(now, 100 * QUICK);
        assert_eq!(pace.each(now), None, "one that was slow counts by its time");
        let (mut pace, now) = after(100, US);
        pace.ran(now + SPAN, QUICK + US);
        assert_eq!(pace.each(now + SPAN), None, "quick a while ago, and slow now");
    }

    /// Fear: what they did a while ago is taken for what they do.
    #[test]
    fn a_pace_is_forgotten_in_two_spans() {
        let (mut pace, now) = after(20, 100 * US);
        pace.ran(now + SPAN, 310 * US);
        assert_eq!(pace.each(now + SPAN), Some(110 * US), "this span has only begun");
        assert_eq!(pace.each(now + 2 * SPAN), None);
        let (mut pace, now) = after(20, 100 * US);
        assert_eq!(pace.each(now + 2 * SPAN), None);
    }
}
