//! The forwarder's steps: `src/forward.rs` and `src/forward/doubt.rs`.

use super::spool::{Batch, Forwarder, Record, Rule, SpoolModel, State, bit, has};

impl SpoolModel {
    pub(crate) fn take(&self, state: &mut State, taken: usize) {
        state.taken = taken;
        let doubtful = state.doubted();
        state.forwarder = if doubtful == 0 || self.is(Rule::DoubtIgnored) {
            Forwarder::Looked(0)
        } else {
            state.fence += u8::from(!self.is(Rule::NoFence));
            Forwarder::Waits(state.writers())
        };
    }

    pub(crate) fn look(&self, state: &mut State) {
        let there = state.rows.iter().fold(0, |mask, m| mask | bit(*m));
        let doubted = state.doubted() & there;
        state.seen.handled |= doubted & state.handled != 0;
        let hidden = if self.is(Rule::LookAtReadyAlone) { state.handled } else { 0 };
        state.forwarder = Forwarder::Looked(doubted & !hidden);
    }

    pub(crate) fn send(&self, state: &mut State, there: u8) {
        let folder = &mut state.folder;
        let progress = state.progress[folder.name].max(folder.forwarded);
        let given_again = folder.unmet_from.take().is_some_and(|first| progress >= first);
        if given_again && !self.is(Rule::NameKept) {
            folder.name = 1;
            folder.doubtful_to = if self.is(Rule::NewNameUndoubted) { 0 } else { folder.next - 1 };
            state.seen.renamed = true;
            state.forwarder = Forwarder::Idle;
            return;
        }
        let taken = folder.records.iter().take(state.taken);
        let new = |record: &&Record| record.number > progress && !has(there, record.message);
        let todo: Vec<u8> = taken.clone().filter(new).map(|record| record.message).collect();
        let last = taken.clone().next_back().map_or(progress, |record| record.number);
        state.seen.passed_over |= todo.len() < taken.count();
        if self.is(Rule::ForgottenEarly) {
            folder.records.retain(|record| record.number > last);
        }
        // Without the lock two may be under way; the model holds one, and carries the older out now.
        if state.batch.is_some() {
            self.batch_commits(state);
        }
        state.batch = Some(Batch { name: state.folder.name, todo, last, orphaned: false });
        state.forwarder = Forwarder::Sent;
    }

    pub(crate) fn batch_commits(&self, state: &mut State) {
        let Some(Batch { name, todo, last, orphaned }) = state.batch.take() else { return };
        state.rows.extend(todo);
        if self.is(Rule::ProgressApart) {
            state.owed = Some(last);
        } else {
            let before = if self.is(Rule::ProgressGoesBack) { 0 } else { state.progress[name] };
            state.progress[name] = last.max(before);
        }
        if !orphaned {
            state.forwarder = Forwarder::Answered(last);
        }
    }
}

impl State {
    /// Which messages of the batch may be in the tables already.
    fn doubted(&self) -> u8 {
        let doubtful = |record: &&Record| record.doubtful || record.number <= self.folder.doubtful_to;
        let taken = self.folder.records.iter().take(self.taken);
        taken.filter(doubtful).fold(0, |mask, record| mask | bit(record.message))
    }
}
