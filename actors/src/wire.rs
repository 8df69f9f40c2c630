//! A payload as pgflow carries it: [`pgflow::Message`], once, over every [`Payload`].

use pgflow::{Message, Outgoing, Priority};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser};
use serde_json::Value;

use crate::invalid::Invalid;
use crate::messages::{Payload, decode_value};

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
    pub fn outgoing(payload: P) -> pgflow::Result<Outgoing> {
        Outgoing::new(&Self::of(payload))
    }
}

impl<P: Payload> Message for Wire<P> {
    const KIND: &'static str = P::TYPE;
    const QUEUE: &'static str = P::QUEUE;
    const PRIORITY: Priority = P::PRIORITY;

    fn ordering_key(&self) -> Option<String> {
        self.0.as_ref().ok().and_then(P::ordering_key)
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
