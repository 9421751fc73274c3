//! Why a benchmark has nothing to report, and the way out.

use std::error::Error;
use std::fmt;
use std::io;

use readinto::{Address, FrameError, JoinError};

use super::pattern::Difference;
use crate::limit::Limit;
use crate::serve::error::ServeError;

/// Why there is nothing to report.
#[derive(Debug)]
pub(crate) enum BenchError {
    /// No reactor, or it failed.
    Reactor(io::Error),
    /// The server of our own failed.
    OwnServer(ServeError),
    /// The machine has less memory than this takes.
    TooMuchMemory { needed: u64, available: u64 },
    /// The allocator has no room for one frame.
    NoMemory { bytes: usize },
    /// The limit of open files is lower than what this takes.
    TooManyDescriptors { needed: u64, limit: u64 },
    /// The server can't be reached; the error names it.
    Connect { address: Address, source: io::Error },
    /// The server did not answer a connection in time.
    ConnectLate { address: Address, limit: Limit },
    /// A frame went wrong.
    Exchange {
        address: Address,
        connection: u64,
        frame: u64,
        frames: u64,
        trouble: Trouble,
    },
    /// A task of the benchmark did not end by itself.
    Task(JoinError),
    /// Standard output does not take the report.
    Report(io::Error),
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BenchError::Reactor(error) => write!(f, "cannot run the event loop: {error}"),
            BenchError::OwnServer(error) => write!(f, "the server of this benchmark: {error}"),
            BenchError::TooMuchMemory { needed, available } => write!(
                f,
                "no memory: this takes {needed} bytes and {available} are available; \
                 choose a smaller --frame-size or fewer --connections"
            ),
            BenchError::NoMemory { bytes } => write!(
                f,
                "no memory for a frame of {bytes} bytes; choose a smaller --frame-size"
            ),
            BenchError::TooManyDescriptors { needed, limit } => write!(
                f,
                "this takes {needed} open files and the limit is {limit}; \
                 choose fewer --connections or raise the limit with ulimit -n"
            ),
            BenchError::Connect { address, source } => {
                write!(f, "{source}")?;
                match source.kind() {
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => write!(
                        f,
                        "; start a server there: readinto-echo serve --listen {address}"
                    ),
                    _ => Ok(()),
                }
            }
            BenchError::ConnectLate { address, limit } => {
                write!(
                    f,
                    "cannot connect to {address}: no answer within {limit} (see --timeout)"
                )
            }
            BenchError::Exchange {
                address,
                connection,
                frame,
                frames,
                trouble,
            } => {
                write!(
                    f,
                    "{address}, connection {connection}, frame {frame} of {frames}: {trouble}"
                )?;
                match trouble {
                    // Whoever waits in the kernel's queue is connected, too.
                    Trouble::Late(_) if *frame == 1 => f.write_str(
                        "; the server may serve fewer connections at once, \
                         or expect another --prefix",
                    ),
                    Trouble::Closed if *frame == 1 => f.write_str(
                        "; its log says why: its --max-frame may be lower, \
                         or its --prefix another",
                    ),
                    _ => Ok(()),
                }
            }
            BenchError::Task(error) => error.fmt(f),
            BenchError::Report(error) => write!(f, "cannot write the report: {error}"),
        }
    }
}

impl Error for BenchError {}

/// What went wrong with one frame.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The server ended the connection between two answers.
    Closed,
    /// An answer that nothing was sent for.
    Unasked,
    /// An answer of another length than the frame.
    WrongLength { got: usize, expected: usize },
    /// An answer with other bytes than the frame.
    WrongByte(Difference),
    /// No answer in time.
    Late(Limit),
    /// The connection failed.
    Frame(FrameError),
}

impl From<FrameError> for Trouble {
    fn from(error: FrameError) -> Trouble {
        Trouble::Frame(error)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Closed => f.write_str("the server closed the connection"),
            Trouble::Unasked => f.write_str("the server answered before it was asked"),
            Trouble::WrongLength { got, expected } => {
                write!(f, "the answer has {got} bytes instead of {expected}")
            }
            Trouble::WrongByte(difference) => write!(f, "wrong answer: {difference}"),
            Trouble::Late(limit) => write!(f, "no answer within {limit} (see --timeout)"),
            Trouble::Frame(error) => error.fmt(f),
        }
    }
}
