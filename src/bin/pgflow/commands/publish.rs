//! `pgflow publish`: one message from an argument, a file or stdin; or one per line.

use std::io::{BufRead as _, IsTerminal as _, Read as _};

use pgflow::{Durable, Outgoing, Publisher, Receipt, limits};
use serde::Serialize;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    args::{Global, Publish},
    database,
    fault::{self, Fault},
    output::{self, Output},
};

/// Most lines of one transaction, and most bytes that it starts with.
const BATCH_LINES_MAX: usize = 1_000;
const BATCH_BYTES_MAX: usize = 8 << 20;

#[derive(Serialize)]
struct Published<'a> {
    /// Null while it is spooled.
    id: Option<i64>,
    message_id: String,
    queue_name: &'a str,
    kind: &'a str,
    durable: &'static str,
    /// Its dedup key was there: the ids are those of the first message, and nothing was published.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

/// Publishes and says under which id: the number in the database, or, spooled, the message id.
pub(crate) async fn run(global: &Global, publish: Publish, out: Output) -> Result<(), Fault> {
    let mut config = database::config(global)?;
    config.spool_dir.clone_from(&publish.spool);
    let publisher = Publisher::connect(&config).await?;
    let published =
        if publish.ndjson { lines(&publisher, &publish).await } else { one(&publisher, &publish, out).await };
    // What is left in the end stays for `pgflow spool DIR drain`, or the next publish.
    if let Err(error) = publisher.drain().await {
        fault::line_to_stderr(&error.to_string());
    }
    published
}

async fn one(publisher: &Publisher, publish: &Publish, out: Output) -> Result<(), Fault> {
    let text = payload(publish)?;
    let (kind, message) = message(publish, &text)?;
    let own_id = message.message_id();
    if publish.broadcast {
        let copies = publisher.broadcast_out(message).await?;
        // Each copy has ids of its own: what is told of it says nothing of a dedup key.
        let said: Vec<Published<'_>> =
            copies.iter().map(|copy| published(*copy, copy.message_id, &publish.queue, &kind)).collect();
        let names: Vec<String> = copies.iter().map(name).collect();
        return if names.is_empty() && !out.json { Ok(()) } else { out.done(&said, &names.join("\n")) };
    }
    let receipt = publisher.send(message).await?;
    out.done(&published(receipt, own_id, &publish.queue, &kind), &name(&receipt))
}

/// What it is called from now on.
fn name(receipt: &Receipt) -> String {
    receipt.id().map_or_else(|| receipt.message_id.to_string(), |id| id.to_string())
}

fn published<'a>(receipt: Receipt, own_id: Uuid, queue_name: &'a str, kind: &'a str) -> Published<'a> {
    let durable = if receipt.durable == Durable::Spooled { "spooled" } else { "postgres" };
    let duplicate = receipt.message_id != own_id;
    Published { id: receipt.id(), message_id: receipt.message_id.to_string(), queue_name, kind, durable, duplicate }
}

/// The one payload.
fn payload(publish: &Publish) -> Result<String, Fault> {
    if let Some(text) = publish.payload.as_ref().filter(|text| *text != "-") {
        return Ok(text.clone());
    }
    let mut text = String::new();
    let stdin = std::io::stdin();
    let read = match publish.file.as_deref() {
        Some(path) if path.as_os_str() != "-" => {
            return std::fs::read_to_string(path).map_err(|e| Fault::failed(format!("read {}: {e}", path.display())));
        }
        None if stdin.is_terminal() => {
            return Err(Fault::usage("no payload: give it as an argument, with --file, or on stdin"));
        }
        _ => stdin.lock().read_to_string(&mut text),
    };
    read.map(|_| text).map_err(|e| Fault::failed(format!("read stdin: {e}")))
}

/// A message with what the command line says about it, and its kind.
fn message(publish: &Publish, text: &str) -> Result<(String, Outgoing), Fault> {
    let kind = publish.kind.clone().unwrap_or_else(|| kind_of(text).unwrap_or_else(|| publish.queue.clone()));
    let mut message = Outgoing::json(&publish.queue, &kind, text.trim())?.priority(publish.priority);
    if let Some(key) = &publish.key {
        message = message.ordering_key(key);
    }
    if let Some(key) = &publish.dedup {
        message = message.dedup_key(key);
    }
    if let Some(delay) = publish.delay {
        message = message.delay(delay);
    }
    if let Some(target) = &publish.target {
        message = message.target(target);
    }
    if let Some(headers) = &publish.headers {
        let headers = serde_json::from_str(headers).map_err(|e| Fault::usage(format!("--headers is not JSON: {e}")))?;
        message = message.headers(headers);
    }
    Ok((kind, message))
}

