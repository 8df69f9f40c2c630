//! Why a message is not running, in words.

use serde::{Deserialize, Serialize};

use crate::store::Facts;

/// Why a message is where it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The message's number.
    pub id: i64,
    /// Its queue.
    pub queue_name: String,
    /// `pending`, `scheduled`, `parked`, `processing`, `done`, `dead` or `cancelled`.
    pub status: String,
    /// Everything that stands in its way, or how it ended; one sentence each, never empty.
    pub reasons: Vec<String>,
}

pub(super) fn explain(f: Facts) -> Explanation {
    let mut reasons = Vec::new();
    match f.status.as_str() {
        "processing" => reasons.push(format!(
            "try {} runs on instance \"{}\" since {}",
            f.attempt,
            f.instance.as_deref().unwrap_or("unknown"),
            f.claimed_at.as_deref().unwrap_or("unknown")
        )),
        "done" => reasons.push(format!("it was done in try {}", f.attempt)),
        "cancelled" => reasons.push("it was cancelled".into()),
        "dead" => reasons.push(format!("it is dead: {}", f.error.as_deref().unwrap_or("no error was kept"))),
        _ => {
            own_reasons(&f, &mut reasons);
            common_reasons(&f, &mut reasons);
        }
    }
    Explanation { id: f.id, queue_name: f.queue_name, status: f.status, reasons }
}

/// What this one message waits for.
fn own_reasons(f: &Facts, reasons: &mut Vec<String>) {
    let run_at = f.run_at.as_deref().unwrap_or("unknown");
    match (f.status.as_str(), f.reason.as_deref()) {
        ("scheduled", _) => reasons.push(match &f.error {
            Some(error) => format!("try {} failed ({error}): the next one is not before {run_at}", f.attempt),
            None => format!("it was delayed: not before {run_at}"),
        }),
        ("parked", Some("key")) => {
            let key = f.ordering_key.as_deref().unwrap_or_default();
            reasons.push(match f.key_head {
                Some(head) => format!(
                    "key \"{key}\" is held by message {head}, and {} more are before it",
                    f.key_ahead.unwrap_or(0)
                ),
                None => format!("key \"{key}\" is being handed on"),
            });
            if f.run_at.is_some() {
                reasons.push(format!("it was delayed: not before {run_at}"));
            }
        }
        ("parked", _) => reasons.push(format!(
            "an instance could not decode kind \"{}\" version {}, and {} live ones can",
            f.kind, f.version, f.decoding
        )),
        _ => {}
    }
}

/// What all messages of its queue or for its addressee wait for.
fn common_reasons(f: &Facts, reasons: &mut Vec<String>) {
    if f.queue_deleted {
        reasons.push(format!("queue \"{}\" is deleted: the next sweep makes it a dead letter", f.queue_name));
    } else if f.paused {
        reasons.push(format!("queue \"{0}\" is paused: `pgflow queue resume {0}`", f.queue_name));
    }
    match (&f.target, f.serving) {
        (Some(target), 0) => {
            reasons.push(format!(
                "it is addressed to instance \"{target}\", which is not live or does not serve the queue"
            ));
        }
        (None, 0) => reasons.push(format!("no live instance serves queue \"{}\"", f.queue_name)),
        _ if f.decoding == 0 => {
            reasons.push(format!("no live instance takes kind \"{}\" version {}", f.kind, f.version));
        }
        _ => {}
    }
    if reasons.is_empty() {
        reasons.push(format!(
            "nothing is in its way: {} messages are before it, {} of the queue are being processed",
            f.ahead.unwrap_or(0),
            f.processing
        ));
    }
}
