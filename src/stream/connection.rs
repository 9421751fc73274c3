//! What the two halves of a stream share: the socket and what is known of it.

use std::cell::Cell;
use std::io;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use socket2::Socket;

use super::address::Address;
use crate::reactor::{Direction, LIMIT, Registration};

/// The socket that the two halves share.
pub(super) struct Connection {
    pub(super) registration: Registration<Socket>,
    pub(super) peer: Peer,
    /// The error that ended the connection, as the kernel numbers it.
    failure: Cell<Option<i32>>,
}

impl Connection {
    pub(super) fn new(registration: Registration<Socket>, peer: Peer) -> Rc<Connection> {
        Rc::new(Connection {
            registration,
            peer,
            failure: Cell::new(None),
        })
    }

    /// Remembers an error of one direction for the other.
    ///
    /// The kernel reports a reset once, to whichever call comes first. If that
    /// is a write, the next read returns 0, and a connection that was cut in
    /// the middle looks like one that ended cleanly.
    pub(super) fn noted<T>(&self, moved: io::Result<T>) -> io::Result<T> {
        // A broken pipe is no reset: either we have shut down writing, or the
        // peer had ended its side before, and all that it sent can be read.
        if let Err(error) = &moved
            && error.kind() != io::ErrorKind::BrokenPipe
            && error.raw_os_error().is_some()
        {
            self.failure.set(error.raw_os_error());
        }
        moved
    }

    /// What a read of 0 bytes means if it is not the end of the stream.
    fn failure(&self) -> Option<io::Error> {
        self.failure.get().map(io::Error::from_raw_os_error)
    }

    /// Reads once, and tells how many bytes came: none at the end of the stream.
    pub(super) fn poll_receive(
        &self,
        context: &Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let received = ready!(self.registration.poll_transfer(
            context,
            Direction::Read,
            buf.len(),
            || READ_UNIT,
            |mut socket, chunk| socket.read(&mut buf[..chunk]),
        ));
        Poll::Ready(match received {
            Ok(0) => self.failure().map_or(Ok(0), Err),
            received => self.noted(received),
        })
    }

    /// How many of `rest` bytes one system call may send, whatever the budget
    /// allows: all, or whole units.
    pub(super) fn send_limit(&self, rest: usize) -> usize {
        let chunk = match self.peer {
            Peer::Unix(_) => UNIX_CHUNK,
            Peer::Tcp(_) => TCP_CHUNK,
        };
        if rest <= chunk {
            return rest;
        }
        let unit = self.send_unit();
        (chunk / unit).max(1) * unit
    }

    /// What a chunk that is not all should be a whole multiple of: a TCP
    /// segment, as a runt segment for each chunk costs a third on loopback.
    ///
    /// It is asked for each time, since it is at most half of the peer's
    /// window, which opens as data flows: on loopback the first answer of a
    /// connection has segments of half the length of all later ones.
    pub(super) fn send_unit(&self) -> usize {
        match self.peer {
            Peer::Unix(_) => UNIX_UNIT,
            Peer::Tcp(_) => match self.registration.source().tcp_mss() {
                Ok(mss) if mss > 0 => mss as usize,
                _ => 1,
            },
        }
    }
}

/// What a read is cut to whole multiples of, so that the rest of a nearly spent
/// budget does not become a system call for a few bytes.
const READ_UNIT: usize = 64 * 1024;

/// What one call sends over TCP at most, but for a longer segment: one segment
/// on loopback. That did best at every frame size; the longer the call, the more
/// it loses, up to a half (the sweep in `docs/benchmarks.md`).
const TCP_CHUNK: usize = 64 * 1024;

/// The same on a Unix socket.
const UNIX_CHUNK: usize = LIMIT;

/// The unit on a Unix socket, which has no segments: enough that the rest of a
/// nearly spent budget does not become a system call for a few bytes.
const UNIX_UNIT: usize = 64 * 1024;

/// Who is at the other end, as it was when the connection was made.
#[derive(Clone, Debug)]
pub(super) enum Peer {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Peer {
    pub(super) fn address(&self) -> Address {
        match self {
            Peer::Tcp(address) => (*address).into(),
            Peer::Unix(path) => Address::Unix(path.clone()),
        }
    }
}
