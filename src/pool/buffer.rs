//! A buffer for one long frame.

use std::collections::TryReserveError;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use super::Pool;

/// Room for one frame, on loan; it goes back when it is dropped.
///
/// It has the frame's length at most, and grows only when the caller says that
/// it is full.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// As long as it has ever been: all of it is initialised.
    bytes: Vec<u8>,
    /// The frame's length, which is accounted for.
    len: usize,
    pool: Rc<Pool>,
}

impl Buffer {
    pub(super) fn new(bytes: Vec<u8>, len: usize, pool: Rc<Pool>) -> Buffer {
        Buffer { bytes, len, pool }
    }

    /// Makes it longer than `filled`, up to the frame's length.
    ///
    /// # Errors
    ///
    /// If the system has no memory.
    pub(crate) fn grow_beyond(&mut self, filled: usize) -> Result<(), TryReserveError> {
        if filled < self.bytes.len() || filled == self.len {
            return Ok(());
        }
        let target = self.len.min((2 * filled).max(FIRST));
        if target > self.bytes.capacity() {
            self.pool.make_room_for(target);
            self.bytes.try_reserve_exact(target - self.bytes.len())?;
        }
        self.bytes.resize(target, 0);
        Ok(())
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.bytes.len().min(self.len)]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        let end = self.bytes.len().min(self.len);
        &mut self.bytes[..end]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() > 0 {
            self.pool.idle_buffers.borrow_mut().put(bytes);
        }
        self.pool.buffers.give_back(self.len);
    }
}

/// What a frame is given at first, in bytes.
const FIRST: usize = 64 * 1024;
