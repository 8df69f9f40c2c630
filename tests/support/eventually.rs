//! Tests wait for facts, never for time.

use std::panic::Location;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(5);

/// What may be true in a while: a `bool`, or an `Option` whose content the test goes on with.
pub trait Fact {
    type Value;
    fn value(self) -> Option<Self::Value>;
}

impl Fact for bool {
    type Value = ();
    fn value(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Fact for Option<T> {
    type Value = T;
    fn value(self) -> Self {
        self
    }
}

/// Asks again and again until the fact holds; panics at the caller's line if it does not within `limit`.
#[track_caller]
pub fn eventually<F, A, T>(limit: Duration, mut ask: F) -> impl Future<Output = T::Value>
where
    F: FnMut() -> A,
    A: Future<Output = T>,
    T: Fact,
{
    let caller = Location::caller();
    async move {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(value) = ask().await.value() {
                return value;
            }
            assert!(Instant::now() < deadline, "not true within {limit:?}: the fact at {caller}");
            tokio::time::sleep(POLL).await;
        }
    }
}
