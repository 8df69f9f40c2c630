//! Frames: bytes with a checksum, so written that a reader finds the next one behind any damage.
//!
//! A frame is `0`, the COBS encoding (which has no zero byte) of version, number, entry and CRC-32, and `0` again. One zero would
//! be enough to part two frames; with two, whatever single bit is flipped, only one frame is lost.

/// The first byte of what is in a frame: the format of all that follows.
const VERSION: u8 = 1;
/// Version, number and checksum, in bytes.
const FIXED_BYTES: usize = 1 + 8 + 4;

/// What a frame of an entry of so many bytes takes at most, delimiters included.
pub(super) fn frame_bytes_max(entry: usize) -> u64 {
    let plain = entry + FIXED_BYTES;
    (plain + plain / 254 + 1 + 2) as u64
}

/// A frame with its delimiters.
pub(super) fn encode(number: u64, entry: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(entry.len() + FIXED_BYTES);
    plain.push(VERSION);
    plain.extend_from_slice(&number.to_le_bytes());
    plain.extend_from_slice(entry);
    plain.extend_from_slice(&crc32fast::hash(&plain).to_le_bytes());
    let mut frame = vec![0];
    frame.extend(cobs::encode_vec(&plain));
    frame.push(0);
    frame
}

/// What a reader makes of a piece between zeros.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// A number and its entry, as they were written.
    Whole(u64, Vec<u8>),
    /// As it was written, but by another version of pgflow.
    Foreign(u8),
    /// Not as it was written.
    Damaged,
}

/// Reads a piece, without its zeros.
pub(super) fn decode(piece: &[u8]) -> Read {
    let Ok(plain) = cobs::decode_vec(piece) else { return Read::Damaged };
    let Some((content, crc)) = plain.split_last_chunk::<4>() else { return Read::Damaged };
    if crc32fast::hash(content) != u32::from_le_bytes(*crc) {
        return Read::Damaged;
    }
    match content.split_first() {
        Some((&VERSION, rest)) => match rest.split_first_chunk::<8>() {
            Some((number, entry)) => Read::Whole(u64::from_le_bytes(*number), entry.to_vec()),
            None => Read::Damaged,
        },
        Some((version, _)) => Read::Foreign(*version),
        None => Read::Damaged,
    }
}

/// The runs of bytes between zeros: where each begins, and itself. The last one may lack its closing zero.
pub(super) fn pieces(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    bytes.split(|byte| *byte == 0).filter_map(move |piece| {
        let begin = at;
        at += piece.len() + 1;
        (!piece.is_empty()).then_some((begin, piece))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Fear: one flipped bit takes a neighbour along, or passes for what was written.
        #[test]
        fn a_flipped_bit_costs_one_frame(
            entries in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..600), 1..6),
            at in any::<proptest::sample::Index>(), bit in 0..8_u32,
        ) {
            let frames: Vec<Vec<u8>> = entries.iter().zip(1..).map(|(e, n)| encode(n, e)).collect();
            for (frame, entry) in frames.iter().zip(&entries) {
                prop_assert!(frame.len() as u64 <= frame_bytes_max(entry.len()));
            }
            let mut bytes = frames.concat();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let mut ends = frames.iter().scan(0, |end, frame| { *end += frame.len(); Some(*end) });
            let hit = ends.position(|end| at < end).unwrap() as u64 + 1;
            let read: Vec<(u64, Vec<u8>)> = pieces(&bytes).filter_map(|(_, piece)| match decode(piece) {
                Read::Whole(number, entry) => Some((number, entry)),
                _ => None,
            }).collect();
            let expected: Vec<(u64, Vec<u8>)> =
                entries.iter().cloned().zip(1..).map(|(e, n)| (n, e)).filter(|(n, _)| *n != hit).collect();
            prop_assert_eq!(read, expected);
        }
    }

    /// Fear: nothing is read as something.
    #[test]
    fn no_bytes_are_no_frame() {
        assert_eq!(pieces(&[0, 0, 0]).count(), 0);
        assert_eq!(decode(&[1]), Read::Damaged);
    }
}
