//! The spool: a publisher that goes past it while nothing waits there, a forwarder that brings its records into Postgres, a lane's fence.
//!
//! One process publishes one message after the other; whoever starts it again goes on with the next.

use stateright::Property;

/// Which rule, if any, is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Design,
    /// What was sent and not answered is forwarded without a look.
    DoubtIgnored,
    /// The look comes without a fence: an INSERT that nobody has read yet comes later.
    NoFence,
    /// The look does not wait for who has read the fence before.
    NoWait,
    /// The INSERT reads the fence, and takes the lock by which it is waited for later.
    FenceReadBeforeLock,
    /// The look is one at what is claimable: what was handled meanwhile is not found.
    LookAtReadyAlone,
    /// How far the spool is forwarded is written by a transaction of its own, after the batch's.
    ProgressApart,
    /// The number is read, and not locked, so that nobody waits for a COMMIT that was not answered.
    ProgressUnlocked,
    /// A batch that is there already, and ends before that number, sets it back.
    ProgressGoesBack,
    /// A batch whose COMMIT was not answered is waited for, and not tried again.
    BatchLost,
    /// Records are forgotten when their batch's COMMIT is sent.
    ForgottenEarly,
    /// A publish goes past what waits.
    Overtakes,
    /// A record stops waiting when its batch is sent.
    WaitsTooShort,
    /// A folder that is older than Postgres' memory of it goes on under its name.
    NameKept,
    /// Only what was written since the last start counts as given again.
    StartForgotten,
    /// It takes a new name, and does not doubt its records.
    NewNameUndoubted,
}

pub(crate) const ONCE: &str = "no message is there twice";
pub(crate) const KEPT: &str = "what was acknowledged is in Postgres or in the spool";
pub(crate) const IN_ORDER: &str = "acknowledged messages are in the order of their publishing";
pub(crate) const EMPTIED: &str = "at rest, nothing is left in the spool";

pub(crate) const LATE: &str = "an unanswered INSERT comes after its message was spooled";
pub(crate) const FENCED: &str = "a raised fence stops an INSERT";
pub(crate) const PASSED_OVER: &str = "a record that is there already is passed over";
pub(crate) const HANDLED: &str = "a doubtful message was handled before it is looked for";
pub(crate) const RENAMED: &str = "a spool takes a new name";
pub(crate) const DIRECT_AGAIN: &str = "a publish goes past a spool that was emptied";

pub(crate) type Message = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    pub(crate) number: u8,
    pub(crate) message: Message,
    /// It was sent to Postgres, and not answered.
    pub(crate) doubtful: bool,
}

/// What lies on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Folder {
    /// Its name in Postgres.
    pub(crate) name: usize,
    pub(crate) records: Vec<Record>,
    pub(crate) forwarded: u8,
    pub(crate) next: u8,
    /// Up to this number every record is doubtful.
    pub(crate) doubtful_to: u8,
    /// The first number that was given since a start that has not met Postgres.
    pub(crate) unmet_from: Option<u8>,
}

/// An INSERT of a direct publish, on its way or in the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Insert {
    pub(crate) message: Message,
    /// The fence that its publisher has seen.
    pub(crate) fence: u8,
    pub(crate) locked: bool,
    pub(crate) read: bool,
}

/// A forwarder's transaction in the server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Batch {
    pub(crate) name: usize,
    pub(crate) todo: Vec<Message>,
    pub(crate) last: u8,
    /// Its COMMIT was sent, and is carried out though nobody waits for it any more.
    pub(crate) orphaned: bool,
}

/// How far the forwarder is with a batch; the batch itself is the first records of the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Forwarder {
    Idle,
    /// The fence was raised: waits for the INSERTs of these messages to end.
    Waits(u8),
    /// These messages are there.
    Looked(u8),
    /// Its COMMIT was sent.
    Sent,
    /// ... and answered, up to this number.
    Answered(u8),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// The message that is published now or next.
    pub(crate) message: Message,
    /// Its direct INSERT was sent, its answer has not come.
    pub(crate) waits: bool,
    pub(crate) running: bool,
    pub(crate) forwarder: Forwarder,
    /// How many records its batch has.
    pub(crate) taken: usize,
    pub(crate) folder: Folder,
    /// An earlier state of the folder, kept by somebody.
    pub(crate) copy: Option<Folder>,
    pub(crate) inserts: Vec<Insert>,
    pub(crate) batch: Option<Batch>,
    pub(crate) fence: u8,
    /// Every message in the tables, by place.
    pub(crate) rows: Vec<Message>,
    /// Those of them that were handled and are gone from ready.
    pub(crate) handled: u8,
    /// `pgflow_spools`.
    pub(crate) progress: [u8; 2],
    /// Broken variant: written by the next transaction.
    pub(crate) owed: Option<u8>,
    pub(crate) confirmed: u8,
    pub(crate) budget: Budget,
    pub(crate) seen: Seen,
}

