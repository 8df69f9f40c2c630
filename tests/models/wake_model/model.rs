//! The model: which actions are enabled, and what each does.

use stateright::{Model, Property};

use super::scenario::{Class, Scenario};
use super::state::State;
use super::{claim, gate, heartbeat, properties, publisher, runtime};

/// One atomic step. `r` is a runtime, `k` a key, `p` a publisher and its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Publisher `p` takes its REPEATABLE READ snapshot.
    Begin(usize),
    /// It inserts; the trigger checks.
    Insert(usize),
    /// Its commit becomes visible.
    Commit(usize),
    /// Its locks are released (in one unsafe variant: its row becomes visible).
    EndCommit(usize),
    Rollback(usize),
    /// W1: `r` tries the lock of `k`.
    TryLock(usize, usize),
    /// W2: ... and, refused, tries it shared.
    TryShared(usize, usize),
    /// A scan's statement starts.
    Snapshot(usize, usize),
    /// It reads, skips and locks rows.
    Read(usize, usize),
    ClaimCommits(usize, usize),
    ClaimFails(usize, usize),
    /// What is owed after a failed claim, or after a turn (W6), is told. Where one of several may be told, the last number says
    /// from whom on he is looked for.
    TellOwed(usize, usize, usize),
    /// W12: the one who got the lock LISTENs to publishers.
    Hear(usize, usize, usize),
    /// Unsafe variant: enlisted late.
    Enlist(usize, usize),
    /// W3: unlock and tell.
    Disarm(usize, usize, usize),
    /// Unsafe variant: the unlock after the telling.
    Unlock(usize, usize),
    /// W5: lets the lock go and stays on duty.
    Linger(usize, usize, usize),
    /// W12: the demand for some lanes is gone.
    HandOver(usize, usize, usize),
    /// W12: a full claim while awake.
    Share(usize, usize, usize),
    /// Demand is gone, and nothing is held.
    Rest(usize, usize),
    /// A publisher's notification for one lane reaches `r`; from whom on one is looked for if it has no use for it.
    Announced(usize, usize, usize, usize),
    /// W12: `r` hears that it was told of a lane.
    Told(usize, usize, usize),
    /// W6: the second connection queues for the lock.
    QueueForLock(usize, usize),
    /// W6: ... and is granted it, and lets it go at once, or gives up.
    TurnOver(usize, usize),
    /// A worker becomes free.
    Finish(usize, Class),
    /// W7: lane 0 is paused or resumed.
    TogglePause,
    /// W7: `r` hears of it.
    Ctl(usize),
    /// `r` claims nothing any more.
    Stop(usize),
    /// `r`'s process dies.
    Die(usize),
    /// ... the server notices on its listener's session
    EndSession(usize),
    /// ... and on the connection of its claim.
    AbortClaim(usize, usize),
    /// The listener's session of a live `r` is lost.
    Disconnect(usize),
    /// W7: it has a session again
    Reconnect(usize),
    /// W7: ... and LISTENs.
    Listen(usize),
    /// W8: a heartbeat.
    Beat(usize),
    /// W8: the heartbeat's statement takes its snapshot
    BeatStarts(usize),
    /// W8: ... and does the rest.
    BeatEnds(usize),
}

impl Scenario {
    /// Steps that happen sooner or later without anybody's will.
    pub(crate) fn owed(&self, state: &State) -> Vec<Action> {
        let mut actions = Vec::new();
        for p in 0..state.publishers.len() {
            publisher::actions(self, state, p, &mut actions);
        }
        actions.retain(|action| matches!(action, Action::EndCommit(_)));
        for r in 0..state.runtimes.len() {
            runtime::owed(self, state, r, &mut actions);
        }
        actions
    }
}

impl Model for Scenario {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.start()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for p in 0..state.publishers.len() {
            publisher::actions(self, state, p, actions);
        }
        for r in 0..state.runtimes.len() {
            runtime::owed(self, state, r, actions);
            runtime::may_happen(self, state, r, actions);
            if self.heartbeats && state.runtimes[r].online() {
                actions.push(match state.runtimes[r].beat {
                    Some(_) => Action::BeatEnds(r),
                    None if self.beats_in_two => Action::BeatStarts(r),
                    None => Action::Beat(r),
                });
            }
        }
        if state.budget.pauses > 0 {
            actions.push(Action::TogglePause);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        let state = &mut next;
        match action {
            Action::Begin(p) => publisher::begin(state, p),
            Action::Insert(p) => publisher::insert(self, state, p),
            Action::Commit(p) => publisher::commit(self, state, p),
            Action::EndCommit(p) => publisher::end_commit(self, state, p),
            Action::Rollback(p) => publisher::roll_back(self, state, p),
            Action::TryLock(r, k) => gate::try_lock(self, state, r, k),
            Action::TryShared(r, k) => gate::try_shared(self, state, r, k),
            Action::Snapshot(r, k) => claim::snapshot(self, state, r, k),
            Action::Read(r, k) => claim::read(self, state, r, k),
            Action::ClaimCommits(r, k) => claim::commits(self, state, r, k),
            Action::ClaimFails(r, k) => claim::fails(self, state, r, k),
            Action::TellOwed(r, k, first) => runtime::tell_owed(self, state, r, k, first),
            Action::Hear(r, k, first) => gate::hear(self, state, r, k, first),
            Action::Enlist(r, k) => gate::enlist(self, state, r, k),
            Action::Disarm(r, k, first) => gate::disarm(self, state, r, k, first),
            Action::Unlock(r, k) => gate::unlock(state, r, k),
            Action::Linger(r, k, first) => gate::linger(self, state, r, k, first),
            Action::HandOver(r, k, first) => gate::hand_over(self, state, r, k, first),
            Action::Share(r, k, first) => gate::share(self, state, r, k, first),
            Action::Rest(r, k) => gate::rest(state, r, k),
            Action::Announced(r, k, lane, first) => runtime::announced(self, state, r, k, lane, first),
            Action::Told(r, k, lane) => runtime::told(self, state, r, k, lane),
            Action::QueueForLock(r, k) => {
                state.keys[k].waiter = Some(r);
                // From now on publishers notify.
                state.gate_mut(r, k).hears = true;
            }
            Action::TurnOver(r, k) => runtime::turn_over(self, state, r, k),
            Action::Finish(r, class) => claim::finish(self, state, r, class),
            Action::TogglePause => runtime::toggle_pause(self, state),
            Action::Ctl(r) => runtime::ctl(self, state, r),
            Action::Stop(r) => {
                state.budget.stops -= 1;
                state.runtimes[r].stopping = true;
            }
            Action::Die(r) => runtime::die(self, state, r),
            Action::EndSession(r) => state.end_session(self, r),
            Action::AbortClaim(r, k) => runtime::abort_claim(self, state, r, k),
            Action::Disconnect(r) => {
                state.budget.disconnects -= 1;
                state.end_session(self, r);
            }
            Action::Reconnect(r) => runtime::reconnect(self, state, r),
            Action::Listen(r) => runtime::listen(self, state, r),
            Action::Beat(r) => {
                heartbeat::starts(state, r);
                heartbeat::ends(self, state, r);
            }
            Action::BeatStarts(r) => heartbeat::starts(state, r),
            Action::BeatEnds(r) => heartbeat::ends(self, state, r),
        }
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
