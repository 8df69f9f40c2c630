//! `evolution doctor`: what pgflow's doctor finds, the evolution system's own alerts among it.

use anyhow::{Result, bail};
use pgflow::Admin;
use pgflow::admin::Health;

use super::config;
use super::output::out;

/// Shows every check and every alert that stands; fails where a check does, or an alert is urgent.
pub(super) async fn run(url: &str, as_json: bool) -> Result<()> {
    let findings = Admin::connect(&config(url)).await?.doctor().await?;
    if as_json {
        out(serde_json::to_string(&findings)?)?;
    } else {
        for finding in &findings {
            out(finding)?;
        }
    }
    if findings.iter().any(|f| f.health == Health::Fail) {
        bail!("not well: see the lines that say fail");
    }
    Ok(())
}
