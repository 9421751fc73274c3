//! Frames in: a prefix, then its payload, with nothing lost in between.

mod assembly;
mod draining;
mod time_limits;

use std::fmt;
use std::future::poll_fn;

use super::error::FrameError;
use super::prefix::{MAX_PREFIX, Prefix};
use crate::pool::{Buffer, Ticket};
use crate::stream::ReadHalf;
use draining::Draining;
use time_limits::TimeLimits;

/// Reads length-prefixed frames.
///
/// There are two ways to read one:
///
/// - [`next_len`](FrameReader::next_len), then
///   [`read_payload_into`](FrameReader::read_payload_into): the caller brings
///   the destination, and the payload goes there straight from the kernel;
/// - [`next`](FrameReader::next): the payload as a slice of a buffer that is
///   used again. It grows only as bytes arrive: an announced length is a claim,
///   not a fact.
///
/// Small frames that arrive together are read by one system call, up to 16 KiB,
/// and handed out where they lie. What was read so of a payload that goes
/// elsewhere, 16 KiB at most, is copied there; the rest is not.
/// Memory is lent by the reactor while there are bytes to hold, under its
/// [budget](crate::Builder::memory_budget): a connection that is idle holds none.
///
/// # Cancel safety
///
/// The reader keeps its place in itself, so any of its futures can be dropped
/// at any time, by a timeout for instance, and called again: nothing is lost.
///
/// # Examples
///
/// ```
/// use readinto::{FrameReader, FrameWriter, Listener, Prefix, Reactor, Stream};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut reactor = Reactor::new()?;
/// let handle = reactor.handle();
/// let listener = Listener::bind(&handle, &"127.0.0.1:0".parse()?)?;
/// reactor.block_on(async {
///     let here = Stream::connect(&handle, &listener.local_address()).await?;
///     let there = listener.accept().await?;
///     let mut writer = FrameWriter::new(here.split().1, Prefix::U32Be);
///     let mut reader = FrameReader::new(there.split().0, Prefix::U32Be, 1024);
///
///     writer.write(b"into the reader's buffer").await?;
///     assert_eq!(reader.next().await?, Some(&b"into the reader's buffer"[..]));
///
///     writer.write(b"into mine").await?;
///     let len = reader.next_len().await?.expect("a frame, not the end");
///     let mut mine = vec![0; len];
///     reader.read_payload_into(&mut mine).await?;
///     assert_eq!(mine, b"into mine");
///
///     drop(writer); // both halves of the connection are gone now
///     assert_eq!(reader.next().await?, None);
///     # Ok::<(), Box<dyn std::error::Error>>(())
/// })??;
/// # Ok(())
/// # }
/// ```
pub struct FrameReader {
    half: ReadHalf,
    prefix: Prefix,
    max: usize,
    header: [u8; MAX_PREFIX],
    header_filled: usize,
    /// The frame whose prefix is complete and whose payload is not.
    payload: Option<Payload>,
    /// The length of the next payload, if its frame has been read ahead as a whole:
    /// [`whole_frame_ahead`](FrameReader::whole_frame_ahead), which nearly each frame of
    /// a burst is asked for twice.
    whole_next: Option<usize>,
    /// The payload that [`next`](FrameReader::next) has lent to the caller: so
    /// many bytes at the front of what is read ahead, unless it is in `buffer`.
    lent: usize,
    /// A payload that is longer than a block.
    buffer: Option<Buffer>,
    /// Whether the last frame was so short that reading ahead pays.
    reads_ahead: bool,
    /// What a future has that waits for a buffer.
    ticket: Option<Ticket>,
    /// How many frames have been read to their end.
    ended: u64,
    /// Boxed, since many have none.
    time_limits: Option<Box<TimeLimits>>,
    draining: Option<Box<Draining>>,
}

struct Payload {
    len: usize,
    /// How many bytes of it are in their place, unless that is ahead.
    filled: usize,
    place: Place,
}

/// Where the payload is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Where it was read ahead, as far as it was.
    Ahead,
    /// In the reader's buffer.
    Buffer,
    /// In a buffer of the caller's.
    Caller,
}

