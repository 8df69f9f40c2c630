//! What is known to be safe, ready to be compared with: the code of a change or pattern never changes, so each is read once.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_postgres::Client;

use crate::json::Object;
use crate::similarity::Shingles;
use crate::store::{self, Known};
use crate::text::change_tokens;

/// What was read of it; which of it counts is asked each time.
#[derive(Default)]
pub(crate) struct KnownSafe {
    read: Mutex<HashMap<Known, Arc<Shingles<'static>>>>,
}

impl KnownSafe {
    /// The most that a change is like anything known to be safe.
    pub(crate) async fn likeness(&self, client: &Client, change: &Object) -> store::Result<f64> {
        let known = store::known_safe(client).await?;
        // Taken out at once: another worker, whose list is older, may forget what is new to it.
        let (mut those, mut missing) = (Vec::new(), Vec::new());
        {
            let read = self.lock();
            for name in &known {
                match read.get(name) {
                    Some(shingles) => those.push(Arc::clone(shingles)),
                    None => missing.push(*name),
                }
            }
        }
        if !missing.is_empty() {
            let code = store::known_safe_code(client, &missing).await?;
            let shingles = code.iter().map(|(name, code)| (*name, Arc::new(Shingles::of(change_tokens(code)))));
            let shingles: Vec<_> = shingles.collect();
            those.extend(shingles.iter().map(|(_, shingles)| Arc::clone(shingles)));
            let counts: HashSet<Known> = known.iter().copied().collect();
            let mut read = self.lock();
            read.retain(|name, _| counts.contains(name));
            read.extend(shingles);
        }
        let change = Shingles::of(change_tokens(change));
        Ok(those.iter().map(|one| change.likeness(one)).fold(0.0, f64::max))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Known, Arc<Shingles<'static>>>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
