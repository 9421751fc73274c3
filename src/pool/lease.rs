//! Shared memory for what the two verbs move.

use std::collections::TryReserveError;
use std::fmt;
use std::ops::{Deref, DerefMut};

use super::Buffer;

/// Memory that a reactor has lent by [`Handle::lease`](crate::Handle::lease): a
/// slice of bytes, until it is dropped.
///
/// What is in it at first is zeros or what was there before, of another connection
/// perhaps. So fill it before it is read.
pub struct Lease(Buffer);

impl Lease {
    pub(crate) fn new(mut buffer: Buffer) -> Result<Lease, TryReserveError> {
        buffer.make_whole()?;
        Ok(Lease(buffer))
    }
}

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is in it may be nobody's business.
        f.debug_struct("Lease")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
