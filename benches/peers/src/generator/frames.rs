//! The bytes of every frame, known without being kept.
//!
//! All frames of one size share two bodies, in turn: no byte of one is the same in
//! the other, so that no answer can be right by what was left of the frame before.
//! At the beginning of the payload is a stamp: the number of the frame, and of its
//! connection.

use std::ops::Range;

use crate::peer::{Prefix, payloads};

/// Makes the frames of one size.
pub(super) struct Frames {
    /// Those of even and of odd numbers, each with the stamp that it was given last.
    frames: [Vec<u8>; 2],
    /// Where the stamp is.
    stamp: Range<usize>,
}

impl Frames {
    /// Frames with payloads of `size` bytes.
    pub(super) fn new(size: usize) -> Frames {
        let start = PREFIX.size();
        let header = PREFIX.encode(size);
        Frames {
            frames: payloads(size).map(|payload| [&header[..start], &payload].concat()),
            stamp: start..start + size.min(STAMP),
        }
    }

    /// Bytes of a frame, prefix and payload.
    pub(super) fn len(&self) -> usize {
        self.frames[0].len()
    }

    /// One frame. What changes fastest comes first in the stamp, so that short
    /// payloads tell themselves apart as well as they can.
    pub(super) fn get(&mut self, connection: u32, number: u64) -> &[u8] {
        let stamp = (number & u64::from(u32::MAX)) | (u64::from(connection) << 32);
        let frame = &mut self.frames[(number % 2) as usize];
        let place = &mut frame[self.stamp.clone()];
        place.copy_from_slice(&stamp.to_le_bytes()[..place.len()]);
        frame
    }
}

/// A place in the stream of the frames of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Frames before it.
    pub(super) frame: u64,
    /// Bytes before it, of the frame that it is in.
    pub(super) offset: usize,
}

impl Place {
    /// The place `bytes` further on, where all frames have `len` bytes.
    pub(super) fn after(self, bytes: usize, len: usize) -> Place {
        let offset = self.offset + bytes;
        if offset < len {
            return Place { offset, ..self };
        }
        Place {
            frame: self.frame + (offset / len) as u64,
            offset: offset % len,
        }
    }

    /// Bytes before it in the whole stream.
    pub(super) fn total(self, len: usize) -> u64 {
        self.frame * len as u64 + self.offset as u64
    }
}

const PREFIX: Prefix = Prefix::U32Be;

const STAMP: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_differ_in_their_payload_only() {
        for size in [1, 7, 8, 64] {
            let mut frames = Frames::new(size);
            let first = frames.get(1, 0).to_vec();
            assert_eq!(first.len(), frames.len());
            assert_eq!(first[..4], (size as u32).to_be_bytes());
            let second = frames.get(1, 1).to_vec();
            assert_eq!(first[..4], second[..4]);
            assert_ne!(first, second);
            assert_eq!(first == frames.get(2, 0), size < 5);
            assert_eq!(first, frames.get(1, 0));
        }
        assert_eq!(Frames::new(0).get(1, 1), [0; 4]);
    }

    #[test]
    fn nothing_behind_the_stamp_can_be_left_of_the_frame_before() {
        let mut frames = Frames::new(64);
        let [first, second, third] = [6, 7, 8].map(|number| frames.get(1, number)[12..].to_vec());
        assert!(first.iter().zip(&second).all(|(a, b)| a != b));
        assert_eq!(first, third);
    }

    #[test]
    fn a_place_moves_through_frames() {
        let start = Place::default();
        assert_eq!(start.after(0, 10), start);
        for (bytes, frame, offset) in [(9, 0, 9), (10, 1, 0), (25, 2, 5)] {
            let place = start.after(bytes, 10);
            assert_eq!((place.frame, place.offset), (frame, offset));
            assert_eq!(place.total(10), bytes as u64);
        }
        assert_eq!(start.after(25, 10).after(15, 10).total(10), 40);
    }
}
