//! The messages (domain §1): one file per type, one trait over all of them, one way in and one way out.
//!
//! [`encode`] validates before publishing, [`decode`] validates at receipt, both with the same rules, and refuse
//! with an [`Invalid`] whose kind is the documented tag. Unknown fields are tolerated.

use std::borrow::Cow;
use std::marker::PhantomData;

use pgflow::Priority;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use uuid::Uuid;

use crate::invalid::{Invalid, InvalidKind};
use crate::json::Object;

mod batch;
mod learning_completed;
mod metrics;
mod own;
mod pattern;
mod profile_update;
mod proposal;
mod queue;
mod result;
mod rollback;
mod voting;

pub use batch::MetricsBatch;
pub use learning_completed::LearningLoopCompleted;
pub use metrics::ExecutionMetrics;
pub use own::{
    CheckHealth, ConsensusDeadline, ExecuteProposal, FlushMetrics, ObserveChange, RunLearning, SendProposals,
    WatchChange,
};
pub use pattern::PatternDiscovered;
pub use profile_update::{BROADCAST, GENESIS_SOURCE, SafetyProfileUpdate};
pub use proposal::ProposalForConsensus;
pub use queue::{
    ALL_QUEUES, CHANGE_WATCHES, CONSENSUS_DEADLINES, CONSENSUS_RESULTS, CONSENSUS_VOTES, GUARDIAN_SAFETY_PROFILES,
    HEALTH_CHECKS, LEARNING_LOOP_COMPLETED, LEARNING_RUNS, METRICS_TO_GUARDIAN, METRICS_TO_SEND, OBSERVATIONS,
    PATTERNS_FOR_AGGREGATOR, PROPOSALS_FOR_CONSENSUS, PROPOSALS_FOR_EXECUTION, PROPOSALS_TO_SEND, ROLLBACK_TRIGGERS,
    SEED_QUEUES, VOTING_REQUESTS, full_name,
};
pub use result::{Ballot, BallotDetail, ConsensusResult, Verdict};
pub use rollback::{Limit, RollbackTrigger};
pub use voting::{ConsensusVote, REASON_MIN_CHARS, Vote, VotingRequest};

/// What every message type states about itself.
pub trait Payload: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The value of `type`.
    const TYPE: &'static str;
    /// The queue it travels on.
    const QUEUE: &'static str;
    /// Fields whose absence is `invalid_message`.
    const REQUIRED: &'static [&'static str];
    /// How urgent it is.
    const PRIORITY: Priority = Priority::Normal;
    /// The version this program writes; older ones are upgraded, newer ones left to a newer program.
    const VERSION: u16 = 1;

    /// Type, version and id.
    fn envelope(&self) -> &Envelope<Self>;

    /// The ranges and formats of this type's own fields.
    fn check(&self) -> Result<(), Invalid>;

    /// Turns an object of version `from` into one of the next version; a chain of these leads from the oldest to today's.
    ///
    /// # Errors
    /// When there never was such a version, or it is no longer read.
    fn upgrade(from: u16, _: Object) -> Result<Object, Invalid> {
        Err(unsupported::<Self>(u64::from(from)))
    }

    /// Messages of one queue with the same key are handled one at a time, in publish order.
    fn ordering_key(&self) -> Option<String> {
        None
    }

    /// The proposal that it is about, by which its story is found.
    fn proposal(&self) -> Option<Uuid> {
        None
    }

    /// Version, then [`Payload::check`]. Used before publishing and at receipt.
    fn validate(&self) -> Result<(), Invalid> {
        let version = self.envelope().version;
        if version != Self::VERSION {
            return Err(unsupported::<Self>(u64::from(version)));
        }
        self.check()
    }
}

/// The first three fields of every message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "P: Payload")]
pub struct Envelope<P> {
    #[serde(rename = "type")]
    kind: TypeTag<P>,
    /// Format version; absent means 1.
    #[serde(default = "first_version")]
    pub version: u16,
    /// Made by the producer, the same at every redelivery; `None` when a foreign producer gave none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<Uuid>,
}

impl<P: Payload> Envelope<P> {
    /// An envelope of the current version with this id.
    pub const fn with_id(message_id: Uuid) -> Self {
        Self { kind: TypeTag(PhantomData), version: P::VERSION, message_id: Some(message_id) }
    }

