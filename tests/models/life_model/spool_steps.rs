//! The steps of the spool's model: publishes, their INSERTs in the server, the forwarder's batches, kills.

use stateright::{Model, Property};

use super::spool::{Forwarder, Insert, Record, Rule, SpoolModel, State, bit, has, properties};

/// Most records of a batch.
const BATCH_MAX: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The next message is sent to Postgres, or spooled if something waits.
    Publish,
    /// Postgres is away: it is spooled at once.
    PublishAway,
    /// The publisher's connection is lost: what became of its INSERT is not known, and it spools.
    GiveUp,
    /// INSERT `n` takes its table's lock
    Lock(usize),
    /// ... reads the lane's fence
    Read(usize),
    /// ... and commits; its publisher, if it still waits, hears of it.
    Commit(usize),
    /// The forwarder takes so many of the first records, and raises the fence if it has to look for one.
    Take(usize),
    /// Nobody whom it waits for publishes any more: it looks.
    Look,
    /// It meets its row, writes the batch, and sends the COMMIT.
    Send,
    /// The server carries it out.
    BatchCommits,
    /// The server rolls back what its client did not commit.
    BatchAborts,
    /// The forwarder's connection is lost.
    LoseBatch,
    /// The folder is told.
    Forget,
    /// Broken variant: the number follows.
    Progress,
    /// A message is handled.
    Handle(u8),
    Kill,
    Start,
    /// Somebody copies the folder
    Copy,
    /// ... and puts it back.
    Restore,
}

impl SpoolModel {
    /// Steps that happen sooner or later without anybody's will.
    pub(crate) fn owed(&self, state: &State) -> Vec<Action> {
        let mut actions = Vec::new();
        for (n, insert) in state.inserts.iter().enumerate() {
            let lock_first = !self.is(Rule::FenceReadBeforeLock);
            actions.push(match (insert.locked, insert.read) {
                (true, true) => Action::Commit(n),
                (false, _) if lock_first => Action::Lock(n),
                (true, false) | (false, false) => Action::Read(n),
                (false, true) => Action::Lock(n),
            });
        }
        match &state.batch {
            Some(batch) if batch.orphaned => actions.extend([Action::BatchCommits, Action::BatchAborts]),
            Some(_) => actions.push(Action::BatchCommits),
            None => {}
        }
        if !state.running {
            actions.push(Action::Start);
            return actions;
        }
        match state.forwarder {
            // After a try that took too long it takes fewer.
            Forwarder::Idle => actions.extend((1..=state.folder.records.len().min(BATCH_MAX)).map(Action::Take)),
            Forwarder::Sent => {}
            Forwarder::Waits(writers) if self.is(Rule::NoWait) || state.writers() & writers == 0 => {
                actions.push(Action::Look);
            }
            Forwarder::Waits(_) => {}
            // The row is locked by who is under way.
            Forwarder::Looked(_) if state.batch.is_none() || self.is(Rule::ProgressUnlocked) => {
                actions.push(Action::Send);
            }
            Forwarder::Looked(_) => {}
            Forwarder::Answered(_) => actions.push(Action::Forget),
        }
        if state.owed.is_some() {
            actions.push(Action::Progress);
        }
        actions
    }

    fn publish(&self, state: &mut State) {
        let sent = if state.forwarder == Forwarder::Sent && self.is(Rule::WaitsTooShort) { state.taken } else { 0 };
        let waiting = state.folder.records.len().saturating_sub(sent);
        if waiting > 0 && !self.is(Rule::Overtakes) {
            return state.spool(false);
        }
        state.seen.direct_again |= state.folder.forwarded > 0;
        state.waits = true;
        state.inserts.push(Insert { message: state.message, fence: state.fence, locked: false, read: false });
    }

    fn read(&self, state: &mut State, n: usize) {
        let Insert { fence, message, .. } = state.inserts[n];
        if fence == state.fence {
            state.inserts[n].read = true;
        } else if state.waits && message == state.message {
            // No row: a living publisher looks the lane up again.
            state.inserts[n] = Insert { message, fence: state.fence, locked: false, read: false };
        } else {
            state.inserts.remove(n);
            state.seen.fenced = true;
        }
    }

    fn kill(state: &mut State) {
        state.budget.kills -= 1;
        state.running = false;
        state.lose_batch();
        state.owed = None;
        // Nobody will ever know whether it is there: the next start goes on with the next one.
        state.message += u8::from(std::mem::take(&mut state.waits));
    }
}

