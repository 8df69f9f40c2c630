//! Publishing at full rate while instances handle what comes.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use futures_util::future::try_join_all;

use super::{
    arena::{self, Arena, STOP},
    drain::Count,
};
use crate::Result;

/// Instances that handle, and workers of each.
const INSTANCES: usize = 2;
const WORKERS: usize = 16;
/// So long after the last publish nothing should be left.
const CAUGHT_UP_AFTER: Duration = Duration::from_secs(1);

/// Publishes by `publish` while the instances are at work, out of empty tables. Its answer, and how many messages were not settled a
/// second after it.
pub(super) async fn turn<T>(arena: &Arena, publish: impl AsyncFnOnce() -> Result<T>) -> Result<(T, i64)> {
    arena.empty().await?;
    let handled = Arc::new(AtomicUsize::new(0));
    let instances = try_join_all((0..INSTANCES).map(|number| {
        let handled = handled.clone();
        arena::serve(arena.instance(number), 1, WORKERS, move || Count { handled: handled.clone() })
    }));
    let instances = instances.await?;
    let sent = publish().await?;
    tokio::time::sleep(CAUGHT_UP_AFTER).await;
    let left = "SELECT (SELECT count(*) FROM {schema}.pgflow_ready) + (SELECT count(*) FROM {schema}.pgflow_active) \
                + (SELECT count(*) FROM {schema}.pgflow_scheduled)";
    let left = arena.count(left).await?;
    try_join_all(instances.into_iter().map(|instance| instance.stop(STOP))).await?;
    Ok((sent, left))
}
