//! Submitting proposals: a row in `pending` and a word to the instance, in one transaction.

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use time::{Duration, OffsetDateTime};
use tokio_postgres::{Client, GenericClient};
use uuid::Uuid;

use crate::agents::default_cost;
use crate::change::{change_type, target_key};
use crate::events::{PROPOSAL_SUBMITTED, tell};
use crate::json::Object;
use crate::messages::{Envelope, PatternDiscovered, Payload, ProposalForConsensus, decode_value};
use crate::producers::instance::send_proposals;
use crate::producers::{all, in_order, send, together};
use crate::profile::Profile;
use crate::score::{Scoring, priority};
use crate::store::{self, NewProposal};
use crate::transport::Transport;

/// A line of a file of proposals. Fields it does not know are left alone.
#[derive(Debug, Clone, Deserialize)]
pub struct Submission {
    /// Its id; made here when absent.
    pub proposal_id: Option<Uuid>,
    /// Who thought of it.
    pub agent_type: String,
    /// Which one of them.
    #[serde(default)]
    pub agent_id: Option<String>,
    /// The change.
    pub code_change: Object,
    /// Free fields.
    #[serde(default)]
    pub metadata: Object,
    /// Expected benefit, 0..10.
    #[serde(default = "middle")]
    pub impact_score: f64,
    /// Expected danger, 0..10.
    #[serde(default = "middle")]
    pub risk_score: f64,
    /// The proposer's figures.
    #[serde(default)]
    pub safety_profile: Object,
}

const fn middle() -> f64 {
    5.0
}

/// What a line asks for.
#[derive(Debug, Clone)]
pub enum Line {
    /// A proposal of the instance.
    Proposal(Box<Submission>),
    /// `"type": "pattern_discovered"`: a pattern that the instance reports.
    Pattern(Box<PatternDiscovered>),
}

/// Reads one line for `instance`.
///
/// # Errors
/// With the documented tag, when it is neither.
pub fn read_line(text: &str, instance: &str) -> Result<Line> {
    let mut value: Value = serde_json::from_str(text).context("the line is not JSON")?;
    let Some(object) = value.as_object_mut() else { bail!("the line is not a JSON object") };
    if object.get("type").and_then(Value::as_str) == Some(PatternDiscovered::TYPE) {
        object.insert("instance_id".to_owned(), instance.into());
        if !object.contains_key("timestamp") {
            let now = OffsetDateTime::now_utc().format(&time::format_description::well_known::Rfc3339)?;
            object.insert("timestamp".to_owned(), now.into());
        }
        return Ok(Line::Pattern(Box::new(decode_value(value)?)));
    }
    object.retain(|_, field| !field.is_null());
    Ok(Line::Proposal(Box::new(serde_json::from_value(value).context("invalid_format")?)))
}

/// Most rows that are on their way at once.
const UNDER_WAY_MAX: usize = 100;

/// Submits everything for `instance`, all or nothing; answers the proposals' ids.
///
/// # Errors
/// A proposal that would be refused, an id that is taken, the database.
pub async fn submit(transport: &Transport, client: &mut Client, instance: &str, lines: Vec<Line>) -> Result<Vec<Uuid>> {
    let tx = client.transaction().await?;
    let mut proposals = Vec::new();
    for line in lines {
        match line {
            Line::Proposal(submission) => proposals.push(scored(&tx, instance, *submission).await?),
            Line::Pattern(pattern) => drop(send(transport, &tx, *pattern, |out| out).await?),
        }
    }
    if !proposals.is_empty() {
        // The word to the instance does not wait for the rows: they come together or not at all.
        let rows = async {
            for some in proposals.chunks(UNDER_WAY_MAX) {
                all(in_order(some.iter().map(|new| insert(&tx, new))).await)?;
            }
            Ok::<_, anyhow::Error>(())
        };
        let told = async { Ok(send_proposals(transport, &tx, instance).await?) };
        together(transport, rows, told).await?;
    }
    tx.commit().await?;
    for new in &proposals {
        let (id, score) = (new.proposal_id, new.priority);
        tell!(PROPOSAL_SUBMITTED, proposal_id = %id, priority_score = score, agent_type = new.agent_type, "proposal submitted");
    }
    Ok(proposals.into_iter().map(|new| new.proposal_id).collect())
}

async fn insert<C: GenericClient + Sync>(client: &C, new: &NewProposal) -> Result<()> {
    if store::insert_proposal(client, new).await? {
        return Ok(());
    }
    bail!("proposal {} was submitted before", new.proposal_id)
}

/// The proposal of a line, as it is kept.
async fn scored<C: GenericClient + Sync>(client: &C, instance: &str, submission: Submission) -> Result<NewProposal> {
    let proposal_id = submission.proposal_id.unwrap_or_else(Uuid::now_v7);
    let safety_profile = Profile::parse(&submission.safety_profile)?;
    // As central will see it: what it would refuse is refused here.
    ProposalForConsensus {
        envelope: Envelope::new(),
        proposal_id,
        instance_id: instance.to_owned(),
        agent_type: submission.agent_type.clone(),
        code_change: submission.code_change.clone(),
        impact_score: submission.impact_score,
        risk_score: submission.risk_score,
        safety_profile: safety_profile.clone(),
        timestamp: OffsetDateTime::now_utc(),
    }
    .validate()?;
    let success_rate = match safety_profile.success_rate {
        Some(claimed) => claimed,
        None => store::agent_success(client, instance, &submission.agent_type).await?,
    };
    let scoring = Scoring {
        impact: submission.impact_score,
        success_rate,
        cost: safety_profile.cost_factor.unwrap_or_else(|| default_cost(&submission.agent_type)),
        risk: submission.risk_score,
    };
    let score = priority(scoring, Duration::ZERO);
    let named = submission.metadata.get("change_type").and_then(Value::as_str);
    Ok(NewProposal {
        proposal_id,
        instance_id: instance.to_owned(),
        change_type: change_type(named, &submission.code_change).tag().to_owned(),
        target_key: target_key(&submission.code_change),
        agent_type: submission.agent_type,
        agent_id: submission.agent_id,
        code_change: submission.code_change,
        metadata: submission.metadata,
        safety_profile,
        impact_score: submission.impact_score,
        risk_score: submission.risk_score,
        priority: score,
    })
}
