//! A payload as pgflow carries it: [`pgflow::Message`], once, over every [`Payload`].

use pgflow::{DecodeError, Encoded, Message, Outgoing, Priority};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};
use serde_json::Value;

use crate::invalid::{Invalid, InvalidKind};
use crate::messages::{Payload, decode_value, stated_version};

/// A payload on its way. One that was refused at receipt keeps its refusal, so that the dead letter begins with the
/// documented tag; no handler ever sees it.
#[derive(Debug)]
pub struct Wire<P>(Result<P, Invalid>);

impl<P: Payload> Wire<P> {
    /// Wraps a payload.
    pub const fn of(payload: P) -> Self {
        Self(Ok(payload))
    }

    /// The payload, or why it was refused.
    pub fn into_payload(self) -> Result<P, Invalid> {
        self.0
    }

    /// A payload ready to be sent, addressing still adjustable.
    ///
    /// # Errors
    /// The payload's own refusal.
    pub fn outgoing(&self) -> pgflow::Result<Outgoing> {
        let id = self.0.as_ref().ok().and_then(|payload| payload.envelope().message_id);
        let out = Outgoing::new(self)?;
        // One message, one id: the payload's is the row's.
        Ok(match id {
            Some(id) => out.with_message_id(id),
            None => out,
        })
    }
}

impl<P: Payload> Message for Wire<P> {
    const KIND: &'static str = P::TYPE;
    const QUEUE: &'static str = P::QUEUE;
    const VERSION: u16 = P::VERSION;
    const PRIORITY: Priority = P::PRIORITY;

    fn ordering_key(&self) -> Option<String> {
        self.0.as_ref().ok().and_then(P::ordering_key)
    }

    /// The body states its version. A newer one is left to a newer program; everything else that is wrong with it stays wrong.
    fn decode(body: Encoded<'_>) -> Result<Self, DecodeError> {
        let refused = |why: String| Self(Err(Invalid::new(InvalidKind::Unreadable, why)));
        let value: Value = match serde_json::from_slice(body.body) {
            Ok(value) => value,
            Err(why) => return Ok(refused(why.to_string())),
        };
        let stated = value.as_object().and_then(stated_version).unwrap_or(1).max(u64::from(body.version));
        if stated > u64::from(P::VERSION) {
            let newer = format!("{} version {stated} is newer than this program's {}", P::TYPE, P::VERSION);
            return Err(DecodeError::unsupported(newer));
        }
        Ok(Self(decode_value(value)))
    }

    fn validate(&self) -> Result<(), String> {
        match &self.0 {
            Ok(payload) => payload.validate().map_err(|refusal| refusal.to_string()),
            Err(refusal) => Err(refusal.to_string()),
        }
    }
}

impl<P: Payload> Serialize for Wire<P> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Ok(payload) => payload.serialize(to),
            Err(refusal) => Err(ser::Error::custom(refusal)),
        }
    }
}

impl<'de, P: Payload> Deserialize<'de> for Wire<P> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(from).map_err(D::Error::custom)?;
        Ok(Self(decode_value(value)))
    }
}
