//! The reading verb.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::ReadHalf;
use super::error::StreamError;
use crate::pool::BLOCK;

impl ReadHalf {
    /// Fills `buf` from the stream; resolves when the last byte is in.
    ///
    /// An empty `buf` is full at once. The bytes go from the kernel to `buf`,
    /// at most 256 KiB in one system call, unless
    /// [`read_ahead`](ReadHalf::read_ahead) is on.
    ///
    /// Where a long `buf` begins in its page decides on some AMD processors how fast it is
    /// filled: where allocators like to put it, at down to a twentieth of the rate
    /// (`docs/benchmarks.md`, "Where a buffer begins"). What
    /// [`Handle::lease`](crate::Handle::lease) lends begins elsewhere, and so does your own
    /// memory if you leave out its first 64 bytes.
    ///
    /// # Errors
    ///
    /// - [`StreamError::Eof`] if the peer ended its side first: with `filled`
    ///   at 0 between messages, with more in the middle of one.
    /// - [`StreamError::Poisoned`] if an earlier read stopped half-way.
    /// - [`StreamError::Io`] for what the kernel says: a reset connection, say.
    ///
    /// # Cancel safety
    ///
    /// A read that is dropped before its first byte has no effect. One that is
    /// dropped later has already taken bytes off the stream, so it poisons this
    /// half: every further read fails with [`StreamError::Poisoned`], which
    /// says how many bytes had moved. A read that fails half-way does the same.
    /// To give up on a read and come back to it, use a
    /// [`FrameReader`](crate::FrameReader), which keeps its place.
    ///
    /// # Examples
    ///
    /// See [`Stream::read_exact_into`](super::Stream::read_exact_into).
    pub fn read_exact_into<'a>(&'a mut self, buf: &'a mut [u8]) -> ReadExactInto<'a> {
        ReadExactInto {
            half: self,
            buf,
            filled: 0,
        }
    }

    /// Fills `buf[*filled..]`, and keeps count in `filled` across calls.
    ///
    /// It leaves poisoning to the caller, who may know how to go on.
    pub(crate) fn poll_fill(
        &mut self,
        context: &Context<'_>,
        buf: &mut [u8],
        filled: &mut usize,
    ) -> Poll<Result<(), StreamError>> {
        self.poison.ensure_none()?;
        let wanted = buf.len();
        let moved = self.ahead.move_into(&mut buf[*filled..]);
        if moved > 0 {
            self.reactor().budget.charge_read_ahead();
            *filled += moved;
        }
        while *filled < wanted {
            let rest = &mut buf[*filled..];
            let error = match ready!(self.poll_fill_some(context, rest, wanted)) {
                Ok(0) => StreamError::Eof {
                    filled: *filled,
                    wanted,
                },
                Ok(moved) => {
                    *filled += moved;
                    continue;
                }
                Err(source) => StreamError::Io {
                    moved: *filled,
                    wanted,
                    source,
                },
            };
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(()))
    }

    /// Puts what comes next into `rest` of a read of `wanted` bytes, and tells how
    /// much that was: nothing at the end of the stream.
    fn poll_fill_some(
        &mut self,
        context: &Context<'_>,
        rest: &mut [u8],
        wanted: usize,
    ) -> Poll<io::Result<usize>> {
        // For a long read, the copy would cost more than the call.
        if self.reads_ahead && wanted < BLOCK {
            let received = self.ahead.poll_more(&self.connection, context, BLOCK);
            let moved = self.ahead.move_into(rest);
            self.ahead.release_if_empty();
            if ready!(received)?.is_some() {
                return Poll::Ready(Ok(moved));
            }
        }
        let missing = rest.len();
        self.connection.poll_receive(context, rest, missing)
    }
}

/// The future of [`ReadHalf::read_exact_into`].
///
/// # Cancel safety
///
/// Dropping it once bytes have moved poisons the half that it reads from.
///
/// # Examples
///
/// See [`Stream::read_exact_into`](super::Stream::read_exact_into).
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct ReadExactInto<'a> {
    half: &'a mut ReadHalf,
    buf: &'a mut [u8],
    filled: usize,
}

impl Future for ReadExactInto<'_> {
    type Output = Result<(), StreamError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let ReadExactInto { half, buf, filled } = &mut *self;
        half.poll_fill(context, buf, filled)
    }
}

impl Drop for ReadExactInto<'_> {
    fn drop(&mut self) {
        if self.filled < self.buf.len() {
            self.half.poison(self.filled, self.buf.len());
        }
    }
}
