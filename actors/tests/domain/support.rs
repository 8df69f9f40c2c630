//! Shared makers of test values.

use pgflow_actors::json::Object;
use pgflow_actors::messages::{Envelope, PatternDiscovered, Vote};
use pgflow_actors::voting::CastVote;
use serde_json::Value;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// 2025-10-31T12:00:00Z, the seed's moment.
pub fn noon() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_761_912_000).unwrap()
}

pub fn hours(n: i64) -> Duration {
    Duration::hours(n)
}

pub fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        other => panic!("not an object: {other}"),
    }
}

pub fn ballot(voter: &str, vote: Vote, confidence: f64) -> CastVote {
    CastVote {
        instance_id: voter.to_owned(),
        vote,
        confidence,
        reason: "because it is so".to_owned(),
        voted_at: noon(),
    }
}

/// Votes by voters `s1`, `s2`, …: positive approves, negative rejects, the magnitude is the confidence.
pub fn ballots(signed: &[f64]) -> Vec<CastVote> {
    let vote = |c: f64| if c < 0.0 { Vote::Reject } else { Vote::Approve };
    signed.iter().enumerate().map(|(i, c)| ballot(&format!("s{}", i + 1), vote(*c), c.abs())).collect()
}

pub fn report(instance: &str, success_rate: f64, code_pattern: Value) -> PatternDiscovered {
    PatternDiscovered {
        envelope: Envelope::with_id(Uuid::nil()),
        instance_id: instance.to_owned(),
        pattern_type: "refactoring".to_owned(),
        agent_type: "RefactoringAgent".to_owned(),
        success_rate,
        code_pattern: object(code_pattern),
        timestamp: noon(),
    }
}

pub fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}
