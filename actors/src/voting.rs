//! The list of votes on one proposal (domain §2.2): who may add to it, and what a vote is worth.

use time::OffsetDateTime;

use crate::messages::{ConsensusVote, Vote};
use crate::tag::tagged;

/// A vote as it is counted.
#[derive(Debug, Clone, PartialEq)]
pub struct CastVote {
    /// The voter.
    pub instance_id: String,
    /// For or against.
    pub vote: Vote,
    /// How sure, 0..1.
    pub confidence: f64,
    /// Why.
    pub reason: String,
    /// When.
    pub voted_at: OffsetDateTime,
}

tagged! {
    /// Why a vote is not taken. The message is acknowledged: trying again cannot help.
    pub enum Refusal {
        /// This instance has voted. The first vote stands.
        DuplicateVote = "duplicate_vote",
        /// The proposal is decided.
        AlreadyDecided = "already_decided",
    }
}

/// Largest confidence the fallback gives: length alone must never be a veto.
const FALLBACK_MAX: f64 = 0.90;

/// The vote's own confidence; without one, a guess from the length of the reason.
pub fn confidence_of(given: Option<f64>, reason: &str) -> f64 {
    given.unwrap_or_else(|| {
        let by_length = match reason.chars().count() {
            101.. => 0.95_f64,
            51.. => 0.85,
            _ => 0.75,
        };
        by_length.min(FALLBACK_MAX)
    })
}

impl From<&ConsensusVote> for CastVote {
    fn from(message: &ConsensusVote) -> Self {
        Self {
            instance_id: message.instance_id.clone(),
            vote: message.vote,
            confidence: confidence_of(message.confidence, &message.reason),
            reason: message.reason.clone(),
            voted_at: message.timestamp,
        }
    }
}

/// May this vote join `votes`?
pub fn admit(votes: &[CastVote], vote: &CastVote, decided: bool) -> Result<(), Refusal> {
    if decided {
        return Err(Refusal::AlreadyDecided);
    }
    if votes.iter().any(|v| v.instance_id == vote.instance_id) {
        return Err(Refusal::DuplicateVote);
    }
    Ok(())
}
