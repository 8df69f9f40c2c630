//! Frames of the protocol, as bytes.

/// The first whole frame, its kind and all its bytes.
pub(crate) fn take_frame(read: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let length = u32::from_be_bytes(read.get(1..5)?.try_into().ok()?) as usize + 1;
    (read.len() >= length).then(|| (read[0], read.drain(..length).collect()))
}

/// A simple query.
pub(crate) fn query(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len() + 5).expect("short");
    [b"Q", &length.to_be_bytes()[..], text.as_bytes(), b"\0"].concat()
}

/// A text that ends at its zero byte, and what follows.
pub(crate) fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}

/// Such a text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(split(bytes).0).into_owned()
}

/// One of a startup message's pairs; empty without it.
pub(crate) fn parameter(mut pairs: &[u8], name: &str) -> String {
    while pairs.len() > 1 {
        let (key, rest) = split(pairs);
        let (value, rest) = split(rest);
        if key == name.as_bytes() {
            return text(value);
        }
        pairs = rest;
    }
    String::new()
}
