//! Frames out: prefix and payload in one system call, or many small frames in
//! one.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::error::{FrameError, TimeLimit};
use super::prefix::Prefix;
use super::watch::{ShortageTimeout, Watch};
use crate::pool::{BLOCK, Block};
use crate::stream::{Buffers, Gather, WriteHalf};

/// Writes length-prefixed frames.
///
/// There are two ways:
///
/// - [`write`](FrameWriter::write) sends one frame, without a copy;
/// - [`feed`](FrameWriter::feed) gathers small ones, which
///   [`flush`](FrameWriter::flush) sends in one system call. Up to 8 KiB, a copy
///   is cheaper than a call. This is how to answer a burst:
///
/// ```
/// use readinto::{FrameError, FrameReader, FrameWriter};
///
/// async fn echo(frames: &mut FrameReader, answers: &mut FrameWriter) -> Result<(), FrameError> {
///     while let Some(payload) = frames.next().await? {
///         answers.feed(payload).await?;
///         if !frames.is_next_ready() {
///             answers.flush().await?;
///         }
///     }
///     Ok(())
/// }
/// ```
///
/// # Examples
///
/// See also [`FrameReader`](super::FrameReader).
pub struct FrameWriter {
    half: WriteHalf,
    prefix: Prefix,
    fed: Option<Fed>,
    /// How many times what there was to send has been taken by the kernel.
    sendings: u64,
    /// Boxed, since many have none.
    stall: Option<Box<Stall>>,
    shortage: Option<Box<ShortageTimeout>>,
}

/// How long the peer may take nothing, and what keeps that.
struct Stall {
    after: Duration,
    watch: Watch,
}

/// Frames that were gathered, in a block that is held until they are sent.
struct Fed {
    block: Block,
    sent: usize,
    end: usize,
}

impl FrameWriter {
    /// Writes frames to `half`.
    ///
    /// # Examples
    ///
    /// See [`FrameReader`](super::FrameReader).
    pub fn new(half: WriteHalf, prefix: Prefix) -> FrameWriter {
        FrameWriter {
            half,
            prefix,
            fed: None,
            sendings: 0,
            stall: None,
            shortage: None,
        }
    }

    /// Gives up on a peer that takes nothing for so long while there is something to
    /// send.
    ///
    /// Without it, or with `None`, a peer that sends and never reads keeps its
    /// connection, and what it is to be sent, for ever.
    ///
    /// That it takes something is seen by the room that this leaves in our kernel, which is
    /// asked before the peer is given up. Room comes in pieces: on a Unix socket of 36 KiB
    /// that the peer has read; over TCP of what its kernel accepts for it, which once that
    /// is full is a segment or two at a time (64 KiB each on loopback). Who reads less than
    /// a piece within the limit is given up, too.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use readinto::{FrameError, FrameWriter, Prefix, WriteHalf};
    ///
    /// async fn send(half: WriteHalf, body: &[u8]) -> Result<(), FrameError> {
    ///     let mut frames =
    ///         FrameWriter::new(half, Prefix::U32Be).stall_timeout(Duration::from_secs(30));
    ///     frames.write(body).await
    /// }
    /// ```
    #[must_use]
    pub fn stall_timeout(mut self, after: impl Into<Option<Duration>>) -> FrameWriter {
        self.stall = after.into().map(|after| {
            Box::new(Stall {
                after,
                watch: Watch::default(),
            })
        });
        self
    }

    /// Gives up on a frame that has not left within this time while others wait
    /// for memory, under a [budget](crate::Builder::memory_budget).
    ///
    /// For answers that are sent from memory under the budget, as the payloads that
    /// [`FrameReader::next`](super::FrameReader::next) lends. Without it, or with
    /// `None`, a few peers that take their answers slowly, or not at all, can keep
    /// all the others waiting for as long as the
    /// [stall timeout](FrameWriter::stall_timeout) allows, or longer. It is looked
    /// at each time it has passed, so it may take up to twice as long.
    ///
    /// # Examples
    ///
    /// See [`FrameReader::shortage_timeout`](super::FrameReader::shortage_timeout).
    #[must_use]
    pub fn shortage_timeout(mut self, after: impl Into<Option<Duration>>) -> FrameWriter {
        self.shortage = after
            .into()
            .map(|after| Box::new(ShortageTimeout::new(after)));
        self
    }

    /// Sends one frame; resolves when the kernel has taken its last byte.
    ///
    /// The payload is one slice or a list of slices. Prefix and payload leave
    /// together, without a copy of either; frames that were fed leave before.
    ///
    /// # Errors
    ///
    /// [`FrameError::PrefixOverflow`] before anything is sent;
    /// [`FrameError::TimedOut`] if a time limit was set;
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
    pub fn write<'a>(&'a mut self, payload: impl Into<Buffers<'a>>) -> WriteFrame<'a> {
        WriteFrame {
            writer: self,
            body: payload.into(),
            most_copied: 0,
            sending: None,
        }
    }

