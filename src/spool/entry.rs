//! A message as it lies in the spool.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    codec::Codec,
    message::{Outgoing, Priority},
};

/// What is written of a message. A changed field needs a new version of the frame.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) message_id: Uuid,
    pub(crate) queue: String,
    pub(crate) kind: String,
    version: u16,
    codec: i16,
    priority: i16,
    headers: Option<String>,
    ordering_key: Option<String>,
    dedup_key: Option<String>,
    target: Option<String>,
    /// A delay counts from the publish: until when, in ms of the Unix epoch by this machine's clock.
    due_ms: Option<u64>,
    /// When it was published, by the same clock.
    pub(crate) published_ms: u64,
    /// Who published it; a later start of the process may have another name.
    pub(crate) source: String,
    /// It was sent to Postgres, which did not answer: it may be in a table already.
    pub(crate) doubtful: bool,
    /// The next record is of the same call: both are kept, or neither.
    pub(crate) more: bool,
    body: Vec<u8>,
}

impl Entry {
    /// A message that is spooled now.
    pub(crate) fn new(out: &Outgoing, source: &str, doubtful: bool) -> Self {
        let published_ms = now_ms();
        Self {
            message_id: out.message_id,
            queue: out.queue.clone(),
            kind: out.kind.clone(),
            version: out.version,
            codec: out.codec as i16,
            priority: out.priority.class(),
            headers: out.headers.as_ref().map(serde_json::Value::to_string),
            ordering_key: out.ordering_key.clone(),
            dedup_key: out.dedup_key.clone(),
            target: out.target.clone(),
            due_ms: out.delay.map(|delay| published_ms.saturating_add(millis(delay))),
            published_ms,
            source: source.to_owned(),
            doubtful,
            more: false,
            body: out.body.clone(),
        }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_stdvec(self)
    }

    /// None: not an entry, though its checksum is right.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let entry: Self = postcard::from_bytes(bytes).ok()?;
        let plain = Codec::from_code(entry.codec).is_some() && Priority::from_class(entry.priority).is_some();
        let headers = entry.headers.as_ref().is_none_or(|h| serde_json::from_str::<serde_json::Value>(h).is_ok());
        (plain && headers).then_some(entry)
    }

    /// The message as it would be published now: of its delay, what is left.
    pub(crate) fn outgoing(&self) -> Outgoing {
        let left = |due: u64| Duration::from_millis(due.saturating_sub(now_ms()));
        Outgoing {
            queue: self.queue.clone(),
            kind: self.kind.clone(),
            version: self.version,
            codec: Codec::from_code(self.codec).unwrap_or(Codec::Json),
            body: self.body.clone(),
            priority: Priority::from_class(self.priority).unwrap_or_default(),
            message_id: self.message_id,
            headers: self.headers.as_ref().and_then(|text| serde_json::from_str(text).ok()),
            ordering_key: self.ordering_key.clone(),
            dedup_key: self.dedup_key.clone(),
            delay: self.due_ms.map(left),
            target: self.target.clone(),
        }
    }

    /// For a person who has to put it right by hand: all of it, the body as JSON when it is JSON.
    pub(super) fn shown(&self) -> serde_json::Value {
        let body = match Codec::from_code(self.codec) {
            Some(Codec::Json) => serde_json::from_slice(&self.body).unwrap_or_default(),
            _ => serde_json::Value::String(hex(&self.body)),
        };
        serde_json::json!({
            "message_id": self.message_id, "queue_name": self.queue, "kind": self.kind, "version": self.version,
            "codec": self.codec, "priority": self.priority, "headers": self.headers, "ordering_key": self.ordering_key,
            "dedup_key": self.dedup_key, "target": self.target, "due_ms": self.due_ms, "published_ms": self.published_ms,
            "source": self.source, "may_be_in_postgres": self.doubtful, "body": body,
        })
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fear: a field is lost on the way through the spool, or a delay starts anew when it is forwarded.
    #[test]
    fn everything_comes_back_and_a_delay_goes_on() {
        let out = Outgoing::json("mail", "k", r#"{"a": [1]}"#).unwrap();
        let out = out.priority(Priority::High).ordering_key("o").dedup_key("d").target("east");
        let out = out.headers(serde_json::json!({"t": 7})).delay(Duration::from_secs(60));
        let mut entry = Entry::decode(&Entry::new(&out, "me", true).encode().unwrap()).unwrap();
        assert!(entry.doubtful && entry.source == "me");
        entry.due_ms = entry.due_ms.map(|due| due - 20_000);
        let back = entry.outgoing();
        let delay = back.delay.unwrap();
        assert!(delay <= Duration::from_secs(40) && delay > Duration::from_secs(30), "{delay:?}");
        let same = |o: &Outgoing| format!("{:?}", Outgoing { delay: None, ..o.clone() });
        assert_eq!(same(&out), same(&back));
        entry.due_ms = Some(0);
        assert_eq!(entry.outgoing().delay, Some(Duration::ZERO));
    }
}
