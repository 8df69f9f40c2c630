//! `pgflow doctor`: what is wrong, or may soon be.

use pgflow::admin::Health;

use crate::{args::Global, database, fault::Fault, output::Output};

/// Shows every check, and fails if one does.
pub(crate) async fn run(global: &Global, out: Output) -> Result<(), Fault> {
    let findings = database::admin(global).await?.doctor().await?;
    out.list(&findings, &["health", "check", "detail"])?;
    let failed: Vec<&str> = findings.iter().filter(|f| f.health == Health::Fail).map(|f| f.check.as_str()).collect();
    match failed.as_slice() {
        [] => Ok(()),
        failed => Err(Fault::failed(format!("failed: {}", failed.join(", ")))),
    }
}
