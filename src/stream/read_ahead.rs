//! Bytes that have been read before anybody asked for them.
//!
//! An exact read of a small frame costs two system calls, one for its length
//! and one for the rest. So a `FrameReader` has its half take what the kernel
//! holds, up to a block, and finds the frames in there. The verb of the public is
//! served from the block first; it fills one only where `read_ahead` says so.

use std::io;
use std::ops::Range;
use std::task::{Context, Poll, ready};

use super::ReadHalf;
use super::connection::Connection;
use super::error::StreamError;
use super::options;
use crate::pool::{BLOCK, Block};
use crate::reactor::Direction;

/// What was read ahead of demand, in a block that is held only while it is
/// needed.
#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    block: Option<Block>,
    unread: Range<usize>,
}

impl ReadAhead {
    #[inline]
    pub(super) fn unread(&self) -> &[u8] {
        match &self.block {
            Some(block) => &block[self.unread.clone()],
            None => &[],
        }
    }

    #[inline]
    pub(super) fn consume(&mut self, count: usize) {
        self.unread.start += count;
        self.release_if_empty();
    }

    /// Moves as much as there is to `buf`, and tells how much that was.
    pub(super) fn move_into(&mut self, buf: &mut [u8]) -> usize {
        let unread = self.unread();
        let count = unread.len().min(buf.len());
        if count > 0 {
            buf[..count].copy_from_slice(&unread[..count]);
            self.consume(count);
        }
        count
    }

    pub(super) fn poll_more(
        &mut self,
        connection: &Connection,
        context: &Context<'_>,
        most: usize,
    ) -> Poll<io::Result<Option<usize>>> {
        // First of all, so that a connection without traffic needs no block.
        ready!(connection.poll_readable(context))?;
        if self.block.is_none() {
            self.block = connection.registration.inner().pool.try_block();
        }
        let Some(block) = &mut self.block else {
            return Poll::Ready(Ok(None));
        };
        if self.unread.start > 0 {
            block.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        let room = &mut block[self.unread.end..most];
        let count = ready!(connection.poll_receive(context, room, 1))?;
        self.unread.end += count;
        Poll::Ready(Ok(Some(count)))
    }

    #[inline]
    pub(super) fn release_if_empty(&mut self) {
        if self.unread.is_empty() && self.block.is_some() {
            self.unread = 0..0;
            self.block = None;
        }
    }
}

impl ReadHalf {
    /// Has short reads take more than they were asked for, where more has arrived,
    /// and keep it for the reads that follow.
    ///
    /// For a protocol with small messages of its own: a header, and what it
    /// announces, or a burst of headers, cost one system call together. What is read
    /// ahead lies in a block of 16 KiB, which is held only while there is something
    /// in it; if a [budget](crate::Builder::memory_budget) has none left, reads go
    /// on without. A read of 16 KiB or more takes what is there, and has the rest
    /// received where it belongs, with nothing ahead.
    ///
    /// # Examples
    ///
    /// See [`buffered`](ReadHalf::buffered).
    #[must_use]
    pub fn read_ahead(mut self) -> ReadHalf {
        self.reads_ahead = true;
        self
    }

    /// How many bytes have been read ahead: a read of no more than that completes
    /// at once.
    ///
    /// # Examples
    ///
    /// Answers to a burst leave together, and none waits for a request that has not
    /// come:
    ///
    /// ```
    /// use readinto::{ReadHalf, Stream, StreamError, WriteHalf};
    ///
    /// /// Answers each question of 16 bytes with 8 bytes.
    /// async fn serve(stream: Stream) -> Result<(), StreamError> {
    ///     let (read, mut write) = stream.split();
    ///     let mut read = read.read_ahead();
    ///     let mut answers = Vec::new();
    ///     let mut question = [0; 16];
    ///     loop {
    ///         if read.buffered() < question.len() {
    ///             write.write_all(&answers).await?;
    ///             answers.clear();
    ///         }
    ///         read.read_exact_into(&mut question).await?;
    ///         answers.extend_from_slice(&question[4..12]);
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.ahead.unread().len()
    }

    /// What has been read ahead.
    #[inline]
    pub(crate) fn ahead(&self) -> &[u8] {
        self.ahead.unread()
    }

    /// Takes `count` bytes off the front of what has been read ahead.
    #[inline]
    pub(crate) fn consume_ahead(&mut self, count: usize) {
        self.ahead.consume(count);
    }

    /// Reads once, until at most `most` bytes are read ahead, and tells how
    /// many came: `Some(0)` at the end of the stream, `None` if the reactor has
    /// no block left.
    ///
    /// `most` is more than there are, and not more than a block. While it
    /// waits, a block is held only if bytes are in it.
    pub(crate) fn poll_ahead(
        &mut self,
        context: &Context<'_>,
        most: usize,
    ) -> Poll<Result<Option<usize>, StreamError>> {
        self.poison.ensure_none()?;
        let received = self.ahead.poll_more(&self.connection, context, most);
        self.ahead.release_if_empty();
        received.map_err(|source| StreamError::Io {
            moved: self.ahead.unread.len(),
            wanted: most,
            source,
        })
    }

    /// Whether a read is worth a try.
    pub(crate) fn is_readable(&self) -> bool {
        self.connection.registration.is_ready(Direction::Read)
    }

    /// At most how many bytes that have arrived the kernel can hold.
    pub(crate) fn most_in_kernel(&self) -> usize {
        options::most_in_kernel(&self.socket(), &self.connection.peer)
    }

    /// Has the next read ask the kernel, whatever it said last.
    pub(crate) fn look_again(&self) {
        self.connection.registration.look_again(Direction::Read);
    }

    /// Reads and drops all that comes, until the end of the stream. What was read ahead
    /// is the caller's to drop.
    pub(crate) fn poll_discard(&mut self, context: &Context<'_>) -> Poll<io::Result<()>> {
        let mut discarded = [0; BLOCK];
        while ready!(self.connection.poll_receive(context, &mut discarded, 1))? > 0 {}
        Poll::Ready(Ok(()))
    }

    /// Drops what was read ahead, of a stream that leads nowhere.
    pub(crate) fn discard_ahead(&mut self) {
        self.ahead = ReadAhead::default();
    }
}
