//! How a reader ends when its service does.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use super::FrameReader;
use crate::drain::{Drain, Waiter};
use crate::frame::error::FrameError;
use crate::frame::writer::FrameWriter;
use crate::reactor::Handle;

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
    /// From a peer that never pauses, no frame is begun any more once as much has been taken
    /// as the socket can hold.
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
        // The end of another drain may have hidden it.
        self.whole_next = self.whole_frame_ahead();
        self
    }

    /// Whether this reader has ended with its [`Drain`], and not with its stream.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.draining.as_ref().is_some_and(|draining| draining.over)
    }

    /// Ends a connection so that the peer gets its last answers: sends those that are
    /// gathered, ends our side, and throws away what still comes, until the peer has
    /// ended its side or `within` has passed.
    ///
    /// A socket that is closed with unread bytes, or that gets some later, resets its
    /// connection, and answers that the peer has not read yet are lost. So this is for
    /// whoever stops reading first: after a [drain](FrameReader::is_drained), or after
    /// [`FrameError::TooLarge`]. nginx calls it a lingering close (`lingering_close` in its
    /// `ngx_http_core_module`).
    ///
    /// # Errors
    ///
    /// What the kernel says: that the connection was reset, say. That the peer takes
    /// longer than `within` is none.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the connection.
    ///
    /// # Examples
    ///
    /// See [`Drain`].
    pub async fn linger(mut self, mut answers: FrameWriter, within: Duration) -> io::Result<()> {
        // Others may wait for the memory that the last frame is in.
        self.buffer = None;
        self.half.discard_ahead();
        let handle = Handle {
            inner: self.half.reactor().clone(),
        };
        let ending = async {
            answers.flush().await?;
            answers.into_inner().shutdown_write()?;
            poll_fn(|context| self.half.poll_discard(context)).await
        };
        handle.timeout(within, ending).await.unwrap_or(Ok(()))
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
        let in_kernel = self.half.most_in_kernel();
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
