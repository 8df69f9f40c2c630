//! How one queue is served, and what its row is to say. The limits are those of the table (`sql/migrations/0001_tables.sql`).

use std::time::Duration;

use crate::{Error, Result, message};

/// Most workers of one queue.
pub const WORKERS_MAX: usize = 10_000;
/// Most redeliveries after the first try.
pub const RETRIES_MAX: u16 = 1_000;
/// The longest delay of a first retry: a day.
pub const RETRY_DELAY_FIRST_MAX: Duration = Duration::from_secs(86_400);
/// The longest delay of any retry: a week.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(7 * 86_400);
/// The most that a queue's payload limit may be, in bytes: 256 MiB.
pub const PAYLOAD_BYTES_MAX: u32 = 256 << 20;

/// How one queue is served.
#[derive(Clone, Debug)]
pub struct Queue {
    pub(crate) name: String,
    pub(crate) workers: usize,
    pub(crate) high_reserve: bool,
    pub(crate) deadline: Option<Duration>,
    pub(crate) max_retries: Option<i32>,
    pub(crate) retry_delay_ms: Option<i32>,
    pub(crate) retry_delay_ms_max: Option<i32>,
    pub(crate) payload_bytes_max: Option<i32>,
}

impl Queue {
    /// A queue with one worker, one more reserved for high priority, and no deadline.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            workers: 1,
            high_reserve: true,
            deadline: None,
            max_retries: None,
            retry_delay_ms: None,
            retry_delay_ms_max: None,
            payload_bytes_max: None,
        }
    }

    /// How many messages of any priority are handled at once, 1 to [`WORKERS_MAX`].
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Whether one more worker, on a thread of its own, takes only high-priority messages (default true).
    pub fn high_reserve(mut self, reserve: bool) -> Self {
        self.high_reserve = reserve;
        self
    }

    /// Cuts a handler at its next `.await` when it has run so long; the message is retried (`timed_out`). One that blocks its
    /// thread cannot be cut: a second later its message is retried all the same. Default: none.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Redeliveries after the first try, 0 to [`RETRIES_MAX`] (a new queue's default is 3: four tries). Written to the queue's row.
    pub fn max_retries(mut self, retries: u16) -> Self {
        self.max_retries = Some(i32::from(retries));
        self
    }

    /// The first retry's delay, at most [`RETRY_DELAY_FIRST_MAX`]; it doubles from there up to the maximum, at most [`RETRY_DELAY_MAX`], with ±10 % jitter (a new
    /// queue's defaults: 1 s, 60 s). Whole milliseconds. Written to the queue's row.
    pub fn retry_delay(mut self, first: Duration, max: Duration) -> Self {
        (self.retry_delay_ms, self.retry_delay_ms_max) = (Some(millis(first)), Some(millis(max)));
        self
    }

    /// The largest body in bytes, 1 to [`PAYLOAD_BYTES_MAX`] (a new queue's default: 1 MiB). Written to the queue's row.
    pub fn payload_bytes_max(mut self, bytes: u32) -> Self {
        self.payload_bytes_max = Some(i32::try_from(bytes).unwrap_or(i32::MAX));
        self
    }

    pub(crate) fn validate(&self) -> Result<()> {
        message::check_queue_name(&self.name)?;
        let fail = |why: String| Err(Error::config(format!("queue \"{}\"", self.name), why));
        if !(1..=WORKERS_MAX).contains(&self.workers) {
            return fail(format!("workers {} is not in 1..={WORKERS_MAX}", self.workers));
        }
        for (what, value, min, max) in [
            ("max_retries", self.max_retries, 0, i32::from(RETRIES_MAX)),
            ("retry_delay, first (ms)", self.retry_delay_ms, 0, millis(RETRY_DELAY_FIRST_MAX)),
            ("retry_delay, max (ms)", self.retry_delay_ms_max, 0, millis(RETRY_DELAY_MAX)),
            ("payload_bytes_max", self.payload_bytes_max, 1, i32::try_from(PAYLOAD_BYTES_MAX).unwrap_or(i32::MAX)),
        ] {
            if value.is_some_and(|value| !(min..=max).contains(&value)) {
                return fail(format!("{what} {} is not in {min}..={max}", value.unwrap_or_default()));
            }
        }
        match (self.retry_delay_ms, self.retry_delay_ms_max) {
            (Some(first), Some(max)) if first > max => {
                fail(format!("retry_delay: the first, {first} ms, is longer than the longest, {max} ms"))
            }
            _ => Ok(()),
        }
    }
}

/// As the row keeps it; what does not fit is over every limit.
fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}
