//! Names of the documented events (domain §1.10): one constant each, used for spans and counters alike.

macro_rules! events {
    ($($(#[$meta:meta])* $name:ident = $text:literal;)+) => {
        $($(#[$meta])* pub const $name: &str = $text;)+

        /// Every event.
        pub const ALL: &[&str] = &[$($text,)+];
    };
}

events! {
    /// An instance published a proposal.
    PROPOSAL_PUBLISHED = "evolution.pgflow.proposal_published";
    /// An instance published metrics.
    METRICS_PUBLISHED = "evolution.pgflow.metrics_published";
    /// An instance published a pattern.
    PATTERN_PUBLISHED = "evolution.pgflow.pattern_published";
    /// A publish failed.
    PUBLISH_FAILED = "evolution.pgflow.publish_failed";
    /// An approval arrived.
    CONSENSUS_APPROVED = "evolution.pgflow.consensus_approved";
    /// A rejection arrived.
    CONSENSUS_REJECTED = "evolution.pgflow.consensus_rejected";
    /// A change was taken back.
    ROLLBACK_COMPLETED = "evolution.pgflow.rollback_completed";
    /// A learned profile was taken in.
    PROFILE_UPDATED = "evolution.pgflow.profile_updated";
    /// Central received a proposal.
    PROPOSAL_RECEIVED = "evolution.pgflow.proposal_received";
    /// Central received metrics.
    METRICS_RECEIVED = "evolution.pgflow.metrics_received";
    /// Central received a pattern.
    PATTERN_RECEIVED = "evolution.pgflow.pattern_received";
    /// Central published a result.
    CONSENSUS_RESULT_PUBLISHED = "evolution.pgflow.consensus_result_published";
    /// Central ordered a rollback.
    ROLLBACK_TRIGGER_PUBLISHED = "evolution.pgflow.rollback_trigger_published";
    /// Central sent a learned profile.
    PROFILE_UPDATE_PUBLISHED = "evolution.pgflow.profile_update_published";
    /// An execution succeeded.
    EXECUTION_SUCCESS = "evolution.pgflow.execution_success";
    /// An execution failed.
    EXECUTION_FAILED = "evolution.pgflow.execution_failed";
    /// An execution failed, and that could not be recorded: it is tried again.
    EXECUTION_MARK_FAILED = "evolution.pgflow.execution_mark_failed";
    /// A proposal joined the queue.
    PROPOSAL_SUBMITTED = "evolution.proposal.submitted";
    /// A proposal was sent to central.
    PROPOSAL_SENT_FOR_CONSENSUS = "evolution.proposal.sent_for_consensus";
    /// An execution began.
    PROPOSAL_EXECUTION_STARTED = "evolution.proposal.execution_started";
    /// A change is in place.
    PROPOSAL_APPLIED = "evolution.proposal.applied";
    /// A change failed.
    PROPOSAL_FAILED = "evolution.proposal.failed";
    /// A run ended well.
    RUN_COMPLETED = "evolution.execution.completed";
    /// A run ended badly.
    RUN_FAILED = "evolution.execution.failed";
    /// The learning loop ended.
    LEARNING_LOOP_COMPLETED = "genesis.learning_loop.completed";
}

/// Counts an event: `evolution.pgflow.proposal_published` is the metric `evolution_pgflow_proposal_published_total`.
pub(crate) fn count(event: &str) {
    metrics::counter!(format!("{}_total", event.replace('.', "_"))).increment(1);
}

/// Tells of an event: one readable line at info level, with the documented name as a field, and a counter of that name.
macro_rules! tell {
    ($event:expr, $($rest:tt)+) => {{
        $crate::events::count($event);
        tracing::info!(target: "evolution", event = $event, $($rest)+);
    }};
}
pub(crate) use tell;
