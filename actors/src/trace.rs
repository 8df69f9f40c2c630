//! `evolution trace`: a proposal's whole story.

use anyhow::{Result, bail};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

pub(crate) async fn print(url: &str, proposal: Uuid, json: bool) -> Result<()> {
    let client = pgflow::connect(url, "evolution trace").await?;
    let rows = client.query(include_str!("../sql/queries/trace.sql"), &[&proposal]).await?;
    if rows.is_empty() {
        bail!("no proposal {proposal}");
    }
    for row in rows {
        let at: OffsetDateTime = row.try_get("at")?;
        let (what, detail): (String, Option<String>) = (row.try_get("what")?, row.try_get("detail")?);
        let (at, detail) = (at.format(&Rfc3339)?, detail.unwrap_or_default());
        if json {
            println!("{}", serde_json::json!({ "at": at, "what": what, "detail": detail }));
        } else {
            println!("{at:<30} {what:<20} {detail}");
        }
    }
    Ok(())
}
