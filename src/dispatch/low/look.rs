//! Looks at the lanes, on connections of the claims: what the low-water marks move by.

use std::time::{Duration, Instant};

use deadpool_postgres::Pool;
use futures_util::FutureExt as _;
use ractor::ActorRef;

use super::{Look, Looked};
use crate::{
    Error, Result,
    connect::{ANSWER_MS_MAX, bounded, give_back},
    dispatch::{Group, Msg, State},
    store::Store,
};

/// First and longest wait for the transactions that a fence waits for, in ms.
const FENCE_WAIT_MS: u64 = 10;
const FENCE_WAIT_MS_MAX: u64 = 500;
/// How long a fence waits in all, in ms; behind a publisher that stays open the next one begins anew, and a look from the start that is
/// due comes between.
const FENCE_MS_MAX: u64 = 10_000;

impl State {
    /// Begins a look, if one is worth it.
    pub(in crate::dispatch) fn look_low(&mut self, myself: &ActorRef<Msg>) {
        // A look may take seconds: claims must have another connection.
        if !self.is_told() || self.wiring.pool.status().max_size < 2 {
            return;
        }
        let Some(look) = self.low.begin(Instant::now()) else { return };
        let (store, pool, myself) = (self.wiring.store.clone(), self.wiring.pool.clone(), myself.clone());
        tokio::spawn(async move {
            let found = run(&store, &pool, &look);
            let found = std::panic::AssertUnwindSafe(found).catch_unwind().await;
            // Whatever happens, an answer comes: without one there would be no other look.
            let found = found.unwrap_or_else(|_| Err(Error::state("move the low-water marks", "the look panicked")));
            let _ = myself.cast(Msg::LookedLow(Looked { look, found }));
        });
    }

    pub(in crate::dispatch) fn looked_low(&mut self, myself: &ActorRef<Msg>, looked: Looked) {
        for lane in self.low.looked(Instant::now(), looked) {
            self.look_again(myself, lane);
        }
    }

    /// Messages came back to their old places, of this lane from this one on; without one, we know not where.
    pub(in crate::dispatch) fn places_reused(&mut self, myself: &ActorRef<Msg>, first: Option<(i32, i64)>) {
        match first {
            Some((lane, place)) if self.low.returned(lane, place) => self.look_again(myself, lane),
            Some(_) => {}
            None => {
                self.low.reset();
                for queue in 0..self.queues.len() {
                    for group in [Group::High, Group::Rest] {
                        self.gate(queue, group).look();
                    }
                    self.turn(myself, queue);
                }
            }
        }
    }

    fn look_again(&mut self, myself: &ActorRef<Msg>, lane: i32) {
        if let Some((queue, group)) = self.serving(lane) {
            self.gate(queue, group).look();
            self.turn(myself, queue);
        }
    }
}

/// A fence waits until whoever could have drawn a smaller place is done; then it looks from the old marks on.
async fn run(store: &Store, pool: &Pool, look: &Look) -> Result<Vec<(i32, i64)>> {
    let phase = "move the low-water marks";
    let connection = async || pool.get().await.map_err(|e| Error::pool(phase, e));
    let writers_now = async |among: Option<&[String]>| {
        let c = connection().await?;
        let writers = bounded(phase, ANSWER_MS_MAX, store.ready_writers(&c, among)).await;
        give_back(c, writers.as_ref().err());
        writers
    };
    if !look.whole {
        let mut writers = writers_now(None).await?;
        let (begun, mut wait_ms) = (Instant::now(), FENCE_WAIT_MS);
        while !writers.is_empty() {
            if begun.elapsed() > Duration::from_millis(FENCE_MS_MAX) {
                let why = format!("publishers stayed open for {FENCE_MS_MAX} ms");
                return Err(Error::state(phase, why));
            }
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            wait_ms = (2 * wait_ms).min(FENCE_WAIT_MS_MAX);
            writers = writers_now(Some(&writers)).await?;
        }
    }
    // A later statement, whose snapshot holds what they have committed.
    let c = connection().await?;
    let found = bounded(phase, ANSWER_MS_MAX, store.first_places(&c, &look.lanes, &look.from)).await;
    give_back(c, found.as_ref().err());
    found
}
