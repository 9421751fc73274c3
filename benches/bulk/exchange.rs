//! The frames that a client sends, and the check of what comes back.

use std::io;

/// A payload and room for its answer, the same memory for every contender.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// What is sent.
    pub(crate) payload: Vec<u8>,
    /// Where what comes back goes, behind [`LEAD`] bytes.
    room: Vec<u8>,
}

impl Exchange {
    /// Frames of `size` bytes, at least [`STAMP`] of them.
    pub(crate) fn new(size: usize) -> Exchange {
        let payload = (0..size as u64)
            .map(|index| (index.wrapping_mul(MULTIPLIER) >> 56) as u8)
            .collect();
        Exchange {
            payload,
            room: vec![0; LEAD + size],
        }
    }

    /// Where what comes back goes.
    pub(crate) fn answer(&mut self) -> &mut [u8] {
        &mut self.room[LEAD..]
    }

    /// Makes every byte of the payload another, so that neither the answer nor
    /// the server's buffer can be right by what was left there.
    pub(crate) fn renew(&mut self) {
        for byte in &mut self.payload {
            *byte = !*byte;
        }
    }

    /// Makes the next frame unlike all others, at next to no cost.
    pub(crate) fn stamp(&mut self, number: usize) {
        self.payload[..STAMP].copy_from_slice(&(number as u64).to_be_bytes());
    }

    /// Whether the answer is one to the frame that was stamped last.
    ///
    /// # Errors
    ///
    /// `InvalidData` if it is not.
    pub(crate) fn check_stamp(&self) -> io::Result<()> {
        same(&self.room[LEAD..][..STAMP], &self.payload[..STAMP])
    }

    /// Compares every byte of the answer.
    ///
    /// # Errors
    ///
    /// `InvalidData` at the first that differs.
    pub(crate) fn check_all(&self) -> io::Result<()> {
        same(&self.room[LEAD..], &self.payload)
    }
}

fn same(answer: &[u8], payload: &[u8]) -> io::Result<()> {
    if answer == payload {
        return Ok(());
    }
    let at = answer.iter().zip(payload).position(|(a, b)| a != b);
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the answer differs from what was sent, at byte {at:?}"),
    ))
}

/// What lies before a contender's own buffer: as in the library, and for the reason that
/// `src/pool/buffer.rs` gives there.
pub(crate) const LEAD: usize = 64;

/// Bytes of a frame that number it.
pub(crate) const STAMP: usize = size_of::<u64>();

/// From Knuth's multiplicative hashing: 2^64 divided by the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
