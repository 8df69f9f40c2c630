//! Single messages and instances: `trace`, `explain`, `tree`; and the database's `mode`.

use pgflow::admin::{InstanceInfo, Mode};
use serde::Serialize;
use serde_json::Value;

use crate::{
    args::Global,
    database,
    fault::Fault,
    output::{self, Output},
};

/// What befell a message.
pub(crate) async fn trace(global: &Global, id: &str, out: Output) -> Result<(), Fault> {
    let admin = database::admin(global).await?;
    let events = match (id.parse::<i64>(), id.parse::<uuid::Uuid>()) {
        (Ok(id), _) => admin.trace(id).await?,
        (_, Ok(message_id)) => admin.trace_message_id(message_id).await?,
        _ => return Err(Fault::usage(format!("trace {id}: give a message's id (a number) or message_id (a UUID)"))),
    };
    out.list(&events, &["id", "at", "event", "attempt", "instance", "detail"])
}

/// Why a message is where it is.
pub(crate) async fn explain(global: &Global, id: i64, out: Output) -> Result<(), Fault> {
    let explanation = database::admin(global).await?.explain(id).await?;
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
