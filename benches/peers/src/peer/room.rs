//! Where a row receives its payloads.

use std::ops::{Deref, DerefMut};

use super::Tuning;

/// A slice of bytes that is used again and again, and begins where the allocator puts
/// it or, if the row is tuned, some bytes behind that.
#[derive(Default)]
pub(super) struct Room {
    lead: usize,
    bytes: Vec<u8>,
}

impl Room {
    /// Of `len` zeros.
    pub(super) fn new(tuning: Tuning, len: usize) -> Room {
        let lead = match tuning {
            Tuning::Default => 0,
            Tuning::AsReadinto => LEAD,
        };
        let bytes = match len {
            0 => Vec::new(),
            len => vec![0; lead + len],
        };
        Room { lead, bytes }
    }

    /// Makes it `len` bytes long, with zeros behind what was there.
    pub(super) fn resize(&mut self, len: usize) {
        self.bytes.resize(self.lead + len, 0);
    }
}

impl Deref for Room {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(self.lead..).unwrap_or_default()
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.lead..).unwrap_or_default()
    }
}

/// As in `src/pool/buffer.rs` of the library.
const LEAD: usize = 64;
