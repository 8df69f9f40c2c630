//! Messages that may be in Postgres already: their publish was sent and not answered, or the folder forgot how far it was forwarded.
//!
//! Invariant: a message is looked for only when its unanswered INSERT can no longer come. That INSERT may still lie unread in the
//! server's socket, or run, when we are back; so a look alone would race with it. First the fence of its lane is raised: a statement that
//! reads the lane from then on finds another fence than it brings, and writes nothing. One that has read it before holds the locks
//! of the tables that it writes (it takes them first, or asks again when it has them), until its transaction ends: for those the forwarder
//! waits. What is not in the tables then, never will be. A batch needs no fence: its doubt begins at its COMMIT, when it holds its locks.

use std::{collections::HashSet, time::Duration};

use deadpool_postgres::Object;
use uuid::Uuid;

use super::{Addressed, Forward};
use crate::Result;

/// How far this machine's clock may be ahead of the server's, in ms: what was created longer than that before the publish is another
/// message, of the same id.
const CLOCK_AHEAD_MS_MAX: u64 = 7_200_000;
/// Time between two looks at the transactions that still publish, in ms; it doubles.
const LOOK_MS: u64 = 5;
/// The longest such time, in ms.
const LOOK_MS_MAX: u64 = 200;

impl Forward {
    /// The ids of the doubtful messages among these that are in the tables.
    pub(super) async fn already_there(
        &self,
        c: &Object,
        batch: &[Addressed],
        doubtful_to: u64,
    ) -> Result<HashSet<Uuid>> {
        let doubtful = |to: &&Addressed| to.record.entry.doubtful || to.record.number <= doubtful_to;
        let doubted: Vec<&Addressed> = batch.iter().filter(doubtful).collect();
        let Some(since_ms) = doubted.iter().map(|to| to.record.entry.published_ms).min() else {
            return Ok(HashSet::new());
        };
        let mut lanes: Vec<i32> = doubted.iter().map(|to| to.way.lane.id).collect();
        lanes.sort_unstable();
        lanes.dedup();
        self.store.raise_fences(c, &lanes).await?;
        let mut writers = self.store.publishing(c, None).await?;
        let mut look_ms = LOOK_MS;
        while !writers.is_empty() {
            tokio::time::sleep(Duration::from_millis(look_ms)).await;
            look_ms = (2 * look_ms).min(LOOK_MS_MAX);
            writers = self.store.publishing(c, Some(&writers)).await?;
        }
        let ids: Vec<Uuid> = doubted.iter().map(|to| to.record.entry.message_id).collect();
        let kinds: Vec<&str> = doubted.iter().map(|to| to.record.entry.kind.as_str()).collect();
        let since_ms = i64::try_from(since_ms.saturating_sub(CLOCK_AHEAD_MS_MAX)).unwrap_or(i64::MAX);
        Ok(self.store.find_published(c, &ids, &kinds, since_ms).await?.into_iter().collect())
    }
}