    /// Takes one frame, to be sent by the next [`flush`](FrameWriter::flush) at
    /// the latest.
    ///
    /// A small frame is copied, and sent once there are enough of them for a system
    /// call: it waits only where those before it have filled 16 KiB and have to go
    /// first. One of more than 8 KiB is sent as by [`write`](FrameWriter::write), behind
    /// those. So is every frame while the reactor's memory budget is spent.
    ///
    /// A frame that is never flushed is never sent: flush before waiting for an
    /// answer, and before the writer is dropped.
    ///
    /// # Errors
    ///
    /// As [`write`](FrameWriter::write).
    ///
    /// # Cancel safety
    ///
    /// Dropped before it resolves, it may have sent earlier frames, and this one
    /// is not taken; or, if it is a long one, the stream may be poisoned as by
    /// [`write`](FrameWriter::write).
    ///
    /// # Examples
    ///
    /// See [`FrameWriter`].
    pub fn feed<'a>(&'a mut self, payload: impl Into<Buffers<'a>>) -> WriteFrame<'a> {
        WriteFrame {
            writer: self,
            body: payload.into(),
            most_copied: MOST_COPIED,
            sending: None,
        }
    }

    /// Sends what was fed; resolves when the kernel has taken its last byte.
    ///
    /// # Errors
    ///
    /// [`FrameError::TimedOut`] if a time limit was set;
    /// [`FrameError::Poisoned`] and [`FrameError::Io`] as
    /// [`WriteHalf::write_all`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: the writer keeps its place, and another `flush` goes on
    /// from there.
    ///
    /// # Examples
    ///
    /// See [`FrameWriter`].
    pub async fn flush(&mut self) -> Result<(), FrameError> {
        if self.fed.is_none() {
            return Ok(self.half.ensure_sound()?);
        }
        poll_fn(|context| {
            let flushed = self.poll_flush(context);
            if flushed.is_pending() {
                let sent = self.fed.as_ref().map_or(0, |fed| fed.sent);
                return self.poll_limits(context, sent).map(Err);
            }
            flushed
        })
        .await
    }

    /// The stream's half, for its addresses and options.
    ///
    /// # Examples
    ///
    /// See [`Stream::socket`](crate::Stream::socket).
    pub fn get_ref(&self) -> &WriteHalf {
        &self.half
    }

    /// The stream's half, to go on with something other than frames or to shut
    /// it down.
    ///
    /// Frames that were fed and not flushed are discarded. If part of them is
    /// on the wire, the half comes back poisoned.
    ///
    /// # Examples
    ///
    /// See [`Stream::split`](crate::Stream::split).
    pub fn into_inner(self) -> WriteHalf {
        let mut half = self.half;
        if let Some(fed) = self.fed {
            half.poison(fed.sent, fed.end);
        }
        half
    }

    /// How much can be fed before the next system call.
    fn room(&self) -> usize {
        self.fed.as_ref().map_or(BLOCK, |fed| BLOCK - fed.end)
    }

    /// Sees to it that there is a block, unless the budget is spent.
    fn take_block(&mut self) -> bool {
        if self.fed.is_none() {
            self.fed = self.half.reactor().pool.try_block().map(|block| Fed {
                block,
                sent: 0,
                end: 0,
            });
        }
        self.fed.is_some()
    }

    /// Gathers a frame behind those that are, if it has at most `most` bytes and there is
    /// room for it. So do nearly all frames of a burst: this is short.
    #[inline]
    fn gather(&mut self, body: &Buffers<'_>, most: usize) -> bool {
        let Some(Fed { block, end, .. }) = &mut self.fed else {
            return false;
        };
        let (size, len) = (self.prefix.size(), body.len());
        if size + len > most.min(BLOCK - *end) || self.half.ensure_sound().is_err() {
            return false;
        }
        let (prefix, mut place) = block[*end..].split_at_mut(size);
        self.prefix.put(len as u64, prefix);
        for part in body.parts() {
            let (here, behind) = place.split_at_mut(part.len());
            here.copy_from_slice(part);
            place = behind;
        }
        *end += size + len;
        self.half.reactor().counters.frames_out.add(1);
        true
    }

