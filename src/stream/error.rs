//! Why a read or a write did not complete, and how far it had got.

use std::error::Error;
use std::fmt;
use std::io;

/// The error of the two verbs.
///
/// Every variant counts in bytes. It converts into [`io::Error`], for functions
/// that return one: an end of stream becomes
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof), and an error of the kernel stays as
/// it is if nothing had moved.
///
/// # Examples
///
/// ```
/// use readinto::{Stream, StreamError};
///
/// /// Reads a record of 64 bytes, or `None` at the end.
/// async fn record(stream: &mut Stream) -> Result<Option<[u8; 64]>, StreamError> {
///     let mut record = [0; 64];
///     match stream.read_exact_into(&mut record).await {
///         Ok(()) => Ok(Some(record)),
///         Err(StreamError::Eof { filled: 0, .. }) => Ok(None),
///         Err(error) => Err(error),
///     }
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum StreamError {
    /// The peer ended its side before the buffer was full.
    ///
    /// With `filled` at 0 it ended cleanly, as far as this read can tell.
    #[non_exhaustive]
    Eof {
        /// How many bytes were put into the buffer.
        filled: usize,
        /// The length of the buffer.
        wanted: usize,
    },
    /// An earlier operation in this direction stopped half-way, because its
    /// future was dropped or because it failed; nothing that follows on this
    /// stream would make sense.
    #[non_exhaustive]
    Poisoned {
        /// How many bytes the earlier operation moved.
        moved: usize,
        /// How many it was to move.
        wanted: usize,
    },
    /// The system call failed.
    #[non_exhaustive]
    Io {
        /// How many bytes were moved before.
        moved: usize,
        /// How many were to be moved.
        wanted: usize,
        /// What the kernel said.
        source: io::Error,
    },
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StreamError::Eof { filled: 0, wanted } => {
                write!(f, "the stream ended before the first of {wanted} bytes")
            }
            StreamError::Eof { filled, wanted } => {
                write!(f, "the stream ended after {filled} of {wanted} bytes")
            }
            StreamError::Poisoned { moved, wanted } => write!(
                f,
                "an earlier operation stopped after {moved} of {wanted} bytes, \
                 so this stream can't go on"
            ),
            StreamError::Io {
                moved: 0, source, ..
            } => source.fmt(f),
            StreamError::Io {
                moved,
                wanted,
                source,
            } => write!(f, "{source}, after {moved} of {wanted} bytes"),
        }
    }
}

impl Error for StreamError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            StreamError::Io { source, .. } => Some(source),
            StreamError::Eof { .. } | StreamError::Poisoned { .. } => None,
        }
    }
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> io::Error {
        let kind = match error {
            // As it is, so that the kernel's number is seen: there is nothing to add.
            StreamError::Io {
                moved: 0, source, ..
            } => return source,
            StreamError::Io { ref source, .. } => source.kind(),
            StreamError::Eof { .. } => io::ErrorKind::UnexpectedEof,
            StreamError::Poisoned { .. } => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// What an operation that stops half-way leaves behind, for all that follow in its
/// direction.
///
/// Boxed, since it is seldom there and there are many connections.
#[derive(Debug, Default)]
pub(super) struct Poison(Option<Box<HalfDone>>);

#[derive(Debug)]
struct HalfDone {
    moved: usize,
    wanted: usize,
}

impl Poison {
    /// Notes that an operation stopped after `moved` bytes; tells whether that is the
    /// first to leave poison. One that had not begun leaves none.
    #[must_use]
    pub(super) fn set(&mut self, moved: usize, wanted: usize) -> bool {
        let is_first = self.0.is_none() && moved > 0;
        if is_first {
            self.0 = Some(Box::new(HalfDone { moved, wanted }));
        }
        is_first
    }

    /// Fails if there is any.
    #[inline]
    pub(super) fn ensure_none(&self) -> Result<(), StreamError> {
        match self.0.as_deref() {
            None => Ok(()),
            Some(&HalfDone { moved, wanted }) => Err(StreamError::Poisoned { moved, wanted }),
        }
    }
}
