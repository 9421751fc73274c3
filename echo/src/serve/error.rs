//! Why a server ended other than well, and the way out.

use std::error::Error;
use std::fmt;
use std::io;

use readinto::{Address, JoinError, ShardError};

use crate::limit::Limit;

/// Why a server ended other than well.
#[derive(Debug)]
pub(crate) enum ServeError {
    /// No reactor, or it failed.
    Reactor(io::Error),
    /// One of several threads, or its reactor, could not be started.
    Start { threads: usize, source: io::Error },
    /// The kernel refused the address, which the error names.
    Bind(io::Error),
    /// The path of a Unix socket is taken.
    InTheWay { address: Address, reason: String },
    /// The handlers of signals could not be installed.
    Signals(io::Error),
    /// A listener failed.
    Accept { address: Address, source: io::Error },
    /// A task of the server did not end by itself.
    Task(JoinError),
    /// A thread of the server has failed.
    Thread(ShardError),
    /// The drain timeout came first.
    DrainTimeout {
        limit: Limit,
        finished: usize,
        cut: usize,
    },
    /// A second signal came first.
    Hurried { finished: usize, cut: usize },
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Reactor(error) => write!(f, "cannot run the event loop: {error}"),
            ServeError::Start { threads, source } => write!(
                f,
                "cannot start {threads} threads: {source}; choose fewer --threads"
            ),
            ServeError::Bind(error) => {
                write!(f, "{error}; ")?;
                f.write_str(match error.kind() {
                    io::ErrorKind::AddrInUse => "stop who listens there, or choose",
                    io::ErrorKind::PermissionDenied => "get the permission, or choose",
                    _ => "choose",
                })?;
                f.write_str(" another address (see --listen, --metrics)")
            }
            ServeError::InTheWay { address, reason } => {
                write!(f, "cannot listen on {address}: {reason}")
            }
            ServeError::Signals(error) => write!(f, "cannot handle signals: {error}"),
            ServeError::Accept { address, source } => {
                write!(f, "cannot accept on {address} any more: {source}")
            }
            ServeError::Task(error) => error.fmt(f),
            ServeError::Thread(error) => write!(f, "a thread of the server failed: {error}"),
            ServeError::DrainTimeout {
                limit,
                finished,
                cut,
            } => write!(
                f,
                "drain timeout of {limit}: connections finished: {finished}, cut: {cut}"
            ),
            ServeError::Hurried { finished, cut } => write!(
                f,
                "second signal: connections finished: {finished}, cut: {cut}"
            ),
        }
    }
}

impl Error for ServeError {}
