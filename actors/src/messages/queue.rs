//! Names of the queues: the seed's six, and those added so that the system can work at all.

/// Instances to central: proposals.
pub const PROPOSALS_FOR_CONSENSUS: &str = "proposals_for_consensus_queue";
/// Central to the proposer: results.
pub const CONSENSUS_RESULTS: &str = "consensus_results_queue";
/// Instances to central: metrics.
pub const METRICS_TO_GUARDIAN: &str = "metrics_to_guardian_queue";
/// Instances to central: patterns.
pub const PATTERNS_FOR_AGGREGATOR: &str = "patterns_for_aggregator_queue";
/// Central to an instance: rollbacks, at high priority.
pub const ROLLBACK_TRIGGERS: &str = "rollback_triggers_queue";
/// Central to instances: learned profiles.
pub const GUARDIAN_SAFETY_PROFILES: &str = "guardian_safety_profiles_queue";

/// The six queues of the seed.
pub const SEED_QUEUES: [&str; 6] = [
    PROPOSALS_FOR_CONSENSUS,
    CONSENSUS_RESULTS,
    METRICS_TO_GUARDIAN,
    PATTERNS_FOR_AGGREGATOR,
    ROLLBACK_TRIGGERS,
    GUARDIAN_SAFETY_PROFILES,
];

/// Central to every instance: please vote (extension, domain §2.5).
pub const VOTING_REQUESTS: &str = "voting_requests_queue";
/// Instances to central: votes (extension).
pub const CONSENSUS_VOTES: &str = "consensus_votes_queue";
/// Central to whoever listens: a learning run ended.
pub const LEARNING_LOOP_COMPLETED: &str = "learning_loop_completed_queue";
/// An instance to itself: execute an approved proposal.
pub const PROPOSALS_FOR_EXECUTION: &str = "proposals_for_execution_queue";
/// Central to itself: the voting time of a proposal is over (a delayed message is the timer).
pub const CONSENSUS_DEADLINES: &str = "consensus_deadlines_queue";
/// An instance to itself: read the metrics of an applied change again.
pub const OBSERVATIONS: &str = "observations_queue";

/// An instance to itself: send the best of the waiting proposals.
pub const PROPOSALS_TO_SEND: &str = "proposals_to_send_queue";
/// Central to itself: has this change been reported lately?
pub const CHANGE_WATCHES: &str = "change_watches_queue";
/// An instance to itself: send what was measured.
pub const METRICS_TO_SEND: &str = "metrics_to_send_queue";
/// Central to itself: look for rollbacks that failed.
pub const HEALTH_CHECKS: &str = "health_checks_queue";
/// Anyone to central: learn now.
pub const LEARNING_RUNS: &str = "learning_runs_queue";

/// Every queue.
pub const ALL_QUEUES: [&str; 17] = [
    PROPOSALS_FOR_CONSENSUS,
    CONSENSUS_RESULTS,
    METRICS_TO_GUARDIAN,
    PATTERNS_FOR_AGGREGATOR,
    ROLLBACK_TRIGGERS,
    GUARDIAN_SAFETY_PROFILES,
    VOTING_REQUESTS,
    CONSENSUS_VOTES,
    LEARNING_LOOP_COMPLETED,
    PROPOSALS_FOR_EXECUTION,
    CONSENSUS_DEADLINES,
    OBSERVATIONS,
    PROPOSALS_TO_SEND,
    CHANGE_WATCHES,
    LEARNING_RUNS,
    HEALTH_CHECKS,
    METRICS_TO_SEND,
];

/// The stored name of a queue given with or without its `_queue` suffix, as the command line accepts both.
pub fn full_name(name: &str) -> Option<&'static str> {
    ALL_QUEUES.into_iter().find(|full| *full == name || full.strip_suffix("_queue") == Some(name))
}
