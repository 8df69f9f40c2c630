//! The end of a stream, however long the stream is.

use std::collections::VecDeque;

/// Keeps the last bytes that were written to it.
#[derive(Debug)]
pub(crate) struct Tail {
    kept: VecDeque<u8>,
    bytes_max: usize,
}

impl Tail {
    /// Keeps so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { kept: VecDeque::new(), bytes_max }
    }

    /// Adds bytes; the oldest go.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(self.bytes_max)..];
        let over = (self.kept.len() + bytes.len()).saturating_sub(self.bytes_max);
        self.kept.drain(..over);
        self.kept.extend(bytes);
    }

    /// What is kept as trimmed text: a character that was cut in two, what is no UTF-8, and NUL (which Postgres cannot
    /// store) are replaced.
    pub(crate) fn text(&self) -> String {
        let bytes: Vec<u8> = self.kept.iter().copied().skip_while(|b| b & 0b1100_0000 == 0b1000_0000).collect();
        String::from_utf8_lossy(&bytes).replace('\0', "\u{fffd}").trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::Tail;

    /// A program that logs gigabytes must cost two KiB, and its last words are the ones that matter.
    #[test]
    fn only_the_end_is_kept() {
        let mut tail = Tail::new(8);
        tail.push(b"0123456789");
        assert_eq!(tail.text(), "23456789");
        tail.push(b"ab");
        assert_eq!(tail.text(), "456789ab");
        tail.push(b"");
        assert_eq!(tail.text(), "456789ab");
    }

    /// What Postgres cannot store as text would make the settle fail for ever.
    #[test]
    fn the_text_can_be_stored() {
        let mut tail = Tail::new(6);
        tail.push("é_é".as_bytes());
        tail.push(&[0, b'x', 0xff]);
        assert_eq!(tail.text(), "\u{e9}\u{fffd}x\u{fffd}");
        tail.push(b"\n\n");
        assert_eq!(tail.text(), "\u{fffd}x\u{fffd}");
    }
}
