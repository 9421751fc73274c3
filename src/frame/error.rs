//! What can go wrong between two frames, with the numbers.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use super::prefix::Prefix;
use crate::stream::StreamError;

/// The error of [`FrameReader`](super::FrameReader) and
/// [`FrameWriter`](super::FrameWriter). All counts are in bytes.
///
/// It converts into [`io::Error`], for functions that return one.
///
/// # Examples
///
/// ```
/// use readinto::{FrameError, FrameReader};
///
/// async fn count(mut frames: FrameReader) -> Result<u64, FrameError> {
///     let mut count = 0;
///     loop {
///         match frames.next().await {
///             Ok(Some(_)) => count += 1,
///             Ok(None) => return Ok(count),
///             Err(FrameError::TooLarge { len, max, .. }) => {
///                 eprintln!("a peer announced {len} bytes, {max} are allowed");
///                 return Ok(count);
///             }
///             Err(error) => return Err(error),
///         }
///     }
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum FrameError {
    /// The peer announced a frame above the reader's maximum. Nothing of its
    /// payload is handed over, and what had arrived of it with the prefix is gone:
    /// the stream can only be closed, or
    /// [lingered on](crate::FrameReader::linger) for the sake of earlier answers.
    #[non_exhaustive]
    TooLarge {
        /// What was announced.
        len: u64,
        /// What the reader was told to accept.
        max: usize,
    },
    /// The prefix has no room for the length of this payload. Nothing was
    /// sent; shorter frames can follow.
    #[non_exhaustive]
    PrefixOverflow {
        /// The length of the payload.
        len: u64,
        /// The prefix that can't hold it.
        prefix: Prefix,
    },
    /// The peer ended its side inside of a frame.
    #[non_exhaustive]
    Truncated {
        /// How many bytes of the prefix, or of the payload, had come.
        got: usize,
        /// How many the prefix, or the payload, has.
        wanted: usize,
    },
    /// The caller's buffer does not have the payload's length. Nothing was
    /// read into it, and nothing is lost.
    #[non_exhaustive]
    WrongBuffer {
        /// The length of the buffer.
        buffer: usize,
        /// The length of the payload.
        payload: usize,
    },
    /// A payload that was begun in a caller's buffer can only be finished
    /// there, by another [`read_payload_into`].
    ///
    /// [`read_payload_into`]: super::FrameReader::read_payload_into
    #[non_exhaustive]
    BegunElsewhere {
        /// How many bytes are in that buffer.
        filled: usize,
        /// How many the payload has.
        wanted: usize,
    },
    /// The reactor's memory budget can never hold this payload; see
    /// [`Builder::memory_budget`](crate::Builder::memory_budget). Nothing is
    /// lost: [`read_payload_into`] can still read it.
    ///
    /// [`read_payload_into`]: super::FrameReader::read_payload_into
    #[non_exhaustive]
    OverBudget {
        /// The length of the payload.
        len: usize,
        /// The longest that the budget can hold.
        longest: usize,
    },
    /// The peer took longer than it was given.
    ///
    /// A reader has lost nothing, and can go on: with what is left of a frame's
    /// timeout, which is nothing, or with another whole time of the other limits.
    /// So can a flush; a write that had begun has poisoned the stream.
    #[non_exhaustive]
    TimedOut {
        /// Which limit it was.
        limit: TimeLimit,
        /// How long that is.
        after: Duration,
        /// How many bytes had moved, of a frame with its prefix, or of those that
        /// were to be sent together.
        moved: usize,
    },
    /// There is no memory for a payload of this length.
    #[non_exhaustive]
    OutOfMemory {
        /// The length of the payload.
        len: usize,
    },
    /// An earlier operation of the stream stopped half-way; see
    /// [`StreamError::Poisoned`].
    #[non_exhaustive]
    Poisoned {
        /// How many bytes it moved.
        moved: usize,
        /// How many it was to move.
        wanted: usize,
    },
    /// The system call failed.
    #[non_exhaustive]
    Io {
        /// What the kernel said.
        source: io::Error,
    },
}

