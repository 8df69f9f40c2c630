//! Versions: a chain of upgrades for old payloads, and what becomes of one that is newer than this program.

use pgflow::{Codec, Encoded, Message};
use pgflow_actors::invalid::{Invalid, InvalidKind};
use pgflow_actors::json::Object;
use pgflow_actors::messages::{Envelope, Payload, ProposalForConsensus, decode, encode};
use pgflow_actors::wire::Wire;
use serde_json::{Value, json};

/// A message type in its third version: `note` was `text`, then `words`, a list.
#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
struct Note {
    #[serde(flatten)]
    envelope: Envelope<Self>,
    note: String,
}

impl Payload for Note {
    const TYPE: &'static str = "note";
    const QUEUE: &'static str = "notes";
    const REQUIRED: &'static [&'static str] = &["note"];
    const VERSION: u16 = 3;

    fn upgrade(from: u16, mut object: Object) -> Result<Object, Invalid> {
        let missing = |field| Invalid::new(InvalidKind::InvalidMessage, format!("{field} is missing"));
        if from == 1 {
            let text = object.remove("text").ok_or_else(|| missing("text"))?;
            object.insert("words".to_owned(), json!([text]));
        } else {
            let words = object.remove("words").ok_or_else(|| missing("words"))?;
            let words: Vec<&str> = words.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            object.insert("note".to_owned(), words.join(" ").into());
        }
        Ok(object)
    }

    fn envelope(&self) -> &Envelope<Self> {
        &self.envelope
    }

    fn check(&self) -> Result<(), Invalid> {
        Ok(())
    }
}

/// Fear: an old payload is refused, or read as if it were new.
#[test]
fn an_old_payload_goes_through_every_step() {
    for body in [
        json!({"type": "note", "text": "hello there"}),
        json!({"type": "note", "version": 1, "text": "hello there"}),
        json!({"type": "note", "version": 2, "words": ["hello", "there"]}),
        json!({"type": "note", "version": 3, "note": "hello there"}),
    ] {
        let note: Note = decode(body.to_string().as_bytes()).unwrap();
        assert_eq!((note.note.as_str(), note.envelope.version), ("hello there", 3), "{body}");
        assert!(String::from_utf8(encode(&note).unwrap()).unwrap().contains("\"version\":3"));
    }
    let broken = json!({"type": "note", "version": 1});
    assert_eq!(decode::<Note>(broken.to_string().as_bytes()).unwrap_err().tag(), "invalid_message");
}

/// Fear: a version that never was is upgraded from nowhere.
#[test]
fn a_version_that_never_was_is_refused() {
    for version in [json!(0), json!(4), json!(99), json!(70_000)] {
        let body = json!({"type": "note", "version": version, "note": "x"}).to_string();
        assert_eq!(decode::<Note>(body.as_bytes()).unwrap_err().tag(), "unsupported_version", "{version}");
    }
    let word = json!({"type": "note", "version": "3", "note": "x"}).to_string();
    assert_eq!(decode::<Note>(word.as_bytes()).unwrap_err().tag(), "invalid_format");
}

/// Fear: a payload of tomorrow is thrown away by today's program while tomorrow's runs beside it.
#[test]
fn a_newer_payload_is_left_to_a_newer_program() {
    let read = |version: u16, body: &str| {
        Wire::<ProposalForConsensus>::decode(Encoded { version, codec: Codec::Json, body: body.as_bytes() })
    };
    let golden = include_str!("../golden/proposal_for_consensus.json");
    assert!(read(1, golden).unwrap().into_payload().is_ok());
    assert!(read(1, &golden.replace("\"version\":1", "\"version\":99")).unwrap_err().is_unsupported());
    assert!(read(99, golden).unwrap_err().is_unsupported(), "the row may say it too");
    assert_eq!(read(1, "{").unwrap().into_payload().unwrap_err().tag(), "unreadable");
    assert_eq!(read(1, "[]").unwrap().into_payload().unwrap_err().tag(), "unreadable");
}

/// Fear: one message has two ids, and nobody finds the row that a payload speaks of.
#[test]
fn the_payloads_id_is_the_rows() {
    let message: ProposalForConsensus = decode(include_bytes!("../golden/proposal_for_consensus.json")).unwrap();
    let id = message.envelope.message_id.unwrap();
    assert_eq!(Wire::of(message).outgoing().unwrap().message_id(), id);
}
