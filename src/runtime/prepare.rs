//! What a start does in the database before its actors: schema, queues and session looked at; connections opened.

use std::sync::Arc;

use deadpool_postgres::Pool;

use crate::{
    Config, Error, Queue, Result,
    connect::{ANSWER_MS_MAX, bounded, give_back, redacted},
    handler::Registry,
    migrate,
    store::{QueueFacts, Store},
};

/// Most connections that are opened before they are needed: for a claim and a settle.
const WARM_CONNECTIONS_MAX: usize = 2;

/// Checks the schema, makes missing queues, draws a session.
pub(super) async fn prepare(
    store: &Store,
    pool: &Pool,
    config: &Config,
    queues: &[(Queue, Registry)],
) -> Result<(i32, Vec<QueueFacts>)> {
    let c = pool.get().await.map_err(|e| Error::pool(format!("start: connect to {}", redacted(&config.url)), e))?;
    migrate::check(&c, &config.schema).await?;
    store.ensure_partitions(&c).await?;
    let names: Vec<String> = queues.iter().map(|(q, _)| q.name.clone()).collect();
    let before = store.queue_facts(&c, &names, &config.instance).await?;
    for (queue, _) in queues {
        if store.create_queue(&c, queue).await? {
            tracing::info!(target: "pgflow::dispatch", queue = queue.name, "queue made: there was none of this name");
        }
    }
    let mut facts = store.queue_facts(&c, &names, &config.instance).await?;
    if facts != before {
        // Others go by what they have read: they must not claim ahead of a queue that has no retries any more.
        store.notify_ctl(&c).await?;
    }
    // The pools are numbered by the builder's order.
    facts.sort_by_key(|f| names.iter().position(|n| *n == f.name));
    if let Some(gone) = names.iter().find(|name| facts.iter().all(|f| f.name != **name)) {
        return Err(Error::state(format!("start: queue \"{gone}\""), "it was deleted meanwhile: start again"));
    }
    Ok((store.new_session(&c).await?, facts))
}

/// Has up to so many connections opened, and the hot statements prepared on them, while the listener connects: the first claims and
/// settles wait for neither. Somebody's lock on a table may hold them up; what fails here fails again where it is needed, and is said there.
pub(super) fn warm_up(store: &Arc<Store>, pool: &Pool, connections: usize) {
    for _ in 0..connections.min(WARM_CONNECTIONS_MAX) {
        let (store, pool) = (store.clone(), pool.clone());
        tokio::spawn(async move {
            if let Ok(c) = pool.get().await {
                let prepared = bounded("start: prepare statements", ANSWER_MS_MAX, store.prepare_hot(&c)).await;
                give_back(c, prepared.as_ref().err());
            }
        });
    }
}