/// What may still go wrong, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    /// Answers that do not come, of an INSERT or a COMMIT.
    pub(crate) losses: u8,
    /// The server is away: a publish is spooled without a try.
    pub(crate) outages: u8,
    pub(crate) kills: u8,
    /// The folder is put back to an earlier state.
    pub(crate) restores: u8,
    /// Messages that are handled.
    pub(crate) handles: u8,
}

/// Situations that a scenario has to reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    pub(crate) late: bool,
    pub(crate) fenced: bool,
    pub(crate) passed_over: bool,
    pub(crate) handled: bool,
    pub(crate) renamed: bool,
    pub(crate) direct_again: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct SpoolModel {
    pub(crate) rule: Rule,
    pub(crate) messages: u8,
    pub(crate) budget: Budget,
}

pub(crate) fn bit(index: u8) -> u8 {
    1 << index
}

pub(crate) fn has(mask: u8, index: u8) -> bool {
    mask & bit(index) != 0
}

impl SpoolModel {
    /// Answers are lost, the process is killed.
    pub(crate) fn outages() -> Self {
        let budget = Budget { losses: 2, outages: 1, kills: 1, restores: 0, handles: 1 };
        Self { rule: Rule::Design, messages: 3, budget }
    }

    /// The folder is put back.
    pub(crate) fn restored() -> Self {
        let budget = Budget { losses: 0, outages: 2, kills: 2, restores: 1, handles: 0 };
        Self { rule: Rule::Design, messages: 3, budget }
    }

    pub(crate) fn is(&self, rule: Rule) -> bool {
        self.rule == rule
    }

    pub(crate) fn start(&self) -> State {
        State {
            message: 0,
            waits: false,
            running: true,
            forwarder: Forwarder::Idle,
            taken: 0,
            folder: Folder { name: 0, records: Vec::new(), forwarded: 0, next: 1, doubtful_to: 0, unmet_from: Some(1) },
            copy: None,
            inserts: Vec::new(),
            batch: None,
            fence: 0,
            rows: Vec::new(),
            handled: 0,
            progress: [0; 2],
            owed: None,
            confirmed: 0,
            budget: self.budget,
            seen: Seen::default(),
        }
    }
}

pub(crate) fn properties() -> Vec<Property<SpoolModel>> {
    vec![
        Property::always(ONCE, |_, state: &State| {
            let mut seen = 0;
            state.rows.iter().all(|m| {
                let new = !has(seen, *m);
                seen |= bit(*m);
                new
            })
        }),
        Property::always(KEPT, |model: &SpoolModel, state: &State| {
            let kept = |m: u8| state.rows.contains(&m) || state.folder.records.iter().any(|r| r.message == m);
            (0..model.messages).filter(|m| has(state.confirmed, *m)).all(kept)
        }),
        Property::always(IN_ORDER, |_, state: &State| {
            let placed: Vec<u8> = state.rows.iter().copied().filter(|m| has(state.confirmed, *m)).collect();
            placed.is_sorted()
        }),
        Property::always(EMPTIED, |model: &SpoolModel, state: &State| {
            state.folder.records.is_empty() || !model.owed(state).is_empty()
        }),
        Property::sometimes(LATE, |_, state: &State| state.seen.late),
        Property::sometimes(FENCED, |_, state: &State| state.seen.fenced),
        Property::sometimes(PASSED_OVER, |_, state: &State| state.seen.passed_over),
        Property::sometimes(HANDLED, |_, state: &State| state.seen.handled),
        Property::sometimes(RENAMED, |_, state: &State| state.seen.renamed),
        Property::sometimes(DIRECT_AGAIN, |_, state: &State| state.seen.direct_again),
    ]
}