impl FrameReader {
    /// Reads frames of at most `max` payload bytes from `half`.
    ///
    /// The maximum bounds what a peer can make this reader allocate for
    /// [`next`](FrameReader::next).
    ///
    /// # Examples
    ///
    /// See [`FrameReader`].
    pub fn new(half: ReadHalf, prefix: Prefix, max: usize) -> FrameReader {
        let mut reader = FrameReader {
            half,
            prefix,
            max,
            header: [0; MAX_PREFIX],
            header_filled: 0,
            payload: None,
            whole_next: None,
            lent: 0,
            buffer: None,
            reads_ahead: true,
            ticket: None,
            ended: 0,
            time_limits: None,
            draining: None,
        };
        // The half may have read ahead for somebody else.
        reader.whole_next = reader.whole_frame_ahead();
        reader
    }

    /// The length of the next payload in bytes, or `None` where the stream
    /// ends between two frames.
    ///
    /// Until that payload has been read, further calls return the same.
    ///
    /// # Errors
    ///
    /// [`FrameError::TooLarge`], now and at every further call;
    /// [`FrameError::Truncated`] if the stream ends inside of the prefix;
    /// [`FrameError::TimedOut`] if a time limit was set;
    /// [`FrameError::Poisoned`] and [`FrameError::Io`] as
    /// [`ReadHalf::read_exact_into`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: see [`FrameReader`].
    ///
    /// # Examples
    ///
    /// See [`FrameReader`].
    pub async fn next_len(&mut self) -> Result<Option<usize>, FrameError> {
        let guard = TicketGuard(self);
        poll_fn(|context| guard.0.poll_in_time(context, FrameReader::poll_len)).await
    }

