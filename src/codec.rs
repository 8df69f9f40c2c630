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
            check_nul(&body)?;
            Ok(body)
        }
        Codec::Postcard => postcard::to_stdvec(value).map_err(|e| e.to_string()),
    }
}

/// Refuses text that is not JSON, or that jsonb could not show.
pub(crate) fn check_json(text: &[u8]) -> Result<(), String> {
    serde_json::from_slice::<&serde_json::value::RawValue>(text)
        .map_err(|e| format!("the payload is not JSON: {e}"))?;
    check_nul(text)
}

/// `\u0000` is legal JSON, but jsonb cannot hold it: such a row would break every query of the view.
pub(crate) fn check_nul(json: &[u8]) -> Result<(), String> {
    let mut i = 0;
    while i < json.len() {
        if json[i] == b'\\' {
            if json[i + 1..].starts_with(b"u0000") {
                return Err("the payload holds a NUL character (\\u0000), which Postgres cannot show as jsonb".into());
            }
            i += 2;
        } else {
            i += 1;
        }
    }
    Ok(())
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
}
