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
    ///
    /// Where nothing was, they are the allocator's: pages that nobody has written to yet.
    pub(super) fn resize(&mut self, len: usize) {
        let len = self.lead + len;
        match self.bytes.is_empty() {
            true => self.bytes = vec![0; len],
            false => self.bytes.resize(len, 0),
        }
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

#[cfg(test)]
mod tests {
    use nix::sys::resource::{UsageWho, getrusage};

    use super::*;

    /// Or a row whose connections each have one frame would write it twice.
    #[test]
    fn the_first_resize_touches_no_page() {
        for tuning in [Tuning::Default, Tuning::AsReadinto] {
            let mut room = Room::new(tuning, 0);
            let before = page_faults();
            room.resize(LEN);
            let faults = page_faults() - before;
            assert_eq!(room.len(), LEN);
            assert!(faults < FAULTS, "{tuning:?}: {faults} page faults");
        }
    }

    fn page_faults() -> i64 {
        let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
        usage.minor_page_faults()
    }

    const LEN: usize = 64 << 20;

    /// Of the allocator itself. To write `LEN` bytes takes 32, were all pages huge.
    const FAULTS: i64 = 16;
}