/// A limit to how long a peer may take; see [`FrameError::TimedOut`].
///
/// # Examples
///
/// See [`FrameReader::idle_timeout`](crate::FrameReader::idle_timeout).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeLimit {
    /// For the first byte of the next frame:
    /// [`FrameReader::idle_timeout`](super::FrameReader::idle_timeout).
    Idle,
    /// From a frame's first byte to its last:
    /// [`FrameReader::frame_timeout`](super::FrameReader::frame_timeout).
    Frame,
    /// For the peer to take some of what it is sent:
    /// [`FrameWriter::stall_timeout`](super::FrameWriter::stall_timeout).
    Stall,
    /// For a frame to arrive, or to leave, while others wait for memory:
    /// [`FrameReader::shortage_timeout`](super::FrameReader::shortage_timeout),
    /// [`FrameWriter::shortage_timeout`](super::FrameWriter::shortage_timeout).
    Shortage,
}

impl fmt::Display for TimeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            TimeLimit::Idle => "idle timeout",
            TimeLimit::Frame => "frame timeout",
            TimeLimit::Stall => "stall timeout",
            TimeLimit::Shortage => "shortage timeout",
        })
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::TooLarge { len, max } => {
                write!(f, "a frame of {len} bytes, above the limit of {max}")
            }
            FrameError::PrefixOverflow { len, prefix } => {
                write!(
                    f,
                    "a payload of {len} bytes does not fit the prefix {prefix}"
                )
            }
            FrameError::Truncated { got, wanted } => {
                write!(
                    f,
                    "the stream ended inside of a frame: {got} of {wanted} bytes"
                )
            }
            FrameError::WrongBuffer { buffer, payload } => {
                write!(f, "a buffer of {buffer} bytes for a payload of {payload}")
            }
            FrameError::BegunElsewhere { filled, wanted } => write!(
                f,
                "{filled} of the payload's {wanted} bytes are in a buffer that the caller \
                 brought, and the rest must go there too"
            ),
            FrameError::OverBudget { len, longest } => write!(
                f,
                "a payload of {len} bytes, above the {longest} that the memory budget can hold"
            ),
            FrameError::TimedOut {
                limit,
                after,
                moved,
            } => {
                let what = match limit {
                    TimeLimit::Idle => "no next frame",
                    TimeLimit::Frame => "not all of a frame came, or found room,",
                    TimeLimit::Stall => "the peer took nothing more",
                    TimeLimit::Shortage => "others waited for memory, and a frame was not done",
                };
                write!(f, "{what} within the {limit} of {after:?}")?;
                match moved {
                    0 => Ok(()),
                    moved => write!(f, ", after {moved} bytes"),
                }
            }
            FrameError::OutOfMemory { len } => {
                write!(f, "no memory for a payload of {len} bytes")
            }
            FrameError::Poisoned { moved, wanted } => StreamError::Poisoned {
                moved: *moved,
                wanted: *wanted,
            }
            .fmt(f),
            FrameError::Io { source } => source.fmt(f),
        }
    }
}

impl Error for FrameError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            FrameError::Io { source } => Some(source),
            _ => None,
        }
    }
}

impl From<StreamError> for FrameError {
    fn from(error: StreamError) -> FrameError {
        match error {
            StreamError::Eof { filled, wanted } => FrameError::Truncated {
                got: filled,
                wanted,
            },
            StreamError::Poisoned { moved, wanted } => FrameError::Poisoned { moved, wanted },
            StreamError::Io { source, .. } => FrameError::Io { source },
        }
    }
}

impl From<io::Error> for FrameError {
    fn from(source: io::Error) -> FrameError {
        FrameError::Io { source }
    }
}

impl From<FrameError> for io::Error {
    fn from(error: FrameError) -> io::Error {
        let kind = match error {
            FrameError::Io { source } => return source,
            FrameError::TooLarge { .. } => io::ErrorKind::InvalidData,
            FrameError::Truncated { .. } => io::ErrorKind::UnexpectedEof,
            FrameError::OutOfMemory { .. } | FrameError::OverBudget { .. } => {
                io::ErrorKind::OutOfMemory
            }
            FrameError::TimedOut { .. } => io::ErrorKind::TimedOut,
            FrameError::PrefixOverflow { .. }
            | FrameError::WrongBuffer { .. }
            | FrameError::BegunElsewhere { .. } => io::ErrorKind::InvalidInput,
            FrameError::Poisoned { .. } => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
