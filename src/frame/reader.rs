//! Frames in: a prefix, then its payload, with nothing lost in between.

use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use super::error::FrameError;
use super::prefix::{MAX_PREFIX, Prefix};
use crate::stream::{ReadHalf, StreamError};

/// Reads length-prefixed frames.
///
/// There are two ways to read one, neither with a copy that could be spared:
///
/// - [`next_len`](FrameReader::next_len), then
///   [`read_payload_into`](FrameReader::read_payload_into): the caller brings
///   the destination, and the payload goes there straight from the kernel;
/// - [`next`](FrameReader::next): the payload as a slice of the reader's own
///   buffer, which is used again for the next frame. It grows only as bytes
///   arrive: an announced length is a claim, not a fact.
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
    /// As long as it has ever been filled: what lies in it is initialised.
    buffer: Vec<u8>,
}

struct Payload {
    len: usize,
    filled: usize,
    /// The filled bytes are in a buffer of the caller's.
    at_caller: bool,
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
            buffer: Vec::new(),
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
        poll_fn(|context| self.poll_len(context)).await
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
    /// The slice is the reader's own buffer, until the next call.
    ///
    /// # Errors
    ///
    /// As [`next_len`](FrameReader::next_len); [`FrameError::Truncated`] if the
    /// stream ends inside of the payload; [`FrameError::OutOfMemory`];
    /// [`FrameError::BegunElsewhere`] if a dropped `read_payload_into` has to
    /// be finished first.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: see [`FrameReader`].
    pub async fn next(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let len = poll_fn(|context| self.poll_next(context)).await?;
        Ok(len.map(|len| &self.buffer[..len]))
    }

    /// Whether a frame has begun to arrive and has not been read to its end.
    ///
    /// While this is `false`, nothing is lost by closing the connection.
    #[must_use]
    pub fn is_mid_frame(&self) -> bool {
        self.header_filled > 0 || self.payload.is_some()
    }

    /// The stream's half, for its addresses and options.
    pub fn get_ref(&self) -> &ReadHalf {
        &self.half
    }

    /// The stream's half, to go on with something other than frames.
    ///
    /// In the middle of a frame it comes back poisoned, as after any read that
    /// stopped half-way.
    pub fn into_inner(self) -> ReadHalf {
        let mut half = self.half;
        match self.payload {
            // Even an untouched payload has its prefix missing.
            Some(payload) => {
                let size = self.prefix.size();
                half.poison(size + payload.filled, size + payload.len);
            }
            None => half.poison(self.header_filled, self.prefix.size()),
        }
        half
    }

    fn poll_len(&mut self, context: &Context<'_>) -> Poll<Result<Option<usize>, FrameError>> {
        if let Some(payload) = &self.payload {
            return Poll::Ready(Ok(Some(payload.len)));
        }
        let header = &mut self.header[..self.prefix.size()];
        match ready!(
            self.half
                .poll_fill(context, header, &mut self.header_filled)
        ) {
            Ok(()) => {}
            Err(StreamError::Eof { filled: 0, .. }) => return Poll::Ready(Ok(None)),
            Err(error) => return Poll::Ready(Err(error.into())),
        }
        let announced = self.prefix.decode(self.header);
        let len = match usize::try_from(announced) {
            Ok(len) if len <= self.max => len,
            // The header stays complete, so that this is said every time.
            _ => {
                return Poll::Ready(Err(FrameError::TooLarge {
                    len: announced,
                    max: self.max,
                }));
            }
        };
        self.header_filled = 0;
        self.payload = Some(Payload {
            len,
            filled: 0,
            at_caller: false,
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
        if !payload.at_caller {
            // A dropped `next` may have begun: the only copy of this file.
            let begun = payload.filled;
            buf[..begun].copy_from_slice(&self.buffer[..begun]);
            payload.at_caller = true;
        }
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
        if payload.at_caller && payload.filled > 0 {
            return Poll::Ready(Err(FrameError::BegunElsewhere {
                filled: payload.filled,
                wanted: len,
            }));
        }
        payload.at_caller = false;
        while payload.filled < len {
            if payload.filled == self.buffer.len() {
                grow(&mut self.buffer, len)?;
            }
            let end = len.min(self.buffer.len());
            let filled = self
                .half
                .poll_fill(context, &mut self.buffer[..end], &mut payload.filled);
            if let Err(error) = ready!(filled) {
                return Poll::Ready(Err(match error {
                    StreamError::Eof { filled, .. } => FrameError::Truncated {
                        got: filled,
                        wanted: len,
                    },
                    error => error.into(),
                }));
            }
        }
        self.payload = None;
        Poll::Ready(Ok(Some(len)))
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

/// Makes room for more of a payload of `len` bytes, of which the buffer is full.
fn grow(buffer: &mut Vec<u8>, len: usize) -> Result<(), FrameError> {
    let target = len.min((2 * buffer.len()).max(FIRST_BUFFER));
    buffer
        .try_reserve_exact(target - buffer.len())
        .map_err(|_| FrameError::OutOfMemory { len })?;
    buffer.resize(target, 0);
    Ok(())
}

/// What a peer gets for announcing a length, before it has sent anything.
const FIRST_BUFFER: usize = 64 * 1024;
