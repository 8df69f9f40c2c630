//! A message: what kind it is, where it goes, how urgent it is, and one that is ready to be sent.

use std::{cmp::Ordering, fmt, str::FromStr, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    Error, Result,
    codec::{self, Codec, DecodeError, Encoded},
};

/// The longest kind, in bytes.
pub const KIND_BYTES_MAX: usize = 128;
/// The longest ordering key and the longest dedup key, in bytes.
pub const KEY_BYTES_MAX: usize = 512;
/// The longest instance name, in bytes.
pub const INSTANCE_BYTES_MAX: usize = 128;
/// The longest queue name, in bytes; allowed are `a-z 0-9 _ . : -`.
pub const QUEUE_BYTES_MAX: usize = 63;
/// The largest headers object, in bytes of JSON.
pub const HEADERS_BYTES_MAX: usize = 65_536;
/// The longest delay of a message: ten years.
pub const DELAY_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A type that can be published and handled.
///
/// ```
/// # use serde::{Serialize, Deserialize};
/// #[derive(Serialize, Deserialize)]
/// struct SendReceipt { order_id: i64 }
/// impl pgflow::Message for SendReceipt {
///     const KIND: &'static str = "send_receipt";
///     const QUEUE: &'static str = "mail";
/// }
/// ```
pub trait Message: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What the row's `kind` says, 1 to 128 bytes; a handler is found by it.
    const KIND: &'static str;
    /// The queue it is published to.
    const QUEUE: &'static str;
    /// The format's version, raised with every change that an older reader would misread.
    const VERSION: u16 = 1;
    /// How the body is written: JSON (readable in psql) or postcard (compact).
    const CODEC: Codec = Codec::Json;
    /// How urgent it is, unless the publisher says otherwise.
    const PRIORITY: Priority = Priority::Normal;

    /// Messages of one queue with the same key are handled strictly one at a time, in publish order.
    fn ordering_key(&self) -> Option<String> {
        None
    }

    /// Says why this value must not be sent or handled; checked at publish and at receipt.
    fn validate(&self) -> Result<(), String> {
        Ok(())
    }

    /// Reads a body of an older version. A chain of versions upgrades one step per type:
    /// `old.decode::<OrderV1>().map(Self::from)`.
    fn upgrade(old: Encoded<'_>) -> Result<Self, DecodeError> {
        Err(DecodeError::unsupported(format!("kind \"{}\" has no upgrade from version {}", Self::KIND, old.version)))
    }

    /// Reads a body as it arrived: this version as it is, an older one through [`upgrade`](Self::upgrade). Override it for
    /// bodies that state their version themselves, as those of plain SQL clients do: their row always says 1.
    ///
    /// # Errors
    /// Unsupported: another program may be able to read it, and it waits for one. Malformed: it is dead.
    fn decode(body: Encoded<'_>) -> Result<Self, DecodeError> {
        body.decode()
    }
}

// Here and not beside `Encoded`: the codec knows no messages, so that imports point one way.
impl Encoded<'_> {
    /// Reads it as `M`, through `M`'s upgrade chain when it is older.
    ///
    /// # Errors
    /// Unsupported when it is newer than `M` or `M` has no upgrade for it, malformed when it does not parse.
    pub fn decode<M: Message>(self) -> Result<M, DecodeError> {
        match self.version.cmp(&M::VERSION) {
            Ordering::Equal => self.read(),
            Ordering::Less => M::upgrade(self),
            Ordering::Greater => Err(DecodeError::unsupported(format!(
                "kind \"{}\" version {} is newer than this program's {}",
                M::KIND,
                self.version,
                M::VERSION
            ))),
        }
    }
}

/// High before normal before low, at every stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Priority {
    /// Served after normal, but never starved: it has a reserved share.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Overtakes everything; capacity is kept free for it.
    High,
}

impl Priority {
    /// The number in the `priority` column: 10, 0, -10.
    pub const fn class(self) -> i16 {
        match self {
            Self::High => 10,
            Self::Normal => 0,
            Self::Low => -10,
        }
    }