    /// An envelope of the current version with a new id.
    pub fn new() -> Self {
        Self::with_id(Uuid::now_v7())
    }
}

impl<P: Payload> Default for Envelope<P> {
    fn default() -> Self {
        Self::new()
    }
}

/// Written by hand: what it holds depends on the message.
impl<P: Payload> JsonSchema for Envelope<P> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Cow::Owned(format!("envelope_of_{}", P::TYPE))
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": {
                "type": { "const": P::TYPE },
                "version": { "type": "integer", "minimum": 1, "maximum": P::VERSION, "default": 1 },
                "message_id": { "type": ["string", "null"], "format": "uuid" },
            },
            "required": ["type"],
        })
    }
}

/// The constant `type` field: writes it, and refuses any other value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TypeTag<P>(PhantomData<fn() -> P>);

impl<P: Payload> Serialize for TypeTag<P> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(P::TYPE)
    }
}

impl<'de, P: Payload> Deserialize<'de> for TypeTag<P> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let found = String::deserialize(from)?;
        if found == P::TYPE {
            return Ok(Self(PhantomData));
        }
        Err(D::Error::custom(format!("type is `{found}`, expected `{}`", P::TYPE)))
    }
}

const fn first_version() -> u16 {
    1
}

fn unsupported<P: Payload>(version: u64) -> Invalid {
    let detail = format!("{} version {version}, this program reads up to {}", P::TYPE, P::VERSION);
    Invalid::new(InvalidKind::UnsupportedVersion, detail)
}

/// Reads a message and validates it.
pub fn decode<P: Payload>(body: &[u8]) -> Result<P, Invalid> {
    let value: Value =
        serde_json::from_slice(body).map_err(|e| Invalid::new(InvalidKind::Unreadable, e.to_string()))?;
    decode_value(value)
}

/// [`decode`] for a body that is already JSON. A field that is null counts as absent.
pub fn decode_value<P: Payload>(value: Value) -> Result<P, Invalid> {
    let Value::Object(mut object) = value else {
        return Err(Invalid::new(InvalidKind::Unreadable, "the body is not a JSON object"));
    };
    object.retain(|_, field| !field.is_null());
    match object.get("type") {
        None => return Err(Invalid::new(InvalidKind::MissingType, "there is no `type`")),
        Some(Value::String(found)) if found == P::TYPE => {}
        Some(found) => {
            return Err(Invalid::new(InvalidKind::UnknownType, format!("type is {found}, expected {}", P::TYPE)));
        }
    }
    // The version comes before the fields: another version may have other ones.
    let object = upgraded::<P>(object)?;
    if let Some(field) = P::REQUIRED.iter().find(|field| !object.contains_key(**field)) {
        return Err(Invalid::new(InvalidKind::InvalidMessage, format!("{field} is missing")));
    }
    let message: P = serde_json::from_value(Value::Object(object))
        .map_err(|e| Invalid::new(InvalidKind::InvalidFormat, e.to_string()))?;
    message.validate()?;
    Ok(message)
}

/// The version that an object states; absent means 1.
pub(crate) fn stated_version(object: &Object) -> Option<u64> {
    object.get("version").map_or(Some(1), Value::as_u64)
}

/// Brings an object of an older version to this program's.
fn upgraded<P: Payload>(mut object: Object) -> Result<Object, Invalid> {
    // What is no number is refused below, by its type.
    let Some(stated) = stated_version(&object) else { return Ok(object) };
    let from = u16::try_from(stated).ok().filter(|v| (1..=P::VERSION).contains(v));
    for version in from.ok_or_else(|| unsupported::<P>(stated))?..P::VERSION {
        object = P::upgrade(version, object)?;
        object.insert("version".to_owned(), (version + 1).into());
    }
    Ok(object)
}

/// Validates a message and writes it: fields in documented order, no white space, so equal messages give equal bytes.
pub fn encode<P: Payload>(message: &P) -> Result<Vec<u8>, Invalid> {
    message.validate()?;
    serde_json::to_vec(message).map_err(|e| Invalid::new(InvalidKind::InvalidFormat, e.to_string()))
}