    /// Polled by who waits for the peer. Ready once that takes too long, with `moved`
    /// bytes taken of what is sent now.
    fn poll_limits(&mut self, context: &mut Context<'_>, moved: usize) -> Poll<FrameError> {
        let reactor = self.half.reactor();
        let timed_out = |limit, after| {
            Poll::Ready(FrameError::TimedOut {
                limit,
                after,
                moved,
            })
        };
        if self.half.is_writable() {
            // The kernel has room: it is our turn, and not the peer's.
            return Poll::Pending;
        }
        if let Some(stall) = &mut self.stall {
            let Stall { after, watch } = &mut **stall;
            // Whatever is taken begins another wait.
            let mark = self.half.sent();
            if watch
                .poll_elapsed(reactor, context, mark, *after)
                .is_ready()
            {
                if watch.looks_again() {
                    // The kernel tells of room once there is a lot of it: of a third of
                    // the buffer over TCP, of three quarters on a Unix socket.
                    self.half.look_again();
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                // Another call is another wait.
                *watch = Watch::default();
                return timed_out(TimeLimit::Stall, *after);
            }
        }
        if let Some(shortage) = &mut self.shortage
            && shortage
                .poll_elapsed(reactor, context, self.sendings)
                .is_ready()
        {
            return timed_out(TimeLimit::Shortage, shortage.after);
        }
        Poll::Pending
    }

    fn poll_flush(&mut self, context: &Context<'_>) -> Poll<Result<(), FrameError>> {
        if let Some(Fed { block, sent, end }) = &mut self.fed {
            ready!(self.half.poll_send_all(context, &block[..*end], sent))?;
            self.fed = None;
            self.sendings += 1;
        }
        Poll::Ready(Ok(()))
    }
}

/// The future of [`FrameWriter::write`] and of [`FrameWriter::feed`].
///
/// # Cancel safety
///
/// Dropping it once a part of its frame is on the wire poisons the stream.
///
/// # Examples
///
/// See [`FrameWriter`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct WriteFrame<'a> {
    writer: &'a mut FrameWriter,
    body: Buffers<'a>,
    /// The longest frame that is copied.
    most_copied: usize,
    /// The frame, once it is sent by calls of its own.
    sending: Option<Gather<'a>>,
}

impl WriteFrame<'_> {
    #[inline(never)]
    fn poll_in_time(&mut self, context: &mut Context<'_>) -> Poll<Result<(), FrameError>> {
        let polled = self.poll_send(context);
        if polled.is_pending() {
            let sent = self.sending.as_ref().map_or(0, Gather::written);
            return self.writer.poll_limits(context, sent).map(Err);
        }
        polled
    }

    fn poll_send(&mut self, context: &Context<'_>) -> Poll<Result<(), FrameError>> {
        let WriteFrame {
            writer,
            body,
            most_copied,
            sending,
        } = self;
        let frame = match sending {
            Some(frame) => frame,
            None => {
                let (prefix, len) = (writer.prefix, body.len());
                let whole = prefix.size() + len;
                if whole <= *most_copied {
                    writer.half.ensure_sound()?;
                    if writer.room() < whole {
                        ready!(writer.poll_flush(context))?;
                    }
                    if writer.take_block() && writer.gather(body, whole) {
                        return Poll::Ready(Ok(()));
                    }
                }
                let Some(head) = prefix.encode(len as u64) else {
                    let len = len as u64;
                    return Poll::Ready(Err(FrameError::PrefixOverflow { len, prefix }));
                };
                writer.half.ensure_sound()?;
                ready!(writer.poll_flush(context))?;
                sending.insert(Gather::new(head, prefix.size(), *body))
            }
        };
        ready!(writer.half.poll_gathered(context, frame))?;
        writer.sendings += 1;
        writer.half.reactor().counters.frames_out.add(1);
        Poll::Ready(Ok(()))
    }
}

impl Future for WriteFrame<'_> {
    type Output = Result<(), FrameError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.sending.is_none() && this.writer.gather(&this.body, this.most_copied) {
            return Poll::Ready(Ok(()));
        }
        this.poll_in_time(context)
    }
}

impl Drop for WriteFrame<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(frame) = &self.sending {
            self.writer.half.abandon(frame);
            // The next one is another.
            self.writer.sendings += 1;
        }
    }
}

impl fmt::Debug for FrameWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameWriter")
            .field("half", &self.half)
            .field("prefix", &self.prefix)
            .field(
                "fed",
                &self.fed.as_ref().map_or(0, |fed| fed.end - fed.sent),
            )
            .finish()
    }
}

/// The longest frame, prefix included, that is copied rather than sent by a call
/// of its own: about where the copy costs as much as the call.
const MOST_COPIED: usize = 8 * 1024;

// Every prefix can hold the length of what is copied.
const _: () = assert!(MOST_COPIED <= u16::MAX as usize && MOST_COPIED <= BLOCK);
