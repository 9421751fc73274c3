//! Frames out: prefix and payload in one system call.

use super::error::FrameError;
use super::prefix::Prefix;
use crate::stream::{Buffers, Gather, WriteHalf};

/// Writes length-prefixed frames.
///
/// # Examples
///
/// See [`FrameReader`](super::FrameReader).
#[derive(Debug)]
pub struct FrameWriter {
    half: WriteHalf,
    prefix: Prefix,
}

impl FrameWriter {
    /// Writes frames to `half`.
    pub fn new(half: WriteHalf, prefix: Prefix) -> FrameWriter {
        FrameWriter { half, prefix }
    }

    /// Sends one frame; resolves when the kernel has taken its last byte.
    ///
    /// The payload is one slice or a list of slices. Prefix and payload leave
    /// together, without a copy of either.
    ///
    /// # Errors
    ///
    /// [`FrameError::PrefixOverflow`] before anything is sent;
    /// [`FrameError::Poisoned`] and [`FrameError::Io`] as
    /// [`WriteHalf::write_all`].
    ///
    /// # Cancel safety
    ///
    /// That of [`WriteHalf::write_all`]: dropping it half-way poisons the
    /// stream, since the rest of the frame would be missing.
    ///
    /// # Examples
    ///
    /// ```
    /// use readinto::{FrameError, FrameWriter};
    ///
    /// async fn send(frames: &mut FrameWriter, body: &[u8]) -> Result<(), FrameError> {
    ///     frames.write(body).await?;
    ///     frames.write(&[&b"a payload in parts: "[..], body]).await
    /// }
    /// ```
    pub async fn write<'a>(
        &'a mut self,
        payload: impl Into<Buffers<'a>>,
    ) -> Result<(), FrameError> {
        let body = payload.into();
        let len = body.len() as u64;
        let prefix = self.prefix;
        let Some(head) = prefix.encode(len) else {
            return Err(FrameError::PrefixOverflow { len, prefix });
        };
        let gather = Gather {
            head,
            head_len: prefix.size(),
            body,
        };
        Ok(self.half.write_gathered(gather).await?)
    }

    /// The stream's half, for its addresses and options.
    pub fn get_ref(&self) -> &WriteHalf {
        &self.half
    }

    /// The stream's half, to go on with something other than frames or to shut
    /// it down.
    pub fn into_inner(self) -> WriteHalf {
        self.half
    }
}
