//! How a body is written and read: JSON by default, postcard for compact kinds, versions on both.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

/// How a body is written. The number is the row's `codec` column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum Codec {
    /// UTF-8 JSON; `payload` in the view shows it.
    Json = 1,
    /// postcard: compact, not self-describing. A changed struct needs a new version.
    Postcard = 2,
}

impl Codec {
    /// The codec behind a number of the `codec` column.
    pub const fn from_code(code: i16) -> Option<Self> {
        match code {
            1 => Some(Self::Json),
            2 => Some(Self::Postcard),
            _ => None,
        }
    }
}

/// A body as it was stored, with what is needed to read it.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a> {
    /// The version its producer wrote.
    pub version: u16,
    /// How it was written.
    pub codec: Codec,
    /// The bytes.
    pub body: &'a [u8],
}

impl Encoded<'_> {
    /// The value as this very version wrote it; [`decode`](Self::decode) minds versions.
    pub(crate) fn read<T: DeserializeOwned>(self) -> Result<T, DecodeError> {
        match self.codec {
            Codec::Json => serde_json::from_slice(self.body).map_err(|e| DecodeError::malformed(e.to_string())),
            Codec::Postcard => {
                let (value, rest) =
                    postcard::take_from_bytes(self.body).map_err(|e| DecodeError::malformed(e.to_string()))?;
                // A longer body is a changed struct that happens to begin alike: reading on would give wrong values.
                if !rest.is_empty() {
                    return Err(DecodeError::malformed(format!("{} bytes left over after the value", rest.len())));
                }
                Ok(value)
            }
        }
    }
}

/// Why a body could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    unsupported: bool,
    why: String,
}

impl DecodeError {
    /// Another program may be able to read it: the message is parked for one.
    pub fn unsupported(why: impl Into<String>) -> Self {
        Self { unsupported: true, why: why.into() }
    }

    /// Nobody can read it: the message is dead.
    pub fn malformed(why: impl Into<String>) -> Self {
        Self { unsupported: false, why: why.into() }
    }

    /// Whether another program may be able to read it.
    pub fn is_unsupported(&self) -> bool {
        self.unsupported
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for DecodeError {}

pub(crate) fn encode<T: Serialize>(value: &T, codec: Codec) -> Result<Vec<u8>, String> {
    match codec {
        Codec::Json => {
            let body = serde_json::to_vec(value).map_err(|e| e.to_string())?;
            check_jsonb(&body)?;
            Ok(body)
        }
        Codec::Postcard => postcard::to_stdvec(value).map_err(|e| e.to_string()),
    }
}

/// Refuses text that is not JSON, or that jsonb could not show.
pub(crate) fn check_json(text: &[u8]) -> Result<(), String> {
    serde_json::from_slice::<&serde_json::value::RawValue>(text)
        .map_err(|e| format!("the payload is not JSON: {e}"))?;
    check_jsonb(text)
}

/// The deepest nesting that is sent: serde_json, by which handlers read, goes no deeper.
const DEPTH_MAX: u32 = 127;
/// The longest number in characters, and its largest exponent: far inside what Postgres's numeric holds.
const NUMBER_MAX: usize = 4_000;

/// Legal JSON that jsonb cannot hold: a NUL, half a surrogate pair, a number beyond numeric, deep nesting. `payload` in the
/// view would be null for it. The text must be JSON.
pub(crate) fn check_jsonb(json: &[u8]) -> Result<(), String> {
    let (mut i, mut depth) = (0, 0_u32);
    while i < json.len() {
        match json[i] {
            b'"' => i = check_string(json, i + 1)?,
            b'-' | b'0'..=b'9' => i = check_number(json, i)?,
            b'[' | b'{' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(format!("the payload is nested deeper than {DEPTH_MAX}"));
                }
                i += 1;
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                i += 1;
            }
            _ => i += 1,
        }
    }
    Ok(())
}

/// From behind the opening quote to behind the closing one.
fn check_string(json: &[u8], mut i: usize) -> Result<usize, String> {
    let unit = |at: usize| {
        let hex = json.get(at..at + 6)?.strip_prefix(br"\u")?;
        u16::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
    };
    while i < json.len() {
        match (json[i], unit(i)) {
            (b'"', _) => return Ok(i + 1),
            (b'\\', Some(0)) => {
                return Err("the payload holds a NUL character (\\u0000), which Postgres cannot show as jsonb".into());
            }
            (b'\\', Some(0xD800..=0xDBFF)) if matches!(unit(i + 6), Some(0xDC00..=0xDFFF)) => i += 12,
            (b'\\', Some(0xD800..=0xDFFF)) => {
                return Err("the payload holds half a surrogate pair, which is no character".into());
            }
            (b'\\', _) => i += 2,
            _ => i += 1,
        }
    }
    Ok(i)
}

