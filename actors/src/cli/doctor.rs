//! `evolution doctor`: what pgflow's doctor finds, and the open alerts.

use anyhow::{Result, bail};
use pgflow::Admin;
use pgflow::admin::Health;
use pgflow_actors::alerts::Urgency;
use pgflow_actors::store;
use serde_json::json;
use time::format_description::well_known::Rfc3339;

use super::config;

/// Shows every check and every open alert; fails where a check does, or an alert is urgent.
pub(super) async fn run(url: &str, as_json: bool) -> Result<()> {
    let findings = Admin::connect(&config(url)).await?.doctor().await?;
    let client = pgflow::connect(url, "evolution doctor").await?;
    let alerts = store::open_alerts(&client).await?;
    let bad = findings.iter().any(|f| f.health == Health::Fail) || alerts.iter().any(|a| a.urgency == Urgency::Page);
    if as_json {
        let alerts = alerts.iter().map(|a| -> Result<_> {
            Ok(json!({
                "alert": a.alert, "subject": a.subject, "instance_id": a.instance, "urgency": a.urgency,
                "detail": a.detail, "raised_at": a.raised_at.format(&Rfc3339)?,
            }))
        });
        println!("{}", json!({ "findings": findings, "alerts": alerts.collect::<Result<Vec<_>>>()? }));
    } else {
        for f in &findings {
            println!("{:<5} {:<16} {}", word(f.health), f.check, f.detail);
        }
        for a in &alerts {
            let since = a.raised_at.format(&Rfc3339)?;
            println!("{:<5} {:<16} {} since {since}: {}", a.urgency, a.alert, a.subject, a.detail);
        }
    }
    if bad {
        bail!("not well: see the lines that say fail or page");
    }
    Ok(())
}

const fn word(health: Health) -> &'static str {
    match health {
        Health::Ok => "ok",
        Health::Warn => "warn",
        _ => "fail",
    }
}
