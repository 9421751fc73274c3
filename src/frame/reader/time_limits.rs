//! How long a reader waits for its peer.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::FrameReader;
use crate::frame::error::{FrameError, TimeLimit};
use crate::frame::watch::{ShortageTimeout, Watch};

/// The limits of one reader, and what keeps them.
#[derive(Debug, Default)]
pub(super) struct TimeLimits {
    idle: Option<Duration>,
    frame: Option<Duration>,
    watch: Watch,
    shortage: Option<ShortageTimeout>,
}

impl FrameReader {
    /// Gives up on a peer that sends nothing for so long between two frames.
    ///
    /// Without it, or with `None`, a peer that has gone without a word (its cable
    /// was cut, say) keeps its connection for ever. The time is counted from when
    /// somebody first waits for the frame: a call whose future was dropped counts, and so
    /// does what lies between it and the next. One that stops in the middle of a frame is the
    /// [frame timeout](FrameReader::frame_timeout)'s affair, and one that takes no answers
    /// the [stall timeout](crate::FrameWriter::stall_timeout)'s: a server has all three.
    ///
    /// No time limit costs a system call or an allocation per frame.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use readinto::{FrameError, FrameReader, Prefix, ReadHalf, TimeLimit};
    ///
    /// async fn count(half: ReadHalf) -> Result<u64, FrameError> {
    ///     let mut frames = FrameReader::new(half, Prefix::U32Be, 1 << 20)
    ///         .idle_timeout(Duration::from_secs(300))
    ///         .frame_timeout(Duration::from_secs(30));
    ///     let mut count = 0;
    ///     loop {
    ///         match frames.next().await {
    ///             Ok(Some(_)) => count += 1,
    ///             Ok(None) => return Ok(count),
    ///             Err(FrameError::TimedOut { limit: TimeLimit::Idle, .. }) => return Ok(count),
    ///             Err(error) => return Err(error),
    ///         }
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn idle_timeout(mut self, after: impl Into<Option<Duration>>) -> FrameReader {
        self.time_limits.get_or_insert_default().idle = after.into();
        self
    }

    /// Gives up on a frame that has not arrived, from its first byte to its last,
    /// within this time, the wait for memory under a
    /// [budget](crate::Builder::memory_budget) included. What has arrived by then is
    /// read before it is given up.
    ///
    /// Without it, or with `None`, a peer that drips a byte a second keeps its
    /// connection, and the memory that its frame was promised, for as long as it
    /// likes. The slowest peer that is welcome and the longest frame that is
    /// accepted make the time.
    ///
    /// # Examples
    ///
    /// See [`idle_timeout`](FrameReader::idle_timeout).
    #[must_use]
    pub fn frame_timeout(mut self, after: impl Into<Option<Duration>>) -> FrameReader {
        self.time_limits.get_or_insert_default().frame = after.into();
        self
    }

    /// Gives up on a frame that holds memory for so long while others wait for
    /// some, under a [budget](crate::Builder::memory_budget), and has not arrived.
    ///
    /// What has arrived by then is read first.
    ///
    /// Without it, or with `None`, a few peers that send half of a long frame can
    /// keep all the others waiting for as long as the
    /// [frame timeout](FrameReader::frame_timeout) allows. The time is counted
    /// from when the frame has got its room, and looked at each time it has passed:
    /// so it may take up to twice as long.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use readinto::{FrameReader, FrameWriter, Prefix, Stream};
    ///
    /// fn frames(stream: Stream) -> (FrameReader, FrameWriter) {
    ///     let ten_seconds = Duration::from_secs(10);
    ///     let (read, write) = stream.split();
    ///     (
    ///         FrameReader::new(read, Prefix::U32Be, 1 << 30).shortage_timeout(ten_seconds),
    ///         FrameWriter::new(write, Prefix::U32Be).shortage_timeout(ten_seconds),
    ///     )
    /// }
    /// ```
    #[must_use]
    pub fn shortage_timeout(mut self, after: impl Into<Option<Duration>>) -> FrameReader {
        self.time_limits.get_or_insert_default().shortage = after.into().map(ShortageTimeout::new);
        self
    }

    /// Polls `attempt`, for no longer than the limits allow.
    pub(super) fn poll_in_time<T>(
        &mut self,
        context: &mut Context<'_>,
        attempt: impl FnOnce(&mut FrameReader, &Context<'_>) -> Poll<Result<T, FrameError>>,
    ) -> Poll<Result<T, FrameError>> {
        let attempted = attempt(self, context);
        if attempted.is_pending() && self.time_limits.is_some() {
            return self.poll_limits(context).map(Err);
        }
        attempted
    }

    fn poll_limits(&mut self, context: &mut Context<'_>) -> Poll<FrameError> {
        let moved = self.buffered();
        // That can't be so for ever: each poll reads some of the frame, which has an end, or
        // frees idle memory. (If the task has other futures that spend its budget, they have
        // to end as well.)
        let is_our_turn = match &self.ticket {
            Some(ticket) => !ticket.is_queued(),
            None => self.half.is_readable(),
        };
        let Some(limits) = &mut self.time_limits else {
            return Poll::Pending;
        };
        let reactor = self.half.reactor();
        if let Some(shortage) = &mut limits.shortage
            && self.buffer.is_some()
            && !is_our_turn
            && shortage
                .poll_elapsed(reactor, context, self.ended)
                .is_ready()
        {
            return Poll::Ready(FrameError::TimedOut {
                limit: TimeLimit::Shortage,
                after: shortage.after,
                moved,
            });
        }
        // Two waits for each frame: for it, and for the rest of it.
        let (limit, after, wait) = match moved {
            0 => (TimeLimit::Idle, limits.idle, 0),
            _ => (TimeLimit::Frame, limits.frame, 1),
        };
        let Some(after) = after else {
            return Poll::Pending;
        };
        let mark = 2 * self.ended + wait;
        ready!(limits.watch.poll_elapsed(reactor, context, mark, after));
        if is_our_turn {
            return Poll::Pending;
        }
        if self.ticket.is_none() && limits.watch.looks_again() {
            // A poll of the kernel tells of so many sockets, and this may be another.
            self.half.look_again();
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if limit == TimeLimit::Idle {
            // Another call is another wait.
            limits.watch = Watch::default();
        }
        Poll::Ready(FrameError::TimedOut {
            limit,
            after,
            moved,
        })
    }
}