/// From the first character of a number to behind its last.
fn check_number(json: &[u8], start: usize) -> Result<usize, String> {
    let part = |b: &u8| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E');
    let len = json[start..].iter().position(|b| !part(b)).unwrap_or(json.len() - start);
    let number = &json[start..start + len];
    let exponent = number.iter().position(|b| matches!(b, b'e' | b'E')).map_or(&b""[..], |e| &number[e + 1..]);
    let digits = exponent.iter().filter(|b| b.is_ascii_digit()).skip_while(|b| **b == b'0');
    let exponent = digits.take(9).fold(0_usize, |n, d| n * 10 + usize::from(d - b'0'));
    if len > NUMBER_MAX || exponent > NUMBER_MAX {
        return Err(format!("the payload holds a number of over {NUMBER_MAX} digits"));
    }
    Ok(start + len)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::message::Message;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct V1 {
        cents: i64,
    }
    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct V3 {
        cents: i64,
        currency: String,
    }
    impl Message for V1 {
        const KIND: &'static str = "price";
        const QUEUE: &'static str = "q";
        const CODEC: Codec = Codec::Postcard;
    }
    impl Message for V3 {
        const KIND: &'static str = "price";
        const QUEUE: &'static str = "q";
        const VERSION: u16 = 3;
        fn upgrade(old: Encoded<'_>) -> Result<Self, DecodeError> {
            old.decode::<V1>().map(|v| Self { cents: v.cents, currency: "EUR".into() })
        }
    }

    /// Fear: a version step is skipped, or a newer version is read as if it were ours.
    #[test]
    fn versions_upgrade_and_newer_ones_are_unsupported() {
        let body = encode(&V1 { cents: 7 }, Codec::Postcard).unwrap();
        let old = Encoded { version: 1, codec: Codec::Postcard, body: &body };
        assert_eq!(old.decode::<V3>().unwrap(), V3 { cents: 7, currency: "EUR".into() });
        let newer = Encoded { version: 99, ..old };
        assert!(newer.decode::<V3>().unwrap_err().is_unsupported());
        let between = Encoded { version: 2, ..old };
        assert!(between.decode::<V3>().unwrap_err().is_unsupported(), "V1 cannot read version 2");
    }

    /// Fear: postcard reads a longer, different struct without complaint.
    #[test]
    fn postcard_refuses_trailing_bytes() {
        let mut body = encode(&V1 { cents: 7 }, Codec::Postcard).unwrap();
        body.push(0);
        let e = Encoded { version: 1, codec: Codec::Postcard, body: &body }.decode::<V1>().unwrap_err();
        assert!(!e.is_unsupported());
    }

    /// Fear: a NUL slips through in an escape, or an escaped backslash before `u0000` is taken for one.
    #[test]
    fn nul_is_found_in_json_escapes_only() {
        assert!(check_json(br#"{"a":"\u0000"}"#).is_err());
        assert!(check_json(br#"{"a":"\\u0000"}"#).is_ok());
        assert!(check_json(br#"{"a":"\\\u0000"}"#).is_err());
        assert!(check_json(br#"{"a":1"#).is_err());
        assert!(check_json(b"").is_err());
    }

    /// Fear: JSON that jsonb refuses is stored, and breaks every query that shows payloads.
    #[test]
    fn what_jsonb_cannot_hold_is_refused() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        for bad in [
            r#"{"a":"\ud800"}"#,
            r#""\udc00\ud800""#,
            r#""\ud800\u0041""#,
            r#"{"\u0000":1}"#,
            "[1e4001]",
            "-1E-99999999999999999999",
            &"1".repeat(4_001),
            &nested(128),
        ] {
            assert!(check_json(bad.as_bytes()).is_err(), "{bad}");
        }
        for good in [
            r#""\ud83d\ude00 \\ud800 \u00e9""#,
            r#""[[[ 1e9999 \" {""#,
            "1e4000",
            "-0.0e-0004000",
            &"1".repeat(4_000),
            &nested(127),
        ] {
            assert_eq!(check_json(good.as_bytes()), Ok(()), "{good}");
        }
    }
}
