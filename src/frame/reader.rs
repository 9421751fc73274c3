//! Frames in: a prefix, then its payload, with nothing lost in between.

use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use super::error::FrameError;
use super::prefix::{MAX_PREFIX, Prefix};
use crate::pool::{BLOCK, Buffer, Ticket};
use crate::stream::{ReadHalf, StreamError};

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
    /// Bytes behind the prefix's size stay zero.
    header: [u8; MAX_PREFIX],
    header_filled: usize,
    /// The frame whose prefix is complete and whose payload is not.
    payload: Option<Payload>,
    /// The payload that [`next`](FrameReader::next) has lent to the caller: so
    /// many bytes at the front of what is read ahead, unless it is in `buffer`.
    lent: usize,
    /// A payload that is longer than a block.
    buffer: Option<Buffer>,
    /// Whether the last frame was so short that reading ahead pays.
    reads_ahead: bool,
    /// The place in the queue for a buffer, while a future waits there.
    ticket: Option<Ticket>,
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
    pub fn new(half: ReadHalf, prefix: Prefix, max: usize) -> FrameReader {
        FrameReader {
            half,
            prefix,
            max,
            header: [0; MAX_PREFIX],
            header_filled: 0,
            payload: None,
            lent: 0,
            buffer: None,
            reads_ahead: true,
            ticket: None,
        }
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
    /// [`FrameError::Poisoned`] and [`FrameError::Io`] as
    /// [`ReadHalf::read_exact_into`].
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: see [`FrameReader`].
    pub async fn next_len(&mut self) -> Result<Option<usize>, FrameError> {
        let waiting = Waiting(self);
        poll_fn(|context| waiting.0.poll_len(context)).await
    }

    /// Reads the payload into `buf`, which has exactly the length that
    /// [`next_len`](FrameReader::next_len) returned.
    ///
    /// Call it again with the same buffer after its future was dropped: it goes
    /// on behind the bytes that are there already.
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
        poll_fn(|context| self.poll_payload_into(context, buf)).await
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
    pub async fn next(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let len = match self.whole_frame_ahead() {
            Some(len) => {
                self.lend_from_ahead(len);
                Some(len)
            }
            None => {
                let waiting = Waiting(self);
                poll_fn(|context| waiting.0.poll_next(context)).await?
            }
        };
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
    #[must_use]
    pub fn is_next_ready(&self) -> bool {
        if let Some(payload) = &self.payload {
            return payload.place == Place::Ahead && self.half.ahead().len() >= payload.len;
        }
        // The bytes of a prefix that is not complete are in the header, with
        // none behind them.
        self.whole_frame_ahead().is_some()
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
    pub fn get_ref(&self) -> &ReadHalf {
        &self.half
    }

    /// The stream's half, to go on with something other than frames.
    ///
    /// It goes on where the last frame ended, also if more has been received. In
    /// the middle of a frame it comes back poisoned, as after any read that
    /// stopped half-way.
    pub fn into_inner(mut self) -> ReadHalf {
        self.take_back();
        let size = self.prefix.size();
        match self.payload {
            // Even an untouched payload has its prefix missing.
            Some(payload) => {
                let ahead = self.half.ahead().len().min(payload.len - payload.filled);
                let moved = size + payload.filled + ahead;
                self.half.poison(moved, size + payload.len);
            }
            None => self.half.poison(self.header_filled, size),
        }
        self.half
    }

    /// The length of the next payload, if prefix and payload have been read
    /// ahead as a whole, and nothing of them is elsewhere.
    fn whole_frame_ahead(&self) -> Option<usize> {
        if self.payload.is_some() || self.header_filled > 0 {
            return None;
        }
        let ahead = &self.half.ahead()[self.lent..];
        let len = usize::try_from(self.prefix.decode_first(ahead)?).ok()?;
        let fits = len <= self.max && len <= ahead.len() - self.prefix.size();
        fits.then_some(len)
    }

    /// Lends that payload to the caller.
    fn lend_from_ahead(&mut self, len: usize) {
        self.buffer = None;
        self.half.consume_ahead(self.lent + self.prefix.size());
        self.lent = len;
        self.reads_ahead = true;
    }

    /// Ends the loan of the last payload.
    fn take_back(&mut self) {
        if self.payload.is_none() {
            self.buffer = None;
        }
        if self.lent > 0 {
            self.half.consume_ahead(self.lent);
            self.lent = 0;
        }
    }

    /// The length that a complete header announces, if it is acceptable.
    fn accept(&self, header: [u8; MAX_PREFIX]) -> Result<usize, FrameError> {
        let announced = self.prefix.decode(header);
        match usize::try_from(announced) {
            Ok(len) if len <= self.max => Ok(len),
            _ => Err(FrameError::TooLarge {
                len: announced,
                max: self.max,
            }),
        }
    }

    fn poll_len(&mut self, context: &Context<'_>) -> Poll<Result<Option<usize>, FrameError>> {
        self.take_back();
        if let Some(payload) = &self.payload {
            return Poll::Ready(Ok(Some(payload.len)));
        }
        let size = self.prefix.size();
        loop {
            let ahead = self.half.ahead();
            let count = ahead.len().min(size - self.header_filled);
            self.header[self.header_filled..][..count].copy_from_slice(&ahead[..count]);
            self.header_filled += count;
            self.half.consume_ahead(count);
            if self.header_filled == size {
                break;
            }
            let most = match self.reads_ahead {
                true => BLOCK,
                false => size - self.header_filled,
            };
            match ready!(self.half.poll_ahead(context, most))? {
                Some(0) => {
                    return Poll::Ready(match self.header_filled {
                        0 => Ok(None),
                        got => Err(FrameError::Truncated { got, wanted: size }),
                    });
                }
                Some(_) => {}
                None => {
                    let header = &mut self.header[..size];
                    let filled = &mut self.header_filled;
                    match ready!(self.half.poll_fill(context, header, filled)) {
                        Err(StreamError::Eof { filled: 0, .. }) => return Poll::Ready(Ok(None)),
                        filled => filled?,
                    }
                }
            }
        }
        let len = match self.accept(self.header) {
            Ok(len) => len,
            // The header stays complete, so that this is said every time.
            Err(error) => {
                self.half.discard_ahead();
                return Poll::Ready(Err(error));
            }
        };
        self.header_filled = 0;
        self.reads_ahead = len <= BLOCK;
        self.payload = Some(Payload {
            len,
            filled: 0,
            place: Place::Ahead,
        });
        Poll::Ready(Ok(Some(len)))
    }

    fn poll_payload_into(
        &mut self,
        context: &Context<'_>,
        buf: &mut [u8],
    ) -> Poll<Result<(), FrameError>> {
        let Some(payload) = &mut self.payload else {
            return Poll::Ready(Ok(()));
        };
        if let Some(buffer) = self.buffer.take() {
            // A dropped `next` has begun.
            let begun = payload.filled;
            buf[..begun].copy_from_slice(&buffer[..begun]);
        }
        payload.place = Place::Caller;
        ready!(self.half.poll_fill(context, buf, &mut payload.filled))?;
        self.payload = None;
        Poll::Ready(Ok(()))
    }

    fn poll_next(&mut self, context: &Context<'_>) -> Poll<Result<Option<usize>, FrameError>> {
        if ready!(self.poll_len(context))?.is_none() {
            return Poll::Ready(Ok(None));
        }
        let Some(payload) = &mut self.payload else {
            return Poll::Ready(Ok(None));
        };
        let len = payload.len;
        match payload.place {
            Place::Caller if payload.filled > 0 => {
                return Poll::Ready(Err(FrameError::BegunElsewhere {
                    filled: payload.filled,
                    wanted: len,
                }));
            }
            Place::Caller => payload.place = Place::Ahead,
            Place::Ahead | Place::Buffer => {}
        }
        let is_short = len <= BLOCK && payload.place == Place::Ahead;
        if is_short && ready!(self.poll_until_ahead(context, len))? {
            self.lent = len;
        } else {
            ready!(self.poll_buffer(context, len))?;
        }
        self.payload = None;
        Poll::Ready(Ok(Some(len)))
    }

    /// Reads ahead until `len` bytes of the payload are there; `false` if there
    /// is no block for it.
    fn poll_until_ahead(
        &mut self,
        context: &Context<'_>,
        len: usize,
    ) -> Poll<Result<bool, FrameError>> {
        while self.half.ahead().len() < len {
            match ready!(self.half.poll_ahead(context, BLOCK))? {
                Some(0) => {
                    return Poll::Ready(Err(FrameError::Truncated {
                        got: self.half.ahead().len(),
                        wanted: self.payload.as_ref().map_or(len, |payload| payload.len),
                    }));
                }
                Some(_) => {}
                None => return Poll::Ready(Ok(false)),
            }
        }
        Poll::Ready(Ok(true))
    }

    /// Reads the payload into a buffer of its own, which grows as it arrives.
    fn poll_buffer(&mut self, context: &Context<'_>, len: usize) -> Poll<Result<(), FrameError>> {
        if self.buffer.is_none() {
            if len > self.half.pool().longest() {
                return Poll::Ready(Err(FrameError::OverBudget {
                    len,
                    longest: self.half.pool().longest(),
                }));
            }
            if self.half.pool().wants_proof(len) {
                ready!(self.poll_until_ahead(context, BLOCK))?;
            }
            let lent = ready!(self.half.poll_buffer(context, &mut self.ticket, len));
            self.buffer = Some(lent.map_err(FrameError::Io)?);
        }
        let (Some(payload), Some(buffer)) = (&mut self.payload, &mut self.buffer) else {
            return Poll::Ready(Ok(()));
        };
        payload.place = Place::Buffer;
        while payload.filled < len {
            buffer
                .grow_beyond(payload.filled)
                .map_err(|_| FrameError::OutOfMemory { len })?;
            ready!(self.half.poll_fill(context, buffer, &mut payload.filled)).map_err(|error| {
                match error {
                    StreamError::Eof { filled, .. } => FrameError::Truncated {
                        got: filled,
                        wanted: len,
                    },
                    error => error.into(),
                }
            })?;
        }
        Poll::Ready(Ok(()))
    }
}

/// An operation that is going on. Dropped, it gives up its place in the queue
/// for memory.
struct Waiting<'a>(&'a mut FrameReader);

impl Drop for Waiting<'_> {
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