impl State {
    /// INSERTs that hold the lock of their table.
    pub(crate) fn writers(&self) -> u8 {
        self.inserts.iter().filter(|insert| insert.locked).fold(0, |mask, insert| mask | bit(insert.message))
    }

    /// On the disk, and acknowledged.
    fn spool(&mut self, doubtful: bool) {
        let folder = &mut self.folder;
        folder.records.push(Record { number: folder.next, message: self.message, doubtful });
        folder.next += 1;
        self.acknowledge();
    }

    fn acknowledge(&mut self) {
        self.confirmed |= bit(self.message);
        self.waits = false;
        self.message += 1;
    }

    fn commit(&mut self, n: usize) {
        let insert = self.inserts.remove(n);
        self.rows.push(insert.message);
        if self.waits && insert.message == self.message {
            self.acknowledge();
        } else {
            self.seen.late = true;
        }
    }

    fn lose_batch(&mut self) {
        self.forwarder = Forwarder::Idle;
        if let Some(batch) = &mut self.batch {
            batch.orphaned = true;
        }
    }

    fn restore(&mut self) {
        let Some(copy) = self.copy.take() else { return };
        // What the copy has not, and Postgres has not, is lost with the disk that had it.
        let kept = |m: u8| self.rows.contains(&m) || copy.records.iter().any(|record| record.message == m);
        self.confirmed = (0..8).filter(|m| has(self.confirmed, *m) && kept(*m)).fold(0, |mask, m| mask | bit(m));
        self.budget.restores -= 1;
        self.folder = copy;
    }
}

impl Model for SpoolModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.start()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(self.owed(state));
        let left = state.budget;
        if state.running {
            if !state.waits && state.message < self.messages {
                actions.push(Action::Publish);
                if left.outages > 0 && state.folder.records.is_empty() {
                    actions.push(Action::PublishAway);
                }
            }
            if left.losses > 0 {
                actions.extend(state.waits.then_some(Action::GiveUp));
                actions.extend((state.forwarder == Forwarder::Sent).then_some(Action::LoseBatch));
            }
            actions.extend((left.kills > 0).then_some(Action::Kill));
            actions.extend((left.restores > 0 && state.copy.is_none()).then_some(Action::Copy));
        } else if left.restores > 0 && state.copy.is_some() {
            actions.push(Action::Restore);
        }
        if left.handles > 0 {
            let ready = state.rows.iter().filter(|m| !has(state.handled, **m));
            actions.extend(ready.map(|m| Action::Handle(*m)));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        let state = &mut next;
        match action {
            Action::Publish => self.publish(state),
            Action::PublishAway => {
                state.budget.outages -= 1;
                state.spool(false);
            }
            Action::GiveUp => {
                state.budget.losses -= 1;
                state.spool(true);
            }
            Action::Lock(n) => state.inserts[n].locked = true,
            Action::Read(n) => self.read(state, n),
            Action::Commit(n) => state.commit(n),
            Action::Take(taken) => self.take(state, taken),
            Action::Look => self.look(state),
            Action::Send => {
                if let Forwarder::Looked(there) = state.forwarder {
                    self.send(state, there);
                }
            }
            Action::BatchCommits => self.batch_commits(state),
            Action::BatchAborts => state.batch = None,
            Action::LoseBatch => {
                state.budget.losses -= 1;
                state.lose_batch();
                if self.is(Rule::BatchLost) {
                    state.forwarder = Forwarder::Sent;
                }
            }
            Action::Forget => {
                if let Forwarder::Answered(to) = state.forwarder {
                    state.folder.records.retain(|record| record.number > to);
                    state.folder.forwarded = to;
                    state.forwarder = Forwarder::Idle;
                }
            }
            Action::Progress => {
                if let Some(to) = state.owed.take() {
                    state.progress[state.folder.name] = to;
                }
            }
            Action::Handle(m) => {
                state.budget.handles -= 1;
                state.handled |= bit(m);
            }
            Action::Kill => Self::kill(state),
            Action::Start => {
                state.running = true;
                let folder = &mut state.folder;
                let unmet_from = folder.unmet_from.filter(|_| !self.is(Rule::StartForgotten));
                folder.unmet_from = Some(unmet_from.map_or(folder.next, |from| from.min(folder.next)));
            }
            Action::Copy => state.copy = Some(state.folder.clone()),
            Action::Restore => state.restore(),
        }
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties()
    }
}
