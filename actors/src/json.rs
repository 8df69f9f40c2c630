//! JSON forms shared by all payloads: objects, UTC time-stamps, whole numbers.

use serde_json::{Map, Value};

/// A JSON object kept as it came.
pub type Object = Map<String, Value>;

/// A time-stamp in a schema.
#[derive(schemars::JsonSchema)]
#[schemars(transparent, inline)]
pub(crate) struct Moment(
    #[schemars(extend("format" = "date-time"))]
    #[allow(dead_code, reason = "describes")]
    String,
);

/// RFC 3339 time-stamps, read with any offset, kept and written in UTC.
pub mod utc {
    use serde::{Deserializer, Serializer};
    use time::{OffsetDateTime, UtcOffset, serde::rfc3339};

    /// Writes `at` in UTC, ending in `Z`.
    pub fn serialize<S: Serializer>(at: &OffsetDateTime, to: S) -> Result<S::Ok, S::Error> {
        rfc3339::serialize(&at.to_offset(UtcOffset::UTC), to)
    }

    /// Reads an RFC 3339 string and turns it to UTC.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<OffsetDateTime, D::Error> {
        Ok(rfc3339::deserialize(from)?.to_offset(UtcOffset::UTC))
    }
}

/// Numbers that are usually whole (milliseconds): written without a fraction when they have none, so that
/// `850` stays `850` on its way through a typed struct.
pub(crate) mod whole {
    use serde::Serializer;

    /// Largest magnitude at which every whole `f64` is an exact integer.
    const EXACT: f64 = 9_007_199_254_740_992.0;

    pub(crate) fn serialize<S: Serializer>(value: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            None => to.serialize_none(),
            Some(v) if v.fract() == 0.0 && v.abs() < EXACT => to.serialize_i64(*v as i64),
            Some(v) => to.serialize_f64(*v),
        }
    }
}

/// Does a text or key hold NUL? The database takes no such value.
pub(crate) fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(holds_nul),
        Value::Object(fields) => fields.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Rounds to three decimals, the precision of confidences and means on the wire.
pub(crate) fn three_decimals(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
