//! What the two halves of a stream share: the socket and what is known of it.

use std::cell::Cell;
use std::io;
use std::io::Read;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use socket2::Socket;

use super::low_water::LowWater;
use super::peer::Peer;
use crate::reactor::{Direction, LIMIT, Registration, WHOLE, Wish};

/// The socket that the two halves share.
pub(super) struct Connection {
    pub(super) registration: Registration<Socket>,
    pub(super) peer: Peer,
    low_water: LowWater,
    /// The length of a TCP segment, and for how many calls it is believed.
    segment: Cell<(usize, u32)>,
    /// The error that ended the connection, as the kernel numbers it.
    failure: Cell<Option<i32>>,
}

impl Connection {
    pub(super) fn new(
        registration: Registration<Socket>,
        peer: Peer,
        low_water: LowWater,
    ) -> Rc<Connection> {
        Rc::new(Connection {
            registration,
            peer,
            low_water,
            segment: Cell::new((1, 0)),
            failure: Cell::new(None),
        })
    }

    /// Remembers an error of one direction for the other.
    ///
    /// The kernel reports a reset once, to whichever call comes first. If that
    /// is a write, the next read returns 0, and a connection that was cut in
    /// the middle looks like one that ended cleanly.
    fn noted<T>(&self, moved: io::Result<T>) -> io::Result<T> {
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
    ///
    /// If it has to wait, it does so for `missing` bytes where that is many: no
    /// more than the caller lacks.
    pub(super) fn poll_receive(
        &self,
        context: &Context<'_>,
        buf: &mut [u8],
        missing: usize,
    ) -> Poll<io::Result<usize>> {
        let received = ready!(self.poll_expecting(missing, || {
            self.registration.poll_transfer(
                context,
                Direction::Read,
                Wish::UpTo(buf.len()),
                || READ_UNIT,
                |mut socket, chunk| socket.read(&mut buf[..chunk]),
            )
        }));
        Poll::Ready(match received {
            Ok(0) => self.failure().map_or(Ok(0), Err),
            received => self.noted(received),
        })
    }

    /// Waits until a read is worth a try.
    pub(super) fn poll_readable(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.poll_expecting(1, || self.registration.poll_ready(context, Direction::Read))
    }

    /// Sees to it that an attempt which waits for the peer is woken once it can
    /// have `missing` bytes.
    fn poll_expecting<T>(
        &self,
        missing: usize,
        mut attempt: impl FnMut() -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        loop {
            let attempted = attempt();
            // While it is ready, it only waits for its turn.
            let waits = attempted.is_pending() && !self.registration.is_ready(Direction::Read);
            if !waits || !self.low_water.expect(self.registration.source(), missing)? {
                return attempted;
            }
            self.registration.look_again(Direction::Read);
        }
    }

    /// Sends once, and tells how many bytes the kernel took: at least one of the `rest`
    /// that is left of a message of `len`.
    ///
    /// `call` gets the number of bytes that it may send.
    #[inline]
    pub(super) fn poll_send(
        &self,
        context: &Context<'_>,
        rest: usize,
        len: usize,
        call: impl FnMut(&Socket, usize) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let sent = ready!(self.registration.poll_transfer(
            context,
            Direction::Write,
            self.send_wish(rest, len),
            || self.send_unit(),
            call,
        ));
        Poll::Ready(match self.noted(sent) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            sent => sent,
        })
    }

    /// How many of `rest` bytes one system call should send, whatever the budget
    /// allows: all, or whole units.
    fn send_wish(&self, rest: usize, len: usize) -> Wish {
        let chunk = match self.peer {
            Peer::Unix(_) => UNIX_CHUNK,
            Peer::Tcp(_) => TCP_CHUNK,
        };
        if rest <= chunk {
            return Wish::UpTo(rest);
        }
        if matches!(self.peer, Peer::Tcp(_)) && len <= WHOLE && self.registration.is_alone() {
            return Wish::AllOf(rest);
        }
        let unit = self.send_unit();
        Wish::UpTo((chunk / unit).max(1) * unit)
    }

    /// What a chunk that is not all should be a whole multiple of: a TCP
    /// segment, as a runt segment for each chunk costs a third on loopback.
    fn send_unit(&self) -> usize {
        match self.peer {
            Peer::Unix(_) => UNIX_UNIT,
            Peer::Tcp(_) => self.segment(),
        }
    }

    /// The length of a segment, as the kernel said lately.
    ///
    /// It is at most half of the peer's window, which opens as data flows: on
    /// loopback the first answer of a connection has segments of half the length
    /// of all later ones.
    fn segment(&self) -> usize {
        let (mut len, mut calls) = self.segment.get();
        if calls == 0 {
            len = match self.registration.source().tcp_mss() {
                Ok(mss) if mss > 0 => mss as usize,
                _ => 1,
            };
            calls = BETWEEN_QUESTIONS;
        }
        self.segment.set((len, calls - 1));
        len
    }
}

/// What a read is cut to whole multiples of, so that the rest of a nearly spent
/// budget does not become a system call for a few bytes.
const READ_UNIT: usize = 64 * 1024;

/// What one call sends over TCP at most, but for a longer segment or a message that
/// goes [whole](WHOLE): one segment on loopback. That did best with long messages; the
/// longer the call, the more it loses, up to a half (the sweep in `docs/benchmarks.md`).
const TCP_CHUNK: usize = 64 * 1024;

/// The same on a Unix socket, where no message goes whole: nothing was gained by that.
const UNIX_CHUNK: usize = LIMIT;

/// The unit on a Unix socket, which has no segments: enough that the rest of a
/// nearly spent budget does not become a system call for a few bytes.
const UNIX_UNIT: usize = 64 * 1024;

/// For how many calls the kernel's word on the length of a segment stands: few,
/// as that may change, and enough that the question costs nothing.
const BETWEEN_QUESTIONS: u32 = 16;
