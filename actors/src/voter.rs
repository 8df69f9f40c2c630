//! How an instance votes (domain §2.5): a trait, and a default that is a formula over the instance's own record.

use crate::json::three_decimals;
use crate::messages::Vote;

/// What became of earlier changes of an agent type on this instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Record {
    /// Applied, and not taken back.
    pub applied: u32,
    /// Failed.
    pub failed: u32,
    /// Taken back.
    pub rolled_back: u32,
}

/// What a voter looks at.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Whose change it is.
    pub agent_type: String,
    /// Expected danger, 0..10.
    pub risk_score: f64,
    /// The proposer's claim; 0.5 when it makes none.
    pub success_rate: Option<f64>,
    /// This instance's experience.
    pub record: Record,
    /// A learned, trusted pattern of the same type exists.
    pub trusted_pattern: bool,
}

/// A vote and its grounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Opinion {
    /// For or against.
    pub vote: Vote,
    /// How sure, 0.5..1.
    pub confidence: f64,
    /// The figures behind it.
    pub reason: String,
}

/// Forms an opinion on a proposal.
pub trait Voter: Send + Sync {
    /// Must be deterministic: a redelivered request must give the same vote.
    fn opinion(&self, question: &Question) -> Opinion;
}

/// The default voter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordVoter;

/// How many cases the proposer's claim weighs.
const CLAIM_WEIGHT: f64 = 10.0;

/// What a trusted pattern adds.
const TRUST_BONUS: f64 = 0.05;

impl Voter for RecordVoter {
    fn opinion(&self, question: &Question) -> Opinion {
        let Record { applied, failed, rolled_back } = question.record;
        let claim = question.success_rate.unwrap_or(0.5).clamp(0.0, 1.0);
        let cases = f64::from(applied) + f64::from(failed) + f64::from(rolled_back);
        let p = (claim * CLAIM_WEIGHT + f64::from(applied)) / (CLAIM_WEIGHT + cases);
        let safety = 1.0 - question.risk_score.clamp(0.0, 10.0) / 10.0;
        let bonus = if question.trusted_pattern { TRUST_BONUS } else { 0.0 };
        let support = three_decimals((0.6 * p + 0.4 * safety + bonus).min(1.0));
        let vote = if support >= 0.5 { Vote::Approve } else { Vote::Reject };
        let trusted = if question.trusted_pattern { ", trusted pattern" } else { "" };
        Opinion {
            vote,
            confidence: three_decimals(support.max(1.0 - support)),
            reason: format!(
                "{}: expected success {p:.2}, risk {:.1}{trusted}: support {support:.2}",
                question.agent_type, question.risk_score
            ),
        }
    }
}
