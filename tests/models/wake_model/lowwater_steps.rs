//! The steps of the low-water model: writers, claims, fences, hand-backs.

use stateright::{Model, Property};

use super::lowwater::{Consumer, Fence, LowAction, LowModel, LowRule, LowState, Writer};
use super::lowwater::{first, properties};
use super::state::{Mask, bit, has};

/// The hand-back's bit in a fence's set of transactions.
const HAND_BACK: usize = 7;

impl LowModel {
    fn is(&self, rule: LowRule) -> bool {
        self.rule == rule
    }

    /// Transactions that hold RowExclusiveLock, as the fence knows them.
    pub(crate) fn holders(&self, state: &LowState) -> Mask {
        let holds = |w: &usize| match state.writers[*w] {
            Writer::Locked | Writer::Inserted(_) | Writer::Visible => true,
            Writer::Prepared(_) => !self.is(LowRule::PreparedForgotten),
            Writer::Idle | Writer::Drawn(_) | Writer::Done => false,
        };
        let writers = (0..state.writers.len()).filter(holds).fold(0, |mask, w| mask | bit(w));
        let handing_back = state.hand_back.is_some() && !self.is(LowRule::ResetBeforeLock);
        writers | if handing_back { bit(HAND_BACK) } else { 0 }
    }

    fn writer_actions(&self, state: &LowState, w: usize, actions: &mut Vec<LowAction>) {
        let locks_first = !self.is(LowRule::DrawBeforeLock);
        match state.writers[w] {
            // Writers are alike: they start in order.
            Writer::Idle if w > 0 && state.writers[w - 1] == Writer::Idle => {}
            Writer::Idle if locks_first => actions.push(LowAction::Lock(w)),
            Writer::Idle | Writer::Locked => actions.push(LowAction::Draw(w)),
            Writer::Drawn(_) => actions.push(LowAction::Lock(w)),
            Writer::Inserted(_) => {
                actions.extend([LowAction::Commit(w), LowAction::Rollback(w), LowAction::Prepare(w)]);
            }
            Writer::Prepared(_) => actions.extend([LowAction::Commit(w), LowAction::Rollback(w)]),
            Writer::Visible => actions.push(LowAction::Unlock(w)),
            Writer::Done => {}
        }
    }

    fn consumer_actions(&self, state: &LowState, c: usize, actions: &mut Vec<LowAction>) {
        let consumer = &state.consumers[c];
        if !consumer.online {
            actions.push(LowAction::Reconnect(c));
            return;
        }
        if state.disconnects > 0 {
            actions.push(LowAction::Disconnect(c));
        }
        if consumer.reset.is_some() {
            actions.push(LowAction::Reset(c));
        }
        match consumer.claim {
            None if consumer.empty.is_some() => actions.push(LowAction::Sleep(c)),
            None if first(state.claimable(), consumer.low).is_some() => actions.push(LowAction::Claim(c)),
            // Only where it can make a difference: there is something below.
            None if consumer.slept.is_none() && consumer.low > 0 => actions.push(LowAction::Empty(c)),
            None => {}
            Some(_) => {
                actions.push(LowAction::ClaimCommits(c));
                if state.failures > 0 {
                    actions.push(LowAction::ClaimFails(c));
                }
            }
        }
        match consumer.fence {
            None if consumer.last.is_some() => actions.push(LowAction::FenceBegins(c)),
            None => {}
            Some(Fence { scanned: Some(_), .. }) => actions.push(LowAction::FenceEnds(c)),
            Some(fence) if fence.waits & self.holders(state) == 0 => actions.push(LowAction::FenceScans(c)),
            Some(_) => {}
        }
    }

    fn fence_begins(&self, state: &mut LowState, c: usize) {
        let waits = self.holders(state);
        let consumer = &mut state.consumers[c];
        if let Some(candidate) = consumer.last.take() {
            let fenced = Fence { candidate, waits, scanned: None };
            let at_once = Fence { candidate, waits: 0, scanned: Some(candidate) };
            consumer.fence = Some(if self.is(LowRule::NoFence) { at_once } else { fenced });
        }
    }

    /// A plain read from the OLD low: it locks nothing, and sees rows locked by claims in flight,
    /// which may yet fail.
    fn fence_scans(&self, state: &mut LowState, c: usize) {
        let rows = if self.is(LowRule::ScanSkipsLocked) { state.claimable() } else { state.ready };
        let seen = first(rows, state.consumers[c].low).filter(|_| !self.is(LowRule::NoScan));
        if let Some(fence) = &mut state.consumers[c].fence {
            fence.scanned = Some(seen.map_or(fence.candidate, |seq| seq.min(fence.candidate)));
        }
    }

