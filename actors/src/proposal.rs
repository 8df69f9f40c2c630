//! A proposal's life on its instance (domain §5.1, §5.4): states, allowed edges, the gates of an execution.

use crate::messages::Verdict;
use crate::metrics::{Metrics, deltas};
use crate::profile::Profile;
use crate::tag::tagged;

tagged! {
    /// Where a proposal stands on its instance.
    pub enum State {
        /// Submitted.
        Pending = "pending",
        /// Sent to central.
        SentForConsensus = "sent_for_consensus",
        /// Approved, not yet begun.
        ConsensusReached = "consensus_reached",
        /// Rejected, or too few votes.
        ConsensusFailed = "consensus_failed",
        /// Being written.
        Executing = "executing",
        /// Written and passed its gates.
        Applied = "applied",
        /// Not written, or reverted by a gate.
        Failed = "failed",
        /// Taken back.
        RolledBack = "rolled_back",
    }
}

impl State {
    /// Is the edge allowed? Changes of state are compare-and-set in SQL; every other edge is refused.
    pub const fn may_become(self, next: Self) -> bool {
        use State::{
            Applied, ConsensusFailed, ConsensusReached, Executing, Failed, Pending, RolledBack, SentForConsensus,
        };
        matches!(
            (self, next),
            (Pending, SentForConsensus)
                | (SentForConsensus, ConsensusReached | ConsensusFailed)
                | (ConsensusReached, Executing)
                | (Executing, Applied | Failed | RolledBack)
                | (Applied | Failed, RolledBack)
        )
    }

    /// States from which `next` may be entered: the `WHERE state = ANY(…)` of the compare-and-set.
    pub fn before(next: Self) -> Vec<Self> {
        Self::ALL.iter().copied().filter(|state| state.may_become(next)).collect()
    }

    /// Nothing follows by itself. `applied` and `failed` can still be rolled back.
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::ConsensusFailed | Self::Applied | Self::Failed | Self::RolledBack)
    }

    /// Blocks other changes to the same target. A failed change was reverted and blocks nothing.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::SentForConsensus | Self::ConsensusReached | Self::Executing)
    }
}

tagged! {
    /// What a consensus result does.
    pub enum OnResult {
        /// Become `consensus_reached` and order the execution.
        Execute = "execute",
        /// Become `consensus_failed`.
        Fail = "fail",
        /// A repeat: acknowledge. Upstream executed twice.
        AlreadyProcessed = "already_processed",
        /// The proposal was never sent; try again later.
        NotSent = "not_sent",
    }
}

/// The effect of a result on a proposal in `state`.
pub const fn on_result(state: State, verdict: &Verdict) -> OnResult {
    match (state, verdict) {
        (State::Pending, _) => OnResult::NotSent,
        (State::SentForConsensus, Verdict::Approved) => OnResult::Execute,
        (State::SentForConsensus, _) => OnResult::Fail,
        _ => OnResult::AlreadyProcessed,
    }
}

tagged! {
    /// What an order to execute does.
    pub enum OnExecute {
        /// Become `executing` and run.
        Begin = "begin",
        /// A run was cut short: restore the before-image and run again.
        BeginAgain = "begin_again",
        /// Finished: acknowledge.
        AlreadyProcessed = "already_processed",
        /// Not approved: refuse for good.
        NotApproved = "not_approved",
    }
}

/// The effect of an execution order on a proposal in `state`.
pub const fn on_execute(state: State) -> OnExecute {
    match state {
        State::ConsensusReached => OnExecute::Begin,
        State::Executing => OnExecute::BeginAgain,
        State::Applied | State::Failed | State::RolledBack => OnExecute::AlreadyProcessed,
        State::Pending | State::SentForConsensus | State::ConsensusFailed => OnExecute::NotApproved,
    }
}

tagged! {
    /// Why an execution does not start, or is reverted.
    pub enum ExecutionError {
        /// Risk above 8 that no vote stands behind.
        HighRiskRequiresConsensus = "high_risk_requires_consensus",
        /// The proposal has no safety profile.
        MissingSafetyProfile = "missing_safety_profile",
        /// CPU rose by more than 50 points.
        CpuSpike = "cpu_spike",
        /// Errors rose by more than 10.
        ErrorSpike = "error_spike",
    }
}

impl std::error::Error for ExecutionError {}

const HIGH_RISK_ABOVE: f64 = 8.0;
const CPU_POINTS_MAX: f64 = 50.0;
const ERRORS_MAX: u64 = 10;

/// Phase 1: may this execution start?
///
/// `by_vote` says that instances voted for it. Upstream asks for `force_consensus` alone, by which a risky change
/// that passed its vote, but was not flagged beforehand, could never run; the vote is what the check is after.
pub fn validate_execution(risk_score: f64, profile: &Profile, by_vote: bool) -> Result<(), ExecutionError> {
    let consented = by_vote || profile.force_consensus == Some(true);
    if risk_score > HIGH_RISK_ABOVE && !consented {
        return Err(ExecutionError::HighRiskRequiresConsensus);
    }
    if profile.is_empty() {
        return Err(ExecutionError::MissingSafetyProfile);
    }
    Ok(())
}

/// Phase 5: the instance's own gates. A metric that was not read passes.
pub fn verify_execution(before: &Metrics, after: &Metrics) -> Result<(), ExecutionError> {
    let seen = deltas(before, after, true);
    if seen.cpu_delta.is_some_and(|points| points > CPU_POINTS_MAX) {
        return Err(ExecutionError::CpuSpike);
    }
    if seen.error_delta.is_some_and(|errors| errors > ERRORS_MAX) {
        return Err(ExecutionError::ErrorSpike);
    }
    Ok(())
}