    /// The priority behind a number of the `priority` column.
    pub const fn from_class(class: i16) -> Option<Self> {
        match class {
            10 => Some(Self::High),
            0 => Some(Self::Normal),
            -10 => Some(Self::Low),
            _ => None,
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        })
    }
}

impl FromStr for Priority {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        match s {
            "high" | "10" => Ok(Self::High),
            "normal" | "0" => Ok(Self::Normal),
            "low" | "-10" => Ok(Self::Low),
            _ => Err(Error::input("read a priority", format!("\"{s}\" is none of high, normal, low"))),
        }
    }
}

/// A message on its way out: body encoded, addressing still adjustable.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub(crate) queue: String,
    pub(crate) kind: String,
    pub(crate) version: u16,
    pub(crate) codec: Codec,
    pub(crate) body: Vec<u8>,
    pub(crate) priority: Priority,
    pub(crate) message_id: Uuid,
    pub(crate) headers: Option<serde_json::Value>,
    pub(crate) ordering_key: Option<String>,
    pub(crate) dedup_key: Option<String>,
    pub(crate) delay: Option<Duration>,
    pub(crate) target: Option<String>,
}

impl Outgoing {
    /// Encodes a message with the queue, priority and ordering key that its type states.
    ///
    /// # Errors
    /// When [`Message::validate`] refuses it, or when it does not encode. Names and keys are checked when it is sent.
    pub fn new<M: Message>(message: &M) -> Result<Self> {
        let phase = || format!("encode \"{}\"", M::KIND);
        message.validate().map_err(|why| Error::input(phase(), why))?;
        let body = codec::encode(message, M::CODEC).map_err(|why| Error::input(phase(), why))?;
        let mut out = Self::raw(M::QUEUE, M::KIND, M::VERSION, M::CODEC, body).priority(M::PRIORITY);
        if let Some(key) = message.ordering_key() {
            out = out.ordering_key(key);
        }
        Ok(out)
    }

    /// A message from JSON text, for kinds without a Rust type.
    ///
    /// # Errors
    /// When the text is not JSON or holds a NUL character. Names and keys are checked when it is sent.
    pub fn json(queue: impl Into<String>, kind: impl Into<String>, text: &str) -> Result<Self> {
        let (queue, kind) = (queue.into(), kind.into());
        codec::check_json(text.as_bytes()).map_err(|why| Error::input(format!("encode \"{kind}\""), why))?;
        Ok(Self::raw(queue, kind, 1, Codec::Json, text.as_bytes().to_vec()))
    }

    fn raw(queue: impl Into<String>, kind: impl Into<String>, version: u16, codec: Codec, body: Vec<u8>) -> Self {
        Self {
            queue: queue.into(),
            kind: kind.into(),
            version,
            codec,
            body,
            priority: Priority::Normal,
            message_id: Uuid::now_v7(),
            headers: None,
            ordering_key: None,
            dedup_key: None,
            delay: None,
            target: None,
        }
    }

