//! How a reader ends when its service does.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use super::FrameReader;
use crate::drain::{Drain, Waiter};
use crate::frame::error::FrameError;

/// What a reader knows of the drain that it follows.
#[derive(Debug)]
pub(super) struct Draining {
    drain: Drain,
    waiter: Waiter,
    /// Since the reader has noticed the drain: at most how many of the bytes that
    /// had arrived by then are not handed over. A peer that never pauses could put
    /// off the end for ever without it.
    owed: Option<usize>,
    /// Whether nothing comes any more.
    over: bool,
}

impl FrameReader {
    /// Ends with `drain`: once that has begun, the frames that have arrived are
    /// still returned, and so is the one that has begun to arrive; then `None`, as
    /// at the end of the stream. A reader that waits between two frames ends at
    /// once.
    ///
    /// From a peer that never pauses, at most as much is taken as the socket can
    /// hold.
    ///
    /// # Examples
    ///
    /// See [`Drain`].
    #[must_use]
    pub fn drain(mut self, drain: &Drain) -> FrameReader {
        self.draining = Some(Box::new(Draining {
            drain: drain.clone(),
            waiter: drain.waiter(),
            owed: None,
            over: false,
        }));
        self
    }

    /// Whether this reader has ended with its [`Drain`], and not with its stream.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.draining.as_ref().is_some_and(|draining| draining.over)
    }

    /// Reads and throws away what the peer still sends, until it ends its side.
    ///
    /// For a connection that is given up, after
    /// [`shutdown_write`](crate::WriteHalf::shutdown_write): the peer may not have
    /// read our last answers, and a socket that is closed with unread bytes resets
    /// its connection, and them with it. Give it a
    /// [limit](crate::Handle::timeout): the peer decides how long it takes.
    ///
    /// # Errors
    ///
    /// What the kernel says: that the connection was reset, say.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the reader.
    ///
    /// # Examples
    ///
    /// See [`Drain`].
    pub async fn discard_rest(mut self) -> io::Result<()> {
        poll_fn(|context| self.half.poll_discard(context)).await
    }

    /// Sees whether the drain has begun, before a frame is looked for.
    #[inline]
    pub(super) fn notice_drain(&mut self) {
        if let Some(draining) = &self.draining
            && draining.drain.has_begun()
            && draining.owed.is_none()
        {
            self.count_debt();
        }
    }

    #[cold]
    fn count_debt(&mut self) {
        // Bytes may have arrived since the kernel was last asked.
        self.half.look_again();
        let in_kernel = self.half.socket().recv_buffer_size().unwrap_or(0);
        let owed = self.buffered().saturating_add(in_kernel);
        if let Some(draining) = &mut self.draining {
            draining.owed = Some(owed);
        }
    }

    /// Notes that a frame of so many bytes has been handed over.
    #[inline]
    pub(super) fn settle_debt(&mut self, bytes: usize) {
        if let Some(draining) = &mut self.draining
            && let Some(owed) = &mut draining.owed
        {
            *owed = owed.saturating_sub(bytes);
            draining.over = *owed == 0;
        }
    }

    /// What it means that no byte of the next frame is there: the end, for a
    /// reader that drains.
    pub(super) fn poll_without_frame(
        &mut self,
        context: &Context<'_>,
    ) -> Poll<Result<Option<usize>, FrameError>> {
        let begun = self.buffered() > 0;
        if let Some(draining) = &mut self.draining
            && !begun
        {
            if draining.owed.is_none() {
                draining.waiter.wait(context.waker());
            } else if !self.half.is_readable() {
                draining.over = true;
                return Poll::Ready(Ok(None));
            }
        }
        Poll::Pending
    }
}
