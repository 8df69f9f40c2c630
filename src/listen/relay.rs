//! Who hears publishers, and who is told by whom: arm, hand over, relay (W1-W3, W12).
//!
//! A key's publishers are heard by its sentinel alone. Those who follow are enlisted for their lanes, by a lock that ends with their
//! session; of each lane one of them is told when the sentinel lets go, and of what it hears and has no use for. Whoever is told
//! takes its place, or tells the next.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{Listener, State, limited, turns::SILENT_MS_BEFORE_TURN};
use crate::{
    Result, dispatch,
    dispatch::WAKE_KEYS,
    store::{Armed, HandOver},
};

impl Listener {
    pub(super) async fn arm(&self, number: u64, keys: &[i32], lanes: &[i32], state: &mut State) -> Result<()> {
        let Some(session) = state.session.as_ref().filter(|_| state.holds) else { return Ok(()) };
        let mut answers = Vec::with_capacity(keys.len());
        let (mut missing, mut lasting) = (Vec::new(), Vec::new());
        for key in keys.iter().copied() {
            // An advisory lock counts its takers: one that we hold (a takeover came between) must not be taken twice.
            if state.held.contains(&key) {
                answers.push((key, Armed::Held));
            } else if state.turns.wait_for(key) {
                answers.push((key, Armed::Queued));
            } else {
                missing.push(key);
            }
        }
        if !missing.is_empty() {
            let (mut armed, mut followed) = (Vec::new(), Vec::new());
            let unlisted: Vec<i32> = lanes.iter().copied().filter(|l| !state.enlisted.contains(l)).collect();
            let now = Instant::now();
            for (key, answer) in limited("arm", session.arm(&missing, &unlisted)).await? {
                match answer {
                    Armed::Held => armed.push(key),
                    Armed::Followed => followed.push(key),
                    Armed::Queued | Armed::Silent => {}
                }
                if answer != Armed::Held {
                    state.enlisted.extend(unlisted.iter().filter(|l| *l % WAKE_KEYS == key));
                }
                if state.turns.answered(key, answer, now) {
                    lasting.push(key);
                }
                answers.push((key, answer));
            }
            state.held.extend(&armed);
            self.hear(&armed, lanes.to_vec(), state).await?;
            self.ignore(&followed, state).await?;
        }
        self.wiring.dispatcher.signal(dispatch::Msg::Armed(number, answers));
        self.queue_for(lasting, state).await
    }

    /// Queues for those of the keys that one publisher keeps silent (W6).
    async fn queue_for(&self, lasting: Vec<i32>, state: &mut State) -> Result<()> {
        let Some(session) = state.session.as_ref().filter(|_| !lasting.is_empty()) else { return Ok(()) };
        let open = session.open_publishers(&self.wiring.store, &lasting, SILENT_MS_BEFORE_TURN);
        let open = limited("open publishers", open).await?;
        state.turns.due(lasting, &open, Instant::now());
        Ok(())
    }

    /// LISTENs to the publishers of keys that we hold, or queue for. What was announced since we got the lock nobody heard: a scan
    /// of ours that comes later finds it in the lanes `scanned`, and of each other lane one follower is told.
    pub(super) async fn hear(&self, keys: &[i32], scanned: Vec<i32>, state: &mut State) -> Result<()> {
        let Some(session) = &state.session else { return Ok(()) };
        let unheard: Vec<i32> = keys.iter().copied().filter(|k| state.heard.insert(*k)).collect();
        if unheard.is_empty() {
            return Ok(());
        }
        let channels: Vec<String> = unheard.iter().map(|k| self.channel(k)).collect();
        limited("LISTEN", session.listen(&channels)).await?;
        self.tell_all_on(unheard, scanned, state).await
    }

    /// A sentinel that is frozen or cut off hears for nobody, until its lease is over or the server finds it gone: we hear its
    /// publishers, too, so long.
    pub(super) async fn distrust(&self, keys: &[i32], state: &mut State) -> Result<()> {
        let now = Instant::now();
        state.distrusted.extend(keys.iter().map(|k| (*k, now)));
        self.hear(keys, Vec::new(), state).await
    }