    /// Sends it to this queue instead.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = queue.into();
        self
    }

    /// Says how urgent it is.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// One message of this queue and key at a time, in publish order; 1 to 512 bytes.
    pub fn ordering_key(mut self, key: impl Into<String>) -> Self {
        self.ordering_key = Some(key.into());
        self
    }

    /// A second publish to this queue with the same key does nothing and answers the first one's id; 1 to 512 bytes.
    /// Remembered for the dedup retention (default 7 days).
    pub fn dedup_key(mut self, key: impl Into<String>) -> Self {
        self.dedup_key = Some(key.into());
        self
    }

    /// Not to be started before so much time has passed on the server's clock; at most [`DELAY_MAX`].
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Only the instance of this name may take it.
    pub fn target(mut self, instance: impl Into<String>) -> Self {
        self.target = Some(instance.into());
        self
    }

    /// Free fields that travel beside the body (trace, correlation): a JSON object, at most 64 KiB.
    pub fn headers(mut self, headers: serde_json::Value) -> Self {
        self.headers = Some(headers);
        self
    }

    /// Gives it this id in place of the one made here, where the body or another system names one already. To be used once: after an
    /// outage, a spooled message whose first try was not answered counts as sent if its id and kind are there from that time.
    pub fn with_message_id(mut self, id: Uuid) -> Self {
        self.message_id = id;
        self
    }

    /// The id made here, by which a repeat of an unanswered publish can be recognised.
    pub fn message_id(&self) -> Uuid {
        self.message_id
    }

    /// Checks every limit that needs no database.
    pub(crate) fn check(&self) -> Result<()> {
        let fail = |why: String| Err(Error::input(format!("publish to \"{}\"", self.queue), why));
        check_queue_name(&self.queue)?;
        for (what, value, max) in [
            ("kind", Some(&self.kind), KIND_BYTES_MAX),
            ("ordering key", self.ordering_key.as_ref(), KEY_BYTES_MAX),
            ("dedup key", self.dedup_key.as_ref(), KEY_BYTES_MAX),
            ("target", self.target.as_ref(), INSTANCE_BYTES_MAX),
        ] {
            let Some(value) = value else { continue };
            if value.is_empty() || value.len() > max {
                return fail(format!("{what} must have 1 to {max} bytes, it has {}", value.len()));
            }
            if value.contains('\0') {
                return fail(format!("{what} holds a NUL character, which Postgres cannot store"));
            }
        }
        if self.delay.is_some_and(|d| d > DELAY_MAX) {
            return fail(format!("delay is over {} s", DELAY_MAX.as_secs()));
        }
        if let Some(headers) = &self.headers {
            let text = headers.to_string();
            if !headers.is_object() || text.len() > HEADERS_BYTES_MAX {
                return fail(format!("headers must be a JSON object of at most {HEADERS_BYTES_MAX} bytes"));
            }
            codec::check_jsonb(text.as_bytes()).or_else(fail)?;
        }
        Ok(())
    }

    /// What it weighs in a statement: its body, and all else that has no small limit.
    pub(crate) fn bytes(&self) -> usize {
        let keys = [&self.ordering_key, &self.dedup_key, &self.target].into_iter().flatten().map(String::len);
        let headers = self.headers.as_ref().map_or(0, |headers| headers.to_string().len());
        self.body.len() + headers + keys.sum::<usize>()
    }

    /// Whether the plain INSERT is not enough: a key, a dedup key or a delay take the SQL function.
    pub(crate) fn needs_put(&self) -> bool {
        self.ordering_key.is_some() || self.dedup_key.is_some() || self.delay.is_some_and(|d| !d.is_zero())
    }
}

/// A queue's name is data, never an identifier; it is still kept plain, for logs and metric labels.
pub(crate) fn check_queue_name(name: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b':' | b'-');
    if name.is_empty() || name.len() > QUEUE_BYTES_MAX || !name.bytes().all(plain) {
        return Err(Error::input(
            format!("queue \"{}\"", name.escape_debug()),
            format!("a queue's name has 1 to {QUEUE_BYTES_MAX} characters of a-z 0-9 _ . : -"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fear: a limit off by one lets the database refuse what the library accepted.
    #[test]
    fn limits_hold_at_their_edges() {
        let base = || Outgoing::json("q", "k", "{}").unwrap();
        assert!(base().ordering_key("x".repeat(KEY_BYTES_MAX)).check().is_ok());
        assert!(base().ordering_key("x".repeat(KEY_BYTES_MAX + 1)).check().is_err());
        assert!(base().ordering_key("").check().is_err());
        assert!(base().dedup_key("a\0b").check().is_err());
        assert!(base().target("x".repeat(INSTANCE_BYTES_MAX)).check().is_ok());
        assert!(base().delay(DELAY_MAX).check().is_ok());
        assert!(base().delay(DELAY_MAX + Duration::from_secs(1)).check().is_err());
        assert!(base().headers(serde_json::json!([])).check().is_err());
        assert!(base().headers(serde_json::json!({"a": "\u{0}"})).check().is_err());
        assert!(base().queue("x".repeat(QUEUE_BYTES_MAX)).check().is_ok());
        assert!(base().queue("x".repeat(QUEUE_BYTES_MAX + 1)).check().is_err());
        assert!(base().queue("Mail").check().is_err());
        assert!(Outgoing::json("q", "k".repeat(KIND_BYTES_MAX + 1), "{}").unwrap().check().is_err());
    }
}
