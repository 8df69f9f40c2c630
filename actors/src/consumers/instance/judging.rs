//! A reading of a change, as Guardian will judge it: what it passed, and whom that is held against.

use std::collections::{BTreeMap, BTreeSet};

use pgflow::Failure;
use tokio_postgres::Client;
use uuid::Uuid;

use super::Own;
use crate::blame::{Watched, blame};
use crate::breach::{Counts, assess};
use crate::metrics::{Metrics, judged};
use crate::store::{self, Proposal};
use crate::thresholds::Thresholds;

/// A judged reading.
pub(super) struct Reading {
    /// Nothing passed its limit, whoever did it.
    pub(super) clean: bool,
    /// What is held against another change, for the report.
    pub(super) shadowed: BTreeMap<String, Uuid>,
}

/// Judges a reading of an applied change, and notes what it is held to have done.
pub(super) async fn judge(
    own: &Own,
    tx: &Client,
    proposal: &Proposal,
    limits: &Thresholds,
    (before, after): (&Metrics, &Metrics),
) -> Result<Reading, Failure> {
    let id = proposal.proposal_id;
    let (mine, others): (Vec<Watched>, Vec<Watched>) =
        store::watched(tx, &own.id).await?.into_iter().partition(|w| w.id == id);
    let judged = judged(before, after);
    let passed = assess(&judged, limits, &Counts::new(), &BTreeSet::new()).breaches;
    let clean = passed.is_empty();
    let Some(mine) = mine.first() else { return Ok(Reading { clean, shadowed: BTreeMap::new() }) };
    let blame = blame(passed.iter().map(|breach| breach.metric), mine, &others);
    let others_doing: BTreeSet<_> = blame.shadowed.keys().copied().collect();
    let condemned = assess(&judged, limits, &Counts::new(), &others_doing).roll_back.is_some();
    if blame.own != mine.suspect {
        store::mark_suspect(tx, id, &blame.own, condemned).await?;
    }
    for (metric, by) in &blame.shadowed {
        tracing::info!(target: "evolution", proposal_id = %id, %by, "{metric} passed its limit, held against another change");
    }
    let shadowed = blame.shadowed.into_iter().map(|(metric, by)| (metric.tag().to_owned(), by)).collect();
    Ok(Reading { clean, shadowed })
}
