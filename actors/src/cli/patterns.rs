//! `evolution patterns`: what was learned, and what of it helps with a piece of code.

use std::path::Path;

use anyhow::{Context, Result};
use pgflow_actors::json::Object;
use pgflow_actors::patterns::{ConsensusQuery, Pattern, consensus_patterns, suggestions};
use pgflow_actors::similarity::ShingleCosine;
use pgflow_actors::store;
use serde_json::json;

use super::output::out;

/// Consensus patterns, the best first; or those most like the code in a file.
pub(super) async fn print(url: &str, like: Option<&Path>, as_json: bool) -> Result<()> {
    let client = pgflow::connect(url, "evolution patterns").await?;
    let known = store::patterns(&client, None).await?;
    let shown: Vec<(&Pattern, Option<f64>)> = match like {
        Some(file) => {
            let code = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
            let asked = Object::from_iter([("after".to_owned(), code.into())]);
            suggestions(&known, &asked, &ShingleCosine).into_iter().map(|(p, likeness)| (p, Some(likeness))).collect()
        }
        None => consensus_patterns(&known, ConsensusQuery::default()).into_iter().map(|p| (p, None)).collect(),
    };
    for (pattern, likeness) in shown {
        let (score, name) = (pattern.consensus_score(), pattern.code_pattern.get("name"));
        if as_json {
            out(json!({
                "pattern_type": pattern.pattern_type, "code_pattern": pattern.code_pattern, "consensus_score": score,
                "success_rate": pattern.success_rate, "instances": pattern.instances(), "usage_count": pattern.usage_count(),
                "promoted": pattern.promoted, "likeness": likeness,
            }))?;
        } else {
            let name = name.or_else(|| pattern.code_pattern.get("description")).map(ToString::to_string);
            let likeness = likeness.map(|l| format!(" likeness {l:.2}")).unwrap_or_default();
            out(format_args!(
                "{:<20} score {score:.3} success {:.2} instances {} reports {}{likeness} {}",
                pattern.pattern_type,
                pattern.success_rate,
                pattern.instances(),
                pattern.usage_count(),
                name.unwrap_or_default()
            ))?;
        }
    }
    Ok(())
}
