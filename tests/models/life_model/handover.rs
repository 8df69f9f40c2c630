//! A key's handover: whoever publishes to a key, and whoever settles its head, meet on the key's row (`pgflow_put`, `pgflow_release_keys`).

use stateright::{Model, Property};

/// Which rule, if any, is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyRule {
    Design,
    /// A message's place is drawn before its key's row is locked.
    DrawnBeforeLock,
    /// The successor is looked for under the snapshot of the statement that waits for the lock.
    ReleaseInOneStatement,
    /// The successor is looked for without the lock.
    ReleaseUnlocked,
}

pub(crate) const ONE_OUT: &str = "of a key one message at a time is out of its park";
pub(crate) const NOT_STRANDED: &str = "at rest, nothing is parked";
pub(crate) const COMMIT_ORDER: &str = "messages of a key end in the order of their publishes' commits";
pub(crate) const FREED: &str = "a parked message is freed";
pub(crate) const EMPTIED: &str = "a key goes and comes back";

const MESSAGES: usize = 3;

/// A message and the transaction that publishes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Publish {
    Idle,
    /// Broken order: it has its place, and no lock.
    Drawn,
    /// Holds the key's row; whether it made it.
    Locked {
        head: bool,
    },
    /// Written and not visible.
    Inserted {
        head: bool,
    },
    RolledBack,
    Parked,
    /// Ready, or claimed.
    Out,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Holder {
    Publisher(usize),
    Settler,
}

/// The settle of the head, in two statements.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Settle {
    Idle,
    /// Its row is deleted; what is parked, as the statement sees it that locks the key.
    Begun {
        head: usize,
        saw: Vec<usize>,
    },
    /// It holds the key's row.
    Locked {
        head: usize,
        saw: Vec<usize>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// The key has a row.
    exists: bool,
    holder: Option<Holder>,
    messages: [Publish; MESSAGES],
    places: [u8; MESSAGES],
    drawn: u8,
    settle: Settle,
    committed: Vec<usize>,
    ended: Vec<usize>,
    freed: bool,
    emptied: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Draw(usize),
    Lock(usize),
    Insert(usize),
    Commit(usize),
    RollBack(usize),
    Settle(usize),
    LockKey,
    Release,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyModel(pub(crate) KeyRule);

impl Key {
    fn draw(&mut self, m: usize) {
        self.drawn += 1;
        self.places[m] = self.drawn;
    }

    /// What a snapshot sees parked, in the order of the places.
    fn parked(&self) -> Vec<usize> {
        let mut parked: Vec<usize> = (0..MESSAGES).filter(|m| self.messages[*m] == Publish::Parked).collect();
        parked.sort_by_key(|m| self.places[*m]);
        parked
    }

    fn release(&mut self, head: usize, parked: &[usize]) {
        self.messages[head] = Publish::Ended;
        self.ended.push(head);
        match parked.first() {
            Some(next) => {
                self.messages[*next] = Publish::Out;
                self.freed = true;
            }
            None => {
                self.exists = false;
                self.emptied = true;
            }
        }
        if self.holder == Some(Holder::Settler) {
            self.holder = None;
        }
        self.settle = Settle::Idle;
    }
}

impl Model for KeyModel {
    type State = Key;
    type Action = Action;

    fn init_states(&self) -> Vec<Key> {
        vec![Key {
            exists: false,
            holder: None,
            messages: [Publish::Idle; MESSAGES],
            places: [0; MESSAGES],
            drawn: 0,
            settle: Settle::Idle,
            committed: Vec::new(),
            ended: Vec::new(),
            freed: false,
            emptied: false,
        }]
    }

    fn actions(&self, key: &Key, actions: &mut Vec<Action>) {
        for (m, publish) in key.messages.iter().enumerate() {
            match publish {
                Publish::Idle if self.0 == KeyRule::DrawnBeforeLock => actions.push(Action::Draw(m)),
                Publish::Idle | Publish::Drawn if key.holder.is_none() => actions.push(Action::Lock(m)),
                Publish::Locked { .. } => actions.push(Action::Insert(m)),
                Publish::Inserted { .. } => actions.extend([Action::Commit(m), Action::RollBack(m)]),
                Publish::Out if key.settle == Settle::Idle => actions.push(Action::Settle(m)),
                _ => {}
            }
        }
        match key.settle {
            Settle::Begun { .. } if self.0 == KeyRule::ReleaseUnlocked => actions.push(Action::Release),
            Settle::Begun { .. } if key.holder.is_none() => actions.push(Action::LockKey),
            Settle::Locked { .. } => actions.push(Action::Release),
            _ => {}
        }
    }

    fn next_state(&self, last: &Key, action: Action) -> Option<Key> {
        let mut key = last.clone();
        match action {
            Action::Draw(m) => {
                key.draw(m);
                key.messages[m] = Publish::Drawn;
            }
            Action::Lock(m) => {
                key.messages[m] = Publish::Locked { head: !key.exists };
                key.exists = true;
                key.holder = Some(Holder::Publisher(m));
            }
            Action::Insert(m) => {
                let Publish::Locked { head } = key.messages[m] else { return None };
                if self.0 != KeyRule::DrawnBeforeLock {
                    key.draw(m);
                }
                key.messages[m] = Publish::Inserted { head };
            }
            Action::Commit(m) => {
                let Publish::Inserted { head } = key.messages[m] else { return None };
                key.messages[m] = if head { Publish::Out } else { Publish::Parked };
                key.committed.push(m);
                key.holder = None;
            }
            Action::RollBack(m) => {
                let Publish::Inserted { head } = key.messages[m] else { return None };
                key.messages[m] = Publish::RolledBack;
                key.exists = !head;
                key.holder = None;
            }
            Action::Settle(head) => key.settle = Settle::Begun { head, saw: key.parked() },
            Action::LockKey => {
                let Settle::Begun { head, saw } = key.settle.clone() else { return None };
                key.settle = Settle::Locked { head, saw };
                key.holder = Some(Holder::Settler);
            }
            Action::Release => {
                let (Settle::Begun { head, saw } | Settle::Locked { head, saw }) = key.settle.clone() else {
                    return None;
                };
                let parked = if self.0 == KeyRule::ReleaseInOneStatement { saw } else { key.parked() };
                key.release(head, &parked);
            }
        }
        Some(key)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_OUT, |_, key: &Key| {
                key.messages.iter().filter(|publish| **publish == Publish::Out).count() <= 1
            }),
            Property::always(NOT_STRANDED, |model: &KeyModel, key: &Key| {
                let mut next = Vec::new();
                model.actions(key, &mut next);
                !next.is_empty() || key.parked().is_empty()
            }),
            Property::always(COMMIT_ORDER, |_, key: &Key| key.committed.starts_with(&key.ended)),
            Property::sometimes(FREED, |_, key: &Key| key.freed),
            Property::sometimes(EMPTIED, |_, key: &Key| key.emptied && key.exists),
        ]
    }
}
