//! From posted to delivered: a letter waits until its sender's transaction has committed. One way for every sender: nobody has
//! to say that it committed, and nobody can forget to.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Held, Posted};
use crate::store::{Database, XactEnd, xact_end};

/// How soon an open transaction is asked for again; doubles up to the maximum, and begins anew with every letter. Nothing is
/// asked while no letter waits.
const PAUSE: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// How soon after the database did not answer.
const AWAY_PAUSE: Duration = Duration::from_millis(500);

/// Runs until there is no sender any more.
pub(super) async fn watch(mut posted: mpsc::UnboundedReceiver<Posted>, database: Database, deliver: impl Fn(Held)) {
    let mut waiting: Vec<Posted> = Vec::new();
    let mut pause = PAUSE;
    loop {
        let next = if waiting.is_empty() {
            posted.recv().await
        } else {
            match tokio::time::timeout(pause, posted.recv()).await {
                Ok(next) => next,
                Err(_) => {
                    pause = (2 * pause).min(PAUSE_MAX);
                    look(&database, &mut waiting, &deliver).await;
                    continue;
                }
            }
        };
        let Some(first) = next else { return };
        waiting.push(first);
        while let Ok(more) = posted.try_recv() {
            waiting.push(more);
        }
        pause = PAUSE;
        look(&database, &mut waiting, &deliver).await;
    }
}

/// Delivers, in the order they were posted, what was committed; drops what was not; leaves what is open.
async fn look(database: &Database, waiting: &mut Vec<Posted>, deliver: &impl Fn(Held)) {
    let ends = match ask(database, waiting).await {
        Ok(ends) => ends,
        Err(error) => {
            tracing::warn!(target: "evolution", %error, letters = waiting.len(), "letters in memory wait for the database");
            return tokio::time::sleep(AWAY_PAUSE).await;
        }
    };
    for one in std::mem::take(waiting) {
        match ends.get(&one.xact).copied().unwrap_or(XactEnd::Open) {
            XactEnd::Open => waiting.push(one),
            XactEnd::Committed => deliver(one.held),
            XactEnd::Aborted => {}
            XactEnd::Unknown => {
                let kind = one.held.letter.kind;
                tracing::error!(target: "evolution", kind, xact = one.xact, "a message in memory is lost: nobody knows whether its transaction committed");
            }
        }
    }
}

async fn ask(database: &Database, waiting: &[Posted]) -> anyhow::Result<HashMap<String, XactEnd>> {
    let client = database.client().await?;
    let mut ends = HashMap::new();
    for one in waiting {
        if !ends.contains_key(&one.xact) {
            ends.insert(one.xact.clone(), xact_end(&*client, &one.xact).await?);
        }
    }
    Ok(ends)
}
