//! The decision (domain §2.3, §2.4): votes and the clock in, status and reason out.
//!
//! The rules, in order: too few votes wait; one reject above 0.90 vetoes; two thirds in favour with enough mean
//! confidence approve; a sure majority against rejects; all else waits until the deadline, which rejects.

use std::collections::{BTreeMap, BTreeSet};

use time::{Duration, OffsetDateTime};

use crate::json::three_decimals;
use crate::messages::{Ballot, BallotDetail, Verdict, Vote};
use crate::tag::tagged;
use crate::voting::CastVote;

tagged! {
    /// Where a proposal stands in central.
    pub enum Status {
        /// So like a change known to be safe that nobody was asked.
        AutoApproved = "auto_approved",
        /// Votes are being collected.
        Voting = "voting",
        /// Approved by vote.
        Approved = "approved",
        /// Rejected by vote.
        Rejected = "rejected",
        /// Time ran out; a rejection on the wire.
        Expired = "expired",
    }
}

impl Status {
    /// The status as the proposer hears it; `None` while voting.
    pub const fn on_wire(self) -> Option<Verdict> {
        match self {
            Self::Voting => None,
            Self::AutoApproved | Self::Approved => Some(Verdict::Approved),
            Self::Rejected | Self::Expired => Some(Verdict::Rejected),
        }
    }
}

tagged! {
    /// How many must be in favour.
    pub enum Rule {
        /// At least two thirds; the rule unless risk tiers are on.
        TwoThirds = "two_thirds",
        /// More than half.
        SimpleMajority = "simple_majority",
    }
}

/// Settings of the vote.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsensusSettings {
    /// Fewest votes that decide. Lower it for a small deployment; it is never lowered silently.
    pub min_votes: usize,
    /// Mean confidence needed to decide.
    pub min_confidence: f64,
    /// A reject above this confidence decides alone.
    pub veto_above: f64,
    /// How long votes are collected.
    pub window: Duration,
    /// Let the risk score choose the rule.
    pub risk_tiers: bool,
    /// Similarity to a known-safe change from which nobody is asked.
    pub auto_approve_from: f64,
    /// Similarity below which nothing is ever approved without a vote.
    pub unfamiliar_below: f64,
}

impl Default for ConsensusSettings {
    fn default() -> Self {
        Self {
            min_votes: 3,
            min_confidence: 0.85,
            veto_above: 0.90,
            window: Duration::seconds(30),
            risk_tiers: false,
            auto_approve_from: 0.90,
            unfamiliar_below: 0.75,
        }
    }
}

impl ConsensusSettings {
    /// The profile of a deployment with one instance.
    pub fn single_instance() -> Self {
        Self { min_votes: 1, ..Self::default() }
    }
}

/// The time of deciding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Now.
    pub now: OffsetDateTime,
    /// When the votes must be in.
    pub deadline: OffsetDateTime,
}

/// What was decided, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// `Voting` means: not yet.
    pub status: Status,
    /// Mean confidence, three decimals.
    pub confidence: f64,
    /// For people.
    pub rationale: String,
}

/// Sums of floats carry an error far below any confidence a voter could mean: three votes of 0.85 reach 0.85.
const TOLERANCE: f64 = 1e-9;

struct Count {
    all: usize,
    approve: usize,
    reject: usize,
    mean: f64,
}

/// Applies the rules. Only the first vote of an instance counts; order matters for nothing else but the wording.
pub fn decide(votes: &[CastVote], rule: Rule, clock: Clock, settings: &ConsensusSettings) -> Decision {
    let votes = first_votes(votes);
    let count = count(&votes);
    let Count { all, approve, reject, mean } = count;
    let decision = |status, rationale| Decision { status, confidence: three_decimals(mean), rationale };
    let expired = clock.now >= clock.deadline;
    let needed = settings.min_votes.max(1);
    if all < needed {
        return if expired {
            decision(Status::Expired, format!("timeout: {all} of {needed} votes"))
        } else {
            decision(Status::Voting, format!("waiting: {all} of {needed} votes"))
        };
    }
    if let Some(veto) = strongest_veto(&votes, settings.veto_above) {
        return decision(Status::Rejected, format!("veto by {} ({:.2})", veto.instance_id, veto.confidence));
    }
    let sure = mean + TOLERANCE >= settings.min_confidence;
    let enough = match rule {
        // In whole numbers: as a fraction, 2 of 3 falls short of 0.67.
        Rule::TwoThirds => 3 * approve >= 2 * all,
        Rule::SimpleMajority => 2 * approve > all,
    };
    if enough && sure {
        return decision(Status::Approved, format!("approved {approve}/{all}, mean {mean:.2}"));
    }
    if reject > approve && sure {
        return decision(Status::Rejected, format!("rejected {reject}/{all}, mean {mean:.2}"));
    }
    if expired {
        return decision(Status::Expired, format!("timeout: approve {approve}/{all}, mean {mean:.2}"));
    }
    decision(Status::Voting, format!("waiting: approve {approve}/{all}, mean {mean:.2}"))
}

fn first_votes(votes: &[CastVote]) -> Vec<&CastVote> {
    let mut seen = BTreeSet::new();
    votes.iter().filter(|v| seen.insert(v.instance_id.as_str())).collect()
}

fn count(votes: &[&CastVote]) -> Count {
    let all = votes.len();
    let approve = votes.iter().filter(|v| v.vote == Vote::Approve).count();
    // Summed in order of size, so that the order of arrival cannot move the mean across the gate.
    let mut confidences: Vec<f64> = votes.iter().map(|v| v.confidence).collect();
    confidences.sort_by(f64::total_cmp);
    let mean = if all == 0 { 0.0 } else { confidences.iter().sum::<f64>() / all as f64 };
    Count { all, approve, reject: all - approve, mean }
}

fn strongest_veto<'a>(votes: &[&'a CastVote], above: f64) -> Option<&'a CastVote> {
    votes
        .iter()
        .filter(|v| v.vote == Vote::Reject && v.confidence > above)
        .max_by(|a, b| a.confidence.total_cmp(&b.confidence).then_with(|| b.instance_id.cmp(&a.instance_id)))
        .copied()
}

/// The votes as the result carries them.
pub fn ballots(votes: &[CastVote]) -> BTreeMap<String, Ballot> {
    first_votes(votes)
        .into_iter()
        .map(|v| {
            let detail = BallotDetail { vote: v.vote, confidence: Some(v.confidence), reason: Some(v.reason.clone()) };
            (v.instance_id.clone(), Ballot::Detail(detail))
        })
        .collect()
}
