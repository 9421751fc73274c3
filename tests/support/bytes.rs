//! Bytes that show where they belong, and frames made without the library.

use readinto::Prefix;

/// `len` bytes that differ from those of another `seed`, and from themselves
/// at another place.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut word = seed.wrapping_add(1).wrapping_mul(GOLDEN);
    for chunk in bytes.chunks_mut(8) {
        word = word.wrapping_add(GOLDEN);
        let mixed = word ^ (word >> 29);
        chunk.copy_from_slice(&mixed.to_le_bytes()[..chunk.len()]);
    }
    bytes
}

/// Compares long slices, and says where they part instead of printing them.
#[track_caller]
pub(crate) fn assert_same(got: &[u8], expected: &[u8]) {
    assert_eq!(got.len(), expected.len(), "the lengths differ");
    if got != expected {
        let at = got.iter().zip(expected).position(|(a, b)| a != b);
        panic!("{} bytes differ from byte {at:?} on", got.len());
    }
}

/// A length as `prefix` puts it on the wire, in the standard library's words.
pub(crate) fn header(prefix: Prefix, len: u64) -> Vec<u8> {
    match prefix {
        Prefix::U16Be => (len as u16).to_be_bytes().into(),
        Prefix::U16Le => (len as u16).to_le_bytes().into(),
        Prefix::U32Be => (len as u32).to_be_bytes().into(),
        Prefix::U32Le => (len as u32).to_le_bytes().into(),
        Prefix::U64Be => len.to_be_bytes().into(),
        Prefix::U64Le => len.to_le_bytes().into(),
        _ => unreachable!("{prefix} is new"),
    }
}

/// A whole frame as it goes over the wire.
pub(crate) fn framed(prefix: Prefix, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(prefix, payload.len() as u64);
    frame.extend_from_slice(payload);
    frame
}

/// 2⁶⁴ divided by the golden ratio, made odd: the increment of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
