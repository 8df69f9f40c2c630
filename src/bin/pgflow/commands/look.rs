//! Single messages and instances: `trace`, `explain`, `cancel`, `tree`; and the database's `mode`.

use pgflow::{
    Admin,
    admin::{InstanceInfo, Mode},
};
use serde::Serialize;
use serde_json::Value;

use crate::{
    args::Global,
    database,
    fault::Fault,
    output::{self, Output},
};

/// How a message is named on the command line.
enum Name {
    Id(i64),
    MessageId(uuid::Uuid),
}

fn read(command: &str, name: &str) -> Result<Name, Fault> {
    match (name.parse(), name.parse()) {
        (Ok(id), _) => Ok(Name::Id(id)),
        (_, Ok(message_id)) => Ok(Name::MessageId(message_id)),
        _ => Err(Fault::usage(format!("{command} {name}: give a message's id (a number) or message_id (a UUID)"))),
    }
}

/// The one message that is named.
async fn find(admin: &Admin, command: &str, name: &str) -> Result<i64, Fault> {
    let message_id = match read(command, name)? {
        Name::Id(id) => return Ok(id),
        Name::MessageId(message_id) => message_id,
    };
    match admin.find_message_id(message_id).await?.as_slice() {
        [id] => Ok(*id),
        [] => Err(Fault::failed(format!("{command} {name}: it never was, or it is older than retention"))),
        ids => Err(Fault::failed(format!("{command} {name}: several have it, name one by its id: {ids:?}"))),
    }
}

/// What befell a message.
pub(crate) async fn trace(global: &Global, id: &str, out: Output) -> Result<(), Fault> {
    let admin = database::admin(global).await?;
    let events = match read("trace", id)? {
        Name::Id(id) => admin.trace(id).await?,
        Name::MessageId(message_id) => admin.trace_message_id(message_id).await?,
    };
    out.list(&events, &["id", "at", "event", "attempt", "instance", "detail"])
}

/// Why a message is where it is.
pub(crate) async fn explain(global: &Global, name: &str, out: Output) -> Result<(), Fault> {
    let admin = database::admin(global).await?;
    let id = find(&admin, "explain", name).await?;
    let explanation = admin.explain(id).await?;
    let sentence = format!(
        "message {} on queue \"{}\" is {}: {}",
        id,
        explanation.queue_name,
        explanation.status,
        explanation.reasons.join("; ")
    );
    out.done(&explanation, &sentence)
}

#[derive(Serialize)]
struct Cancelled {
    id: i64,
    action: &'static str,
}

/// Ends a message that waits.
pub(crate) async fn cancel(global: &Global, name: &str, out: Output) -> Result<(), Fault> {
    let admin = database::admin(global).await?;
    let id = find(&admin, "cancel", name).await?;
    admin.cancel_message(id).await?;
    out.done(&Cancelled { id, action: "cancelled" }, &format!("message {id} is cancelled"))
}

#[derive(Serialize)]
struct Now {
    mode: Mode,
}

/// How publishers wake sleeping instances; changed if a new mode is given.
pub(crate) async fn mode(global: &Global, new: Option<&str>, out: Output) -> Result<(), Fault> {
    let admin = database::admin(global).await?;
    let mode = match new {
        None => admin.mode().await?,
        Some(new) => {
            let mode: Mode = new.parse()?;
            admin.set_mode(mode).await?;
            mode
        }
    };
    out.done(&Now { mode }, mode.as_str())
}

/// The live instances, each with its supervision tree.
pub(crate) async fn tree(global: &Global, out: Output) -> Result<(), Fault> {
    let instances = database::admin(global).await?.tree().await?;
    if out.json {
        return out.list(&instances, &[]);
    }
    if instances.is_empty() {
        return output::text("no live instance\n");
    }
    output::text(&instances.iter().map(drawn).collect::<String>())
}

fn drawn(instance: &InstanceInfo) -> String {
    let InstanceInfo { name, session_id, host, pid, heartbeat_age_s, .. } = instance;
    let (host, pid) = (host.as_deref().unwrap_or("?"), pid.map_or("?".to_owned(), |pid| pid.to_string()));
    let mut text = format!("{name}  (session {session_id}, {host}, pid {pid}, heartbeat {heartbeat_age_s:.1} s ago)\n");
    match &instance.tree {
        Some(Value::Array(nodes)) => draw(nodes, "", &mut text),
        _ => text.push_str("└─ its tree is not saved yet\n"),
    }
    text
}

fn draw(nodes: &[Value], indent: &str, text: &mut String) {
    for (at, node) in nodes.iter().enumerate() {
        let (branch, below) = if at + 1 == nodes.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let id = node["id"].as_str().unwrap_or("?");
        let down = if node["running"] == false { "  DOWN" } else { "" };
        let restarts = match node["restarts"].as_u64() {
            Some(n @ 1..) => format!("  restarted {n}×"),
            _ => String::new(),
        };
        let note = node["note"].as_str().map(|note| format!("  ({note})")).unwrap_or_default();
        text.push_str(&format!("{indent}{branch}{id}{down}{restarts}{note}\n"));
        if let Some(children) = node["children"].as_array() {
            draw(children, &format!("{indent}{below}"), text);
        }
    }
}
