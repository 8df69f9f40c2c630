//! The proposal queue from outside: submit, next, status, list.

use std::path::Path;

use anyhow::{Context, Result};
use pgflow_actors::proposal::State;
use pgflow_actors::queue::{self, QueueError};
use pgflow_actors::transport::Transport;
use pgflow_actors::{store, submit};
use serde_json::json;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::output::out;
use super::{SCHEMA, config};

/// Submits every line of a file, or none.
pub(super) async fn submit_file(url: &str, file: &Path, instance: &str) -> Result<()> {
    let text = if file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin()).context("read standard input")?
    } else {
        std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?
    };
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line = submit::read_line(line, instance).with_context(|| format!("line {}", number + 1))?;
        lines.push(line);
    }
    store::init(url, SCHEMA).await?;
    let mut client = pgflow::connect(url, "evolution submit").await?;
    let transport = Transport::connect(&config(url).instance("evolution submit")).await?;
    for id in submit::submit(&transport, &mut client, instance, lines).await? {
        out(id)?;
    }
    Ok(())
}

/// The proposal that is sent next.
pub(super) async fn next(url: &str, instance: &str, json: bool) -> Result<()> {
    let client = pgflow::connect(url, "evolution next").await?;
    match queue::next_proposal(&client, instance).await {
        Ok(proposal) => status(url, proposal.proposal_id, json).await,
        Err(QueueError::Refused(why)) => anyhow::bail!("{why}: nothing of {instance} can be sent now"),
        Err(QueueError::Failed(error)) => Err(error),
        Err(error) => Err(error.into()),
    }
}

/// Where a proposal stands, and why.
pub(super) async fn status(url: &str, id: Uuid, json: bool) -> Result<()> {
    let client = pgflow::connect(url, "evolution status").await?;
    let found = queue::get_proposal(&client, id).await.with_context(|| format!("proposal {id}"))?;
    let shown = json!({
        "proposal_id": id, "status": found.status, "instance_id": found.instance_id, "agent_type": found.agent_type,
        "change_type": found.change_type, "target": found.target_key, "score": found.priority,
        "impact_score": found.impact_score, "risk_score": found.risk_score, "rollback_requested": found.rollback_requested,
    });
    if json {
        out(shown)?;
    } else if let Some(fields) = shown.as_object() {
        for (name, value) in fields {
            out(format_args!("{name:<20} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))?;
        }
    }
    Ok(())
}

/// The proposals of an instance, or of all, in some states, or in any.
pub(super) async fn list(url: &str, instance: Option<&str>, states: &[String], json: bool) -> Result<()> {
    let states: Vec<State> = states
        .iter()
        .map(|word| {
            State::from_tag(word).with_context(|| format!("no state is called `{word}`; there are: {}", words()))
        })
        .collect::<Result<_>>()?;
    let client = pgflow::connect(url, "evolution list").await?;
    for line in queue::list(&client, instance, &states).await? {
        if json {
            out(serde_json::to_string(&line)?)?;
            continue;
        }
        let at = line.created_at.format(&Rfc3339)?;
        let (target, error) = (line.target.unwrap_or_default(), line.error.unwrap_or_default());
        let state = if line.kept { "kept" } else { line.status.tag() };
        out(format_args!(
            "{} {:<12} {state:<18} {:>7.3} {at:<30} {target} {error}",
            line.proposal_id, line.instance_id, line.score
        ))?;
    }
    Ok(())
}

fn words() -> String {
    State::ALL.iter().map(|state| state.tag()).collect::<Vec<_>>().join(", ")
}
