//! The messages' JSON Schemas, made from the structs, for producers in other languages. `actors/schemas` holds them as files.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::messages::{
    CheckHealth, ConsensusDeadline, ConsensusResult, ConsensusVote, ExecuteProposal, ExecutionMetrics, FlushMetrics,
    LearningLoopCompleted, MetricsBatch, ObserveChange, PatternDiscovered, Payload, ProposalForConsensus,
    RollbackTrigger, RunLearning, SafetyProfileUpdate, SendProposals, VotingRequest, WatchChange,
};

/// The schema of one message type, as it is to be written.
///
/// Ranges, formats and required fields are there; what depends on several fields is checked at receipt alone.
pub fn of<P: Payload>() -> Value {
    let settings = SchemaSettings::draft2020_12().for_deserialize().with(|s| s.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<P>();
    let object = schema.ensure_object();
    object.insert("title".to_owned(), P::TYPE.into());
    object.insert("x-queue".to_owned(), P::QUEUE.into());
    object.insert("x-priority".to_owned(), P::PRIORITY.class().into());
    schema.to_value()
}

/// Every message type's name and schema.
pub fn all() -> Vec<(&'static str, Value)> {
    fn named<P: Payload>() -> (&'static str, Value) {
        (P::TYPE, of::<P>())
    }
    vec![
        named::<ProposalForConsensus>(),
        named::<ConsensusResult>(),
        named::<ExecutionMetrics>(),
        named::<PatternDiscovered>(),
        named::<RollbackTrigger>(),
        named::<SafetyProfileUpdate>(),
        named::<VotingRequest>(),
        named::<ConsensusVote>(),
        named::<LearningLoopCompleted>(),
        named::<ExecuteProposal>(),
        named::<ConsensusDeadline>(),
        named::<ObserveChange>(),
        named::<SendProposals>(),
        named::<WatchChange>(),
        named::<RunLearning>(),
        named::<CheckHealth>(),
        named::<MetricsBatch>(),
        named::<FlushMetrics>(),
    ]
}
