//! Why a message cannot be accepted: the documented tags, and a detail for the reader of the dead letter.

use crate::tag::tagged;

tagged! {
    /// The documented refusals. None can succeed on a retry: each goes to the dead letters at once.
    pub enum InvalidKind {
        /// The body is not a JSON object.
        Unreadable = "unreadable",
        /// There is no `type`.
        MissingType = "missing_type",
        /// `type` names another message.
        UnknownType = "unknown_type",
        /// `version` is not one this program reads.
        UnsupportedVersion = "unsupported_version",
        /// A required field is absent or empty.
        InvalidMessage = "invalid_message",
        /// A field has the wrong JSON type.
        InvalidFormat = "invalid_format",
        /// `status` is neither `approved` nor `rejected`.
        UnknownStatus = "unknown_status",
        /// `impact_score` is outside 0..10.
        InvalidImpactScore = "invalid_impact_score",
        /// `risk_score` is outside 0..10.
        InvalidRiskScore = "invalid_risk_score",
        /// `success_rate` is outside 0..1.
        InvalidSuccessRate = "invalid_success_rate",
        /// `confidence` is outside 0..1.
        InvalidConfidence = "invalid_confidence",
        /// A vote's reason is shorter than ten characters.
        InvalidReason = "invalid_reason",
        /// A pattern type is not a lower-case word.
        InvalidPatternType = "invalid_pattern_type",
        /// A code pattern has no description.
        InvalidCodePattern = "invalid_code_pattern",
        /// A metric is negative, not finite or outside its range.
        InvalidMetrics = "invalid_metrics",
        /// A safety profile lacks a required field or has one out of range.
        InvalidProfile = "invalid_profile",
        /// `error_threshold` is not a number.
        InvalidErrorThreshold = "invalid_error_threshold",
        /// `error_threshold` is not in 0..1, or is 1.
        ErrorThresholdOutOfRange = "error_threshold_out_of_range",
        /// `needs_consensus` is not a boolean.
        InvalidNeedsConsensus = "invalid_needs_consensus",
        /// `max_blast_radius` is not low, medium or high.
        InvalidMaxBlastRadius = "invalid_max_blast_radius",
    }
}

/// A refused message: what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct Invalid {
    /// The documented tag.
    pub kind: InvalidKind,
    /// The field and value at fault.
    pub detail: String,
}

impl Invalid {
    /// A refusal of `kind`, with its detail.
    pub fn new(kind: InvalidKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// The documented tag, as stored in `pgflow_dlq.error`.
    pub const fn tag(&self) -> &'static str {
        self.kind.tag()
    }
}

/// Refuses a number outside `low..=high`, NaN included.
pub(crate) fn in_range(kind: InvalidKind, field: &str, value: f64, low: f64, high: f64) -> Result<(), Invalid> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(Invalid::new(kind, format!("{field} is {value}, outside {low}..{high}")))
}

/// Longest name of an agent type, bytes: it is part of ordering keys.
const AGENT_TYPE_BYTES_MAX: usize = 255;

/// Refuses an agent type that is blank, or too long for a key.
pub(crate) fn agent_type(value: &str) -> Result<(), Invalid> {
    present("agent_type", value)?;
    if value.len() > AGENT_TYPE_BYTES_MAX {
        let detail = format!("agent_type has {} bytes, more than {AGENT_TYPE_BYTES_MAX}", value.len());
        return Err(Invalid::new(InvalidKind::InvalidMessage, detail));
    }
    Ok(())
}

/// Refuses a blank required string.
pub(crate) fn present(field: &str, value: &str) -> Result<(), Invalid> {
    if value.trim().is_empty() {
        return Err(Invalid::new(InvalidKind::InvalidMessage, format!("{field} is empty")));
    }
    Ok(())
}
