//! What became of a publish.

use uuid::Uuid;

/// What became of a publish: the message is durable, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Receipt {
    /// The id made by the producer. A repeated dedup key gets the first one's, if Postgres was asked: where this is not the
    /// [`crate::Outgoing::message_id`] of what was sent, nothing new was published.
    pub message_id: Uuid,
    /// Where it is.
    pub durable: Durable,
}

/// Where a published message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durable {
    /// In a table, under this number, by which `pgflow trace` finds it. A repeated dedup key gets the first one's. After a publish into
    /// the caller's transaction: once that commits.
    Postgres {
        /// The message's number in the database.
        id: i64,
    },
    /// On the disk of this machine, in the spool: Postgres was away. It is forwarded when Postgres is back.
    Spooled,
}

impl Receipt {
    pub(crate) fn row(id: i64, message_id: Uuid) -> Self {
        Self { message_id, durable: Durable::Postgres { id } }
    }

    pub(super) fn spooled(message_id: Uuid) -> Self {
        Self { message_id, durable: Durable::Spooled }
    }

    /// The message's number in the database; none while it is spooled.
    pub fn id(&self) -> Option<i64> {
        match self.durable {
            Durable::Postgres { id } => Some(id),
            Durable::Spooled => None,
        }
    }
}
