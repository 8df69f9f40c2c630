//! `pgflow doctor`: what is wrong, or may soon be.

use pgflow::admin::Health;

use crate::{
    args::Global,
    database,
    fault::Fault,
    output::{Output, json_line, text},
};

/// Shows every check, and fails if one does.
pub(crate) async fn run(global: &Global, out: Output) -> Result<(), Fault> {
    let findings = database::admin(global).await?.doctor().await?;
    let shown = if out.json {
        json_line(&findings)
    } else {
        // Whole lines: what to do stands at their end.
        text(&findings.iter().map(|f| format!("{f}\n")).collect::<String>())
    };
    let mut failed: Vec<&str> =
        findings.iter().filter(|f| f.health == Health::Fail).map(|f| f.check.as_str()).collect();
    failed.dedup();
    match failed.as_slice() {
        [] => shown,
        // The exit code is the answer, whether or not somebody read the lines.
        failed => Err(Fault::failed(format!("failed: {}", failed.join(", ")))),
    }
}