    /// Reads the payload into `buf`, which has exactly the length that
    /// [`next_len`](FrameReader::next_len) returned.
    ///
    /// Call it again with the same buffer after its future was dropped: it goes
    /// on behind the bytes that are there already. Where a long buffer should begin, says
    /// [`ReadHalf::read_exact_into`](crate::ReadHalf::read_exact_into).
    ///
    /// # Examples
    ///
    /// A deadline that loses nothing when it passes:
    ///
    /// ```
    /// # use std::time::Duration;
    /// use readinto::{FrameError, FrameReader, Handle};
    ///
    /// async fn patiently(
    ///     handle: &Handle,
    ///     frames: &mut FrameReader,
    ///     payload: &mut [u8],
    /// ) -> Result<(), FrameError> {
    ///     let second = Duration::from_secs(1);
    ///     loop {
    ///         match handle.timeout(second, frames.read_payload_into(payload)).await {
    ///             Ok(done) => return done,
    ///             Err(late) => eprintln!("{late}, and still waiting"),
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`FrameError::WrongBuffer`], before anything is read, if the length is
    /// another or if no payload is due (which counts as a payload of 0 bytes);
    /// [`FrameError::Truncated`] if the stream ends first;
    /// [`FrameError::TimedOut`] if a time limit was set;
    /// [`FrameError::Poisoned`] and [`FrameError::Io`] as
    /// [`ReadHalf::read_exact_into`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost, as long as `buf` stays: see [`FrameReader`].
    pub async fn read_payload_into(&mut self, buf: &mut [u8]) -> Result<(), FrameError> {
        let payload = self.payload.as_ref().map_or(0, |payload| payload.len);
        if buf.len() != payload {
            return Err(FrameError::WrongBuffer {
                buffer: buf.len(),
                payload,
            });
        }
        poll_fn(|context| {
            self.poll_in_time(context, |reader, context| {
                reader.poll_payload_into(context, buf)
            })
        })
        .await
    }

    /// The next payload, or `None` where the stream ends between two frames.
    ///
    /// The slice is lent until the next call.
    ///
    /// # Errors
    ///
    /// As [`next_len`](FrameReader::next_len); [`FrameError::Truncated`] if the
    /// stream ends inside of the payload; [`FrameError::OutOfMemory`];
    /// [`FrameError::OverBudget`] if the reactor's memory budget can never hold
    /// it (a spent budget is waited for);
    /// [`FrameError::BegunElsewhere`] if a dropped `read_payload_into` has to
    /// be finished first.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: see [`FrameReader`].
    ///
    /// # Examples
    ///
    /// See [`FrameReader`].
    pub async fn next(&mut self) -> Result<Option<&[u8]>, FrameError> {
        self.notice_drain();
        debug_assert_eq!(self.whole_next, self.whole_frame_ahead());
        if let Some(len) = self.whole_next {
            self.lend_from_ahead(len);
            return Ok(Some(&self.half.ahead()[..len]));
        }
        let guard = TicketGuard(self);
        let len = poll_fn(|context| guard.0.poll_in_time(context, FrameReader::poll_next)).await?;
        drop(guard);
        Ok(len.map(|len| match &self.buffer {
            Some(buffer) => &buffer[..len],
            None => &self.half.ahead()[..len],
        }))
    }

    /// Whether the next frame has been received whole, so that neither
    /// [`next`](FrameReader::next) nor [`next_len`](FrameReader::next_len) will
    /// wait or make a system call.
    ///
    /// While this is `true` more answers can be gathered: see
    /// [`FrameWriter::feed`](super::FrameWriter::feed). It is `false` for a
    /// frame above the maximum.
    ///
    /// # Examples
    ///
    /// See [`FrameWriter`](super::FrameWriter).
    #[inline]
    #[must_use]
    pub fn is_next_ready(&self) -> bool {
        if let Some(payload) = &self.payload {
            return payload.place == Place::Ahead && self.half.ahead().len() >= payload.len;
        }
        debug_assert_eq!(self.whole_next, self.whole_frame_ahead());
        self.whole_next.is_some()
    }

    /// How many bytes have been received and not yet been handed over, prefixes
    /// included.
    ///
    /// # Examples
    ///
    /// See [`FrameReader::is_mid_frame`].
    #[must_use]
    pub fn buffered(&self) -> usize {
        let ahead = self.half.ahead().len() - self.lent;
        let payload = self
            .payload
            .as_ref()
            .map_or(0, |payload| self.prefix.size() + payload.filled);
        self.header_filled + payload + ahead
    }

    /// Whether a frame has begun to arrive and has not been read to its end.
    ///
    /// While this is `false`, nothing is lost by closing the connection but what
    /// the kernel still holds.
    ///
    /// # Examples
    ///
    /// ```
    /// use readinto::FrameReader;
    ///
    /// fn what_is_lost(frames: FrameReader) {
    ///     if frames.is_mid_frame() {
    ///         eprintln!("{} bytes came for nothing", frames.buffered());
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn is_mid_frame(&self) -> bool {
        self.buffered() > 0
    }

    /// The stream's half, for its addresses and options.
    ///
    /// # Examples
    ///
    /// See [`Stream::socket`](crate::Stream::socket).
    pub fn get_ref(&self) -> &ReadHalf {
        &self.half
    }

    /// The stream's half, to go on with something other than frames.
    ///
    /// It goes on where the last frame ended, also if more has been received. In
    /// the middle of a frame it comes back poisoned, as after any read that
    /// stopped half-way.
    ///
    /// # Examples
    ///
    /// See [`Stream::split`](crate::Stream::split).
    pub fn into_inner(mut self) -> ReadHalf {
        self.take_back();
        let size = self.prefix.size();
        match self.payload {
            // Even an untouched payload has its prefix missing.
            Some(payload) => {
                let arrived = (payload.filled + self.half.ahead().len()).min(payload.len);
                // A claim may be as long as a number can be.
                self.half
                    .poison(size + arrived, payload.len.saturating_add(size));
            }
            None => self.half.poison(self.header_filled, size),
        }
        self.half
    }
}

/// An operation that is going on. Dropped, it gives up its wait for memory.
struct TicketGuard<'a>(&'a mut FrameReader);

impl Drop for TicketGuard<'_> {
    fn drop(&mut self) {
        self.0.ticket = None;
    }
}

impl fmt::Debug for FrameReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameReader")
            .field("half", &self.half)
            .field("prefix", &self.prefix)
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}
