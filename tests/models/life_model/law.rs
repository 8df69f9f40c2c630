//! The law of a message's row: what each statement of `sql/queries` makes of it. The model walks through what may happen under it,
//! and `tests/faults/replay.rs` holds against it what did happen.

/// A claim's fence: in the database a random number.
pub(crate) type Token = i64;

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    /// Behind its key's head.
    Parked,
    Ready,
    /// `scheduled`: a delay, or the backoff after a failed try.
    Waiting,
    Active {
        token: Token,
        session: i32,
    },
    Done,
    Dead,
}

/// One message is one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Row {
    pub(crate) place: Place,
    /// Tries made; of an active one, with the one under way.
    pub(crate) attempt: u8,
}

/// What may befall it. Settles bring the token that their claim had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// `promote.sql`.
    Due,
    /// `claim.sql`.
    Claim { token: Token, session: i32 },
    /// `settle_done.sql`, `settle_one.sql`.
    Done(Token),
    /// `settle_failed.sql`.
    Fail(Token),
    /// `settle_dead.sql`.
    Reject(Token),
    /// `hand_back.sql`.
    HandBack(Token),
    /// `rescue.sql`, of this session.
    Rescue(i32),
    /// The server crashes before its claim is on the disk.
    Forget,
}

/// Why a step changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is not active under this token, or in this session.
    Fenced,
    /// It is not there.
    Elsewhere,
}

/// Whether a claim's commit waits for the disk: only then no crash forgets it.
pub(crate) fn waits_for_the_disk(keyed: bool) -> bool {
    keyed
}

impl Row {
    pub(crate) fn new(place: Place) -> Self {
        Self { place, attempt: 0 }
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.place, Place::Done | Place::Dead)
    }

    fn moved(self, place: Place, attempt: u8) -> Result<Self, Refused> {
        Ok(Self { place, attempt })
    }

    /// The row after it. A message at its last try is dead when that fails, whatever made it fail.
    pub(crate) fn step(self, step: Step, tries_max: u8) -> Result<Self, Refused> {
        let attempt = self.attempt;
        match (step, self.place) {
            (Step::Due, Place::Waiting) => self.moved(Place::Ready, attempt),
            (Step::Claim { token, session }, Place::Ready) => self.moved(Place::Active { token, session }, attempt + 1),
            (Step::Due | Step::Claim { .. }, _) => Err(Refused::Elsewhere),
            (Step::Forget, Place::Active { .. }) => self.moved(Place::Ready, attempt - 1),
            (Step::Forget, _) => Err(Refused::Elsewhere),
            (Step::Rescue(of), Place::Active { session, .. }) if of == session => {
                self.moved(if attempt < tries_max { Place::Ready } else { Place::Dead }, attempt)
            }
            (Step::Done(of), Place::Active { token, .. }) if of == token => self.moved(Place::Done, attempt),
            (Step::Reject(of), Place::Active { token, .. }) if of == token => self.moved(Place::Dead, attempt),
            (Step::Fail(of), Place::Active { token, .. }) if of == token => {
                self.moved(if attempt < tries_max { Place::Waiting } else { Place::Dead }, attempt)
            }
            (Step::HandBack(of), Place::Active { token, .. }) if of == token => self.moved(Place::Ready, attempt - 1),
            (Step::Rescue(_) | Step::Done(_) | Step::Fail(_) | Step::Reject(_) | Step::HandBack(_), _) => {
                Err(Refused::Fenced)
            }
        }
    }
}

/// The messages of one ordering key in the order of their places; or one without a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Family {
    pub(crate) rows: Vec<Row>,
    pub(crate) tries_max: u8,
}

impl Family {
    pub(crate) fn new(tries_max: u8) -> Self {
        Self { rows: Vec::new(), tries_max }
    }

    /// `pgflow_put`: behind the head, if there is one. Else to its time, if it has one.
    pub(crate) fn publish(&mut self, delayed: bool) {
        let held = self.rows.iter().any(|row| !row.has_ended());
        self.rows.push(Row::new(match (held, delayed) {
            (true, _) => Place::Parked,
            (false, true) => Place::Waiting,
            (false, false) => Place::Ready,
        }));
    }

    /// Row `n` takes the step; if it has ended, its key is freed in the same transaction.
    pub(crate) fn step(&mut self, n: usize, step: Step) -> Result<(), Refused> {
        self.rows[n] = self.rows[n].step(step, self.tries_max)?;
        if self.rows[n].has_ended() {
            self.release();
        }
        Ok(())
    }

    /// `pgflow_release_keys`: the first of those that are parked becomes ready.
    pub(crate) fn release(&mut self) {
        if let Some(next) = self.rows.iter_mut().find(|row| row.place == Place::Parked) {
            next.place = Place::Ready;
        }
    }
}
