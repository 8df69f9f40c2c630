//! Which lane a message goes into: asked once per queue, then kept.
//!
//! Keeping is safe because a lane id never changes its meaning. A queue that was deleted meanwhile has closed its lanes,
//! and the INSERT itself asks for that: it writes no row, the kept answer is forgotten, and the next look says "unknown".
//! So it is with a lane's fence, which a forwarder raises to be sure that an unanswered INSERT will not come late.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use deadpool_postgres::GenericClient;

use crate::{
    Error, Result,
    message::{Outgoing, Priority},
    store::{Lane, QueueLanes, Store, Way},
};

/// Most queues, and most addressed lanes of one queue, that are kept; over it all are forgotten and asked again.
const KEPT_MAX: usize = 10_000;

/// What is known of the queues.
#[derive(Debug, Default)]
pub(super) struct LaneBook {
    queues: RwLock<HashMap<String, Arc<Known>>>,
}

#[derive(Debug)]
struct Known {
    queue: QueueLanes,
    addressed: RwLock<HashMap<(i16, String), Lane>>,
}

impl LaneBook {
    /// The lane of this message.
    ///
    /// # Errors
    /// When the queue is unknown, or the body over its limit.
    pub(super) async fn way<C: GenericClient>(&self, store: &Store, c: &C, out: &Outgoing) -> Result<Way> {
        let mut known = self.known(store, c, &out.queue).await?;
        if check_payload(out, known.queue.payload_bytes_max).is_err() {
            // The limit may have been raised since.
            self.forget(&out.queue);
            known = self.known(store, c, &out.queue).await?;
            check_payload(out, known.queue.payload_bytes_max)?;
        }
        let lane = match &out.target {
            None => {
                known.queue.common[match out.priority {
                    Priority::High => 0,
                    Priority::Normal => 1,
                    Priority::Low => 2,
                }]
            }
            Some(target) => known.addressed(store, c, out.priority.class(), target).await?,
        };
        Ok(Way { queue_id: known.queue.queue_id, lane })
    }

    /// The payload limit of a queue, if it is known here. It may have been changed since.
    pub(super) fn payload_limit(&self, queue: &str) -> Option<i32> {
        let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
        queues.get(queue).map(|known| known.queue.payload_bytes_max)
    }

    /// Forgets one queue.
    pub(super) fn forget(&self, queue: &str) {
        self.queues.write().unwrap_or_else(PoisonError::into_inner).remove(queue);
    }

    async fn known<C: GenericClient>(&self, store: &Store, c: &C, queue: &str) -> Result<Arc<Known>> {
        if let Some(known) = self.queues.read().unwrap_or_else(PoisonError::into_inner).get(queue) {
            return Ok(Arc::clone(known));
        }
        let found = store.find_queue(c, queue).await?.ok_or_else(|| unknown_queue(queue))?;
        let known = Arc::new(Known { queue: found, addressed: RwLock::default() });
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        if queues.len() >= KEPT_MAX {
            queues.clear();
        }
        queues.insert(queue.to_owned(), Arc::clone(&known));
        Ok(known)
    }
}

impl Known {
    async fn addressed<C: GenericClient>(&self, store: &Store, c: &C, class: i16, target: &str) -> Result<Lane> {
        let key = (class, target.to_owned());
        if let Some(lane) = self.addressed.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(*lane);
        }
        let lane = store.lane(c, self.queue.queue_id, class, target).await?;
        let mut addressed = self.addressed.write().unwrap_or_else(PoisonError::into_inner);
        if addressed.len() >= KEPT_MAX {
            addressed.clear();
        }
        addressed.insert(key, lane);
        Ok(lane)
    }
}

pub(super) fn unknown_queue(queue: &str) -> Error {
    Error::unknown_queue(
        format!("publish to \"{queue}\""),
        format!("unknown queue \"{queue}\": make it with `pgflow queue create {queue}`"),
    )
}

pub(super) fn check_payload(out: &Outgoing, max: i32) -> Result<()> {
    if usize::try_from(max).is_ok_and(|max| out.body.len() <= max) {
        return Ok(());
    }
    Err(Error::input(
        format!("publish to \"{}\"", out.queue),
        format!("the payload has {} bytes, the queue takes at most {max}", out.body.len()),
    ))
}