    /// `low` goes back to the place, a fence in progress, whose scan may be older, is void, and what was decided by a scan from
    /// `low` is, too.
    fn reset(&self, consumer: &mut Consumer) {
        let place = consumer.reset.take().unwrap_or(0);
        let below = place < consumer.low;
        consumer.low = consumer.low.min(place);
        if below && !self.is(LowRule::ResetForgottenByScan) {
            consumer.empty = None;
        }
        if below && !self.is(LowRule::ResetLetsSleep) {
            consumer.slept = None;
        }
        if !self.is(LowRule::ResetKeepsFence) {
            consumer.fence = None;
            consumer.last = None;
        }
    }
}

impl Model for LowModel {
    type State = LowState;
    type Action = LowAction;

    fn init_states(&self) -> Vec<LowState> {
        let consumer = Consumer {
            low: 0,
            online: true,
            claim: None,
            last: None,
            fence: None,
            reset: None,
            empty: None,
            slept: None,
        };
        vec![LowState {
            next: 1,
            writers: vec![Writer::Idle; self.writers],
            consumers: vec![consumer; self.consumers],
            ready: 0,
            active: 0,
            hand_back: None,
            hand_backs: self.faults,
            failures: self.faults,
            disconnects: self.faults,
        }]
    }

    fn actions(&self, state: &LowState, actions: &mut Vec<LowAction>) {
        for w in 0..state.writers.len() {
            self.writer_actions(state, w, actions);
        }
        for c in 0..state.consumers.len() {
            self.consumer_actions(state, c, actions);
        }
        if state.hand_backs > 0 {
            let claimed = (0..8).filter(|&seq| has(state.active, seq.into()));
            actions.extend(claimed.map(LowAction::HandBack));
        }
        if state.hand_back.is_some() {
            actions.push(LowAction::HandBackCommits);
        }
    }

    fn next_state(&self, last: &LowState, action: LowAction) -> Option<LowState> {
        let mut next = last.clone();
        let state = &mut next;
        match action {
            LowAction::Lock(w) => {
                state.writers[w] = match state.writers[w] {
                    Writer::Drawn(seq) => Writer::Inserted(seq),
                    _ => Writer::Locked,
                };
            }
            LowAction::Draw(w) => {
                let locked = state.writers[w] == Writer::Locked;
                let seq = state.next;
                state.next += 1;
                state.writers[w] = if locked { Writer::Inserted(seq) } else { Writer::Drawn(seq) };
            }
            LowAction::Prepare(w) => {
                if let Writer::Inserted(seq) = state.writers[w] {
                    state.writers[w] = Writer::Prepared(seq);
                }
            }
            LowAction::Commit(w) => {
                if let Writer::Inserted(seq) | Writer::Prepared(seq) = state.writers[w] {
                    state.ready |= bit(seq.into());
                    state.writers[w] = Writer::Visible;
                }
            }
            LowAction::Rollback(w) | LowAction::Unlock(w) => state.writers[w] = Writer::Done,
            LowAction::Empty(c) => state.consumers[c].empty = Some(state.consumers[c].low),
            LowAction::Sleep(c) => state.consumers[c].slept = state.consumers[c].empty.take(),
            LowAction::Claim(c) => {
                state.consumers[c].slept = None;
                state.consumers[c].claim = first(state.claimable(), state.consumers[c].low);
            }
            LowAction::ClaimCommits(c) => {
                let seq = state.consumers[c].claim.take()?;
                state.ready &= !bit(seq.into());
                state.active |= bit(seq.into());
                state.consumers[c].last = Some(seq);
            }
            LowAction::ClaimFails(c) => {
                state.failures -= 1;
                state.consumers[c].claim = None;
            }
            LowAction::FenceBegins(c) => self.fence_begins(state, c),
            LowAction::FenceScans(c) => self.fence_scans(state, c),
            LowAction::FenceEnds(c) => {
                let fence = state.consumers[c].fence.take()?;
                let consumer = &mut state.consumers[c];
                // Never down: who sleeps by a scan from the higher one would not be woken by what comes back between the two.
                consumer.low = consumer.low.max(fence.scanned?);
            }
            LowAction::HandBack(seq) => {
                state.hand_backs -= 1;
                state.active &= !bit(seq.into());
                state.hand_back = Some(seq);
                if self.is(LowRule::ResetBeforeLock) {
                    state.send_reset(seq);
                }
            }
            LowAction::HandBackCommits => {
                let seq = state.hand_back.take()?;
                state.ready |= bit(seq.into());
                if !self.is(LowRule::ResetBeforeLock) {
                    state.send_reset(seq);
                }
            }
            LowAction::Reset(c) => self.reset(&mut state.consumers[c]),
            LowAction::Disconnect(c) => {
                state.disconnects -= 1;
                state.consumers[c].online = false;
                let consumer = &mut state.consumers[c];
                (consumer.reset, consumer.claim, consumer.empty, consumer.slept) = (None, None, None, None);
            }
            LowAction::Reconnect(c) => {
                // W7: LISTEN first, then the reset, as if one had just arrived.
                state.consumers[c].online = true;
                state.consumers[c].reset = (!self.is(LowRule::ReconnectKeepsLow)).then_some(0);
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties()
    }
}
