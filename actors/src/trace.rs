//! `evolution trace`: a proposal's whole story, from the database alone: its states, votes, decision, metrics and rollback, and
//! every message about it with every try.

use anyhow::{Result, bail};
use pgflow::{Admin, Config};
use pgflow_actors::store::{self, Happening};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::cli::output::out;

pub(crate) async fn print(config: &Config, proposal: Uuid, json: bool) -> Result<()> {
    let client = pgflow::connect(&config.url, "evolution trace").await?;
    let mut story = store::happenings(&client, proposal).await?;
    if story.is_empty() {
        bail!("no proposal {proposal}: `evolution list` shows those there are");
    }
    let admin = Admin::connect(config).await?;
    for message in store::messages_about(&client, proposal).await? {
        story.extend(of_message(&admin, message).await?);
    }
    story.sort_by_key(|happening| happening.at);
    for Happening { at, what, detail } in story {
        let at = at.format(&Rfc3339)?;
        if json {
            out(serde_json::json!({ "at": at, "what": what, "detail": detail }))?;
        } else {
            out(format_args!("{at:<30} {what:<22} {detail}"))?;
        }
    }
    Ok(())
}

/// What befell a message; nothing, once its history is past retention.
async fn of_message(admin: &Admin, message: i64) -> Result<Vec<Happening>> {
    let events = match admin.trace(message).await {
        Ok(events) => events,
        Err(gone) if gone.is_input() => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    events
        .into_iter()
        .map(|event| {
            let told =
                [Some(format!("#{message}")), event.attempt.map(|n| format!("try {n}")), event.instance, event.detail];
            Ok(Happening {
                at: OffsetDateTime::parse(&event.at, &Rfc3339)?,
                what: format!("message {}", event.event),
                detail: told.into_iter().flatten().collect::<Vec<_>>().join(", "),
            })
        })
        .collect()
}