    /// Another hears the publishers of these keys.
    async fn ignore(&self, keys: &[i32], state: &mut State) -> Result<()> {
        let Some(session) = &state.session else { return Ok(()) };
        let lease = Duration::from_millis(u64::try_from(self.wiring.lease_ms).unwrap_or(u64::MAX));
        state.distrusted.retain(|_, since| since.elapsed() < lease);
        let trusted = keys.iter().filter(|k| !state.distrusted.contains_key(k));
        let channels: Vec<String> = trusted.filter(|k| state.heard.remove(k)).map(|k| self.channel(k)).collect();
        if channels.is_empty() { Ok(()) } else { limited("UNLISTEN", session.unlisten(&channels)).await }
    }

    /// Tells one follower of each lane on the keys but those.
    pub(super) async fn tell_all_on(&self, all_on: Vec<i32>, but: Vec<i32>, state: &State) -> Result<()> {
        self.hand_over(HandOver { all_on, but, ..HandOver::default() }, state).await.map(drop)
    }

    /// Keys and lanes are no longer wanted. `on_duty`: one follower is told of each lane, whoever holds its key.
    pub(super) async fn give_up(
        &self,
        keys: Vec<i32>,
        lanes: Vec<i32>,
        on_duty: bool,
        state: &mut State,
    ) -> Result<()> {
        let keys: Vec<i32> = keys.into_iter().filter(|k| state.held.remove(k)).collect();
        let mut concerned: HashSet<i32> = lanes.iter().map(|l| l % WAKE_KEYS).chain(keys.iter().copied()).collect();
        let leaves: Vec<i32> = lanes.iter().copied().filter(|l| state.enlisted.remove(l)).collect();
        let lanes = if on_duty { lanes } else { Vec::new() };
        let told =
            self.hand_over(HandOver { all_on: keys.clone(), keys: keys.clone(), leaves, lanes, but: vec![] }, state);
        let told = told.await?;
        // With nobody to follow us we shall be sentinel again soon.
        concerned.retain(|k| !state.held.contains(k) && (told.contains(k) || !keys.contains(k)));
        self.ignore(&concerned.into_iter().collect::<Vec<_>>(), state).await
    }

    /// Lets keys go that will be armed anew soon; the lanes are looked at meanwhile.
    pub(super) async fn linger(&self, keys: Vec<i32>, lanes: Vec<i32>, state: &mut State) -> Result<()> {
        let keys: Vec<i32> = keys.into_iter().filter(|k| state.held.remove(k)).collect();
        self.hand_over(HandOver { all_on: keys.clone(), keys, but: lanes, ..HandOver::default() }, state)
            .await
            .map(drop)
    }

    /// Passes on what was announced to us. If we are no longer sentinel, one was told when we let the key go, and whoever sleeps now
    /// has looked since: we only hear what is another's.
    pub(super) async fn relay(&self, lanes: Vec<i32>, state: &mut State) -> Result<()> {
        let ours = |lane: &i32| {
            let key = lane % WAKE_KEYS;
            state.held.contains(&key) || state.turns.wait_for(key)
        };
        let (ours, others): (Vec<i32>, Vec<i32>) = lanes.into_iter().partition(ours);
        self.hand_over(HandOver { lanes: ours, ..HandOver::default() }, state).await?;
        self.ignore(&others.iter().map(|l| l % WAKE_KEYS).collect::<Vec<_>>(), state).await
    }

    /// Announces lanes to their sentinels, as publishers do.
    pub(super) async fn announce(&self, lanes: &[i32], state: &State) -> Result<()> {
        let Some(session) = &state.session else { return Ok(()) };
        limited("announce", session.announce(&self.wiring.store, lanes)).await
    }

    /// Answers the keys of which somebody was told.
    async fn hand_over(&self, what: HandOver, state: &State) -> Result<HashSet<i32>> {
        let Some(session) = state.session.as_ref().filter(|_| state.holds && !what.is_empty()) else {
            return Ok(HashSet::new());
        };
        let told = limited("hand over", session.hand_over(&what)).await?;
        metrics::counter!("pgflow_hand_overs_total").increment(told.len() as u64);
        Ok(told.iter().flatten().map(|lane| lane % WAKE_KEYS).collect())
    }
}