/// The payload's own word for what it is, as in the SQL function.
fn kind_of(text: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Typed {
        r#type: String,
    }
    serde_json::from_str::<Typed>(text).ok().map(|typed| typed.r#type)
}

/// One message per line. Lines that are there already go into one transaction; a slow writer gets each id at once.
async fn lines(publisher: &Publisher, publish: &Publish) -> Result<(), Fault> {
    let mut lines = read_lines(publish)?;
    let mut received = Vec::new();
    while lines.recv_many(&mut received, BATCH_LINES_MAX).await > 0 {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for line in received.drain(..) {
            let made = line.and_then(|(number, text)| {
                let made = message(publish, &text).map_err(|fault| fault.at(format!("line {number}")));
                made.map(|(kind, message)| (Numbered { number, kind, message }, text.len()))
            });
            match made {
                Ok((line, length)) => {
                    bytes += length;
                    batch.push(line);
                    if bytes >= BATCH_BYTES_MAX {
                        send(publisher, &publish.queue, std::mem::take(&mut batch)).await?;
                        bytes = 0;
                    }
                }
                // What came before the bad line is published and said.
                Err(fault) => return send(publisher, &publish.queue, batch).await.and(Err(fault)),
            }
        }
        send(publisher, &publish.queue, batch).await?;
    }
    Ok(())
}

/// A line's message.
struct Numbered {
    number: usize,
    kind: String,
    message: Outgoing,
}

/// Sends all of it and says so; or, when one is refused, those before it, and names its line.
async fn send(publisher: &Publisher, queue: &str, batch: Vec<Numbered>) -> Result<(), Fault> {
    let messages = batch.iter().map(|line| line.message.clone()).collect();
    match publisher.send_many(messages).await {
        Ok(receipts) => say(queue, batch.iter().zip(receipts)),
        Err(error) if error.is_input() && !error.is_unknown_queue() => {
            for line in batch {
                let sent = publisher.send(line.message.clone()).await;
                let receipt = sent.map_err(|e| Fault::from(e).at(format!("line {}", line.number)))?;
                say(queue, [(&line, receipt)])?;
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// A JSON line for each message that is published. Nobody would learn what became of more when it cannot be written.
fn say<'a>(queue: &str, sent: impl IntoIterator<Item = (&'a Numbered, Receipt)>) -> Result<(), Fault> {
    let (mut last, mut said) = (0, Ok(()));
    for (line, receipt) in sent {
        last = line.number;
        said = said.and_then(|()| output::json_line(&published(receipt, line.message.message_id(), queue, &line.kind)));
    }
    said.map_err(|fault| fault.unfinished(&format!("lines after {last} are not published")))
}

type Line = Result<(usize, String), Fault>;

/// The lines that are not empty, with their numbers, read on a thread: a read of stdin cannot be cancelled.
fn read_lines(publish: &Publish) -> Result<mpsc::Receiver<Line>, Fault> {
    let file: Box<dyn std::io::Read + Send> = match publish.file.as_deref() {
        Some(path) if path.as_os_str() != "-" => {
            Box::new(std::fs::File::open(path).map_err(|e| Fault::failed(format!("read {}: {e}", path.display())))?)
        }
        _ => Box::new(std::io::stdin()),
    };
    let (to, lines) = mpsc::channel(BATCH_LINES_MAX);
    std::thread::spawn(move || {
        let mut reader = std::io::BufReader::new(file);
        for number in 1.. {
            let mut line = Vec::new();
            let limit = limits::BATCH_BYTES_MAX as u64;
            let line = match reader.by_ref().take(limit).read_until(b'\n', &mut line) {
                Ok(0) => return,
                Err(e) => Err(Fault::failed(format!("line {number}: {e}"))),
                Ok(_) => String::from_utf8(line)
                    .map(|text| (number, text))
                    .map_err(|_| Fault::failed(format!("line {number}: not UTF-8"))),
            };
            let empty = line.as_ref().is_ok_and(|(_, text)| text.trim().is_empty());
            if !empty && to.blocking_send(line).is_err() {
                return;
            }
        }
    });
    Ok(lines)
}
