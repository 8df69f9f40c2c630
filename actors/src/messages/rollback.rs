//! `rollback_trigger` (domain §1.7).

use pgflow::Priority;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Envelope, Payload, queue};
use crate::invalid::{Invalid, present};
use crate::json::Object;
use crate::strategy::Strategy;

/// What was broken: the metric, what it was, what it should not have passed, how bad that is.
///
/// All optional, because the documents also show two older shapes; [`Limit::normalised`] reads those.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Limit {
    /// The metric, e.g. `error_rate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual: Option<f64>,
    /// The limit it passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// `critical`, `high` or `medium`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Anything else.
    #[serde(flatten)]
    pub other: Object,
}

impl Limit {
    /// The one shape, from any of the three: `{metric, actual, threshold}` as it is; `{error_rate: L, actual: A}`,
    /// where the key holds the limit; `{error_rate: A, threshold: L}`, where it holds the value.
    pub fn normalised(mut self) -> Self {
        if self.metric.is_some() {
            return self;
        }
        let found = self.other.iter().find_map(|(k, v)| Some((k.clone(), v.as_f64()?)));
        let Some((key, value)) = found else { return self };
        match (self.actual, self.threshold) {
            (Some(_), None) => self.threshold = Some(value),
            (None, Some(_)) => self.actual = Some(value),
            _ => return self,
        }
        self.other.remove(&key);
        self.metric = Some(key);
        self
    }
}

/// Central orders a change to be taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RollbackTrigger {
    /// Type, version, id.
    #[serde(flatten)]
    pub envelope: Envelope<Self>,
    /// The change.
    pub proposal_id: Uuid,
    /// Where it is applied.
    pub instance_id: String,
    /// `<metric>_breach` or `manual`. Any other word is obeyed too: a rollback is not the place to be fussy.
    pub reason: String,
    /// The breach.
    #[serde(default)]
    pub threshold: Limit,
    /// Unique per change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_id: Option<Uuid>,
    /// The plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// How many reports in a row broke the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breach_count: Option<u32>,
    /// When it was ordered.
    #[serde(with = "crate::json::utc")]
    #[schemars(with = "crate::json::Moment")]
    pub timestamp: OffsetDateTime,
}

impl Payload for RollbackTrigger {
    const TYPE: &'static str = "rollback_trigger";
    const QUEUE: &'static str = queue::ROLLBACK_TRIGGERS;
    const REQUIRED: &'static [&'static str] = &["proposal_id", "instance_id", "reason", "timestamp"];
    const PRIORITY: Priority = Priority::High;

    fn envelope(&self) -> &Envelope<Self> {
        &self.envelope
    }

    fn proposal(&self) -> Option<Uuid> {
        Some(self.proposal_id)
    }

    fn check(&self) -> Result<(), Invalid> {
        present("instance_id", &self.instance_id)?;
        present("reason", &self.reason)
    }
}
