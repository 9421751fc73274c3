//! One connection: our end, in operations; the peer's, a socket of the standard
//! sort that never blocks; and what the oracle knows of the two.

use std::cell::Cell;
use std::fmt;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use readinto::{Handle, Reactor, StreamError};
use socket2::{SockRef, Socket};

use crate::ends::Ends;
use crate::operation::{Driver, Operation};
use crate::oracle::{Direction, End, Incoming, Outgoing, data};
use crate::support::turns::{complete, drive};
use crate::support::{Transport, stream_and_peer, unread};

pub(crate) struct Link {
    transport: Transport,
    /// Our socket once more, to ask the kernel about.
    ours: Socket,
    ends: Ends,
    reading: Option<Operation>,
    writing: Option<Operation>,
    /// `None` once it has left.
    peer: Option<Socket>,
    is_urged: bool,
    /// The kernel was short of memory for TCP when somebody waited for room: see
    /// [`is_tcp_starved`].
    was_starved: Cell<bool>,
    incoming: Incoming,
    outgoing: Outgoing,
    reader_polls: Polls,
    writer_polls: Polls,
}

impl Link {
    pub(crate) fn new(reactor: &mut Reactor, transport: Transport, index: usize) -> Link {
        let handle = reactor.handle();
        let (stream, peer) = drive(reactor, stream_and_peer(&handle, transport));
        // Little room, so that a write soon has to wait.
        stream.socket().set_send_buffer_size(BUFFER).unwrap();
        peer.set_recv_buffer_size(BUFFER).unwrap();
        peer.set_nonblocking(true).unwrap();
        Link {
            transport,
            ours: stream.socket().try_clone().expect("a free descriptor"),
            ends: Ends::new(stream),
            reading: None,
            writing: None,
            peer: Some(peer),
            is_urged: false,
            was_starved: Cell::new(false),
            incoming: Incoming::starting_at(index * 1000),
            outgoing: Outgoing::starting_at(index * 1000 + 500),
            reader_polls: Polls::default(),
            writer_polls: Polls::default(),
        }
    }

    pub(crate) fn read(&mut self, handle: &Handle, len: usize, driver: Driver) {
        let Some(mut reader) = self.ends.reader() else {
            return;
        };
        self.incoming.begin(len);
        let reading = async move {
            let mut buf = vec![0; len];
            let result = reader.read_exact_into(&mut buf).await;
            (buf, result)
        };
        self.reader_polls.expect(1 + in_turns(self.incoming.queued));
        let polls = self.reader_polls.made.clone();
        self.reading = Some(Operation::new(handle, len, reading, driver, polls));
        self.observe();
    }

    pub(crate) fn write(&mut self, handle: &Handle, len: usize, driver: Driver) {
        let Some(mut writer) = self.ends.writer() else {
            return;
        };
        let data = self.outgoing.begin(len);
        let writing = async move { (Vec::new(), writer.write_all(data).await) };
        self.writer_polls.expect(1 + in_turns(len));
        let polls = self.writer_polls.made.clone();
        self.writing = Some(Operation::new(handle, len, writing, driver, polls));
        self.observe();
    }

    pub(crate) fn cancel(&mut self, direction: Direction) {
        match direction {
            Direction::Read if self.reading.take().is_some() => {
                let mut reader = self.ends.reader().expect("it has come home");
                let left = complete(reader.read_exact_into(&mut []));
                self.incoming.cancelled(poison(left));
            }
            Direction::Write if self.writing.take().is_some() => {
                let mut writer = self.ends.writer().expect("it has come home");
                let left = complete(writer.write_all(&[]));
                self.outgoing.cancelled(poison(left));
            }
            Direction::Read | Direction::Write => {}
        }
    }

    pub(crate) fn hand_over(&mut self, handle: &Handle, direction: Direction, driver: Driver) {
        let (operation, polls) = self.operation(direction);
        if let Some(operation) = operation {
            polls.expect(1);
            operation.hand_over(handle, driver);
        }
        self.observe();
    }

    pub(crate) fn nudge(&mut self, handle: &Handle, direction: Direction) {
        let (operation, polls) = self.operation(direction);
        if let Some(waker) = operation.as_ref().and_then(Operation::waker) {
            polls.expect(1);
            drop(handle.spawn(async move { waker.wake() }));
        }
    }

    pub(crate) fn split(&mut self) {
        self.ends.split();
    }

    pub(crate) fn shut_down(&mut self) {
        if self.outgoing.is_shut {
            return;
        }
        if let Some(mut writer) = self.ends.writer() {
            let result = writer.shutdown_write();
            assert!(
                result.is_ok() || self.peer.is_none(),
                "{result:?}: {self:?}"
            );
            self.outgoing.is_shut = true;
        }
    }

    pub(crate) fn peer_writes(&mut self, len: usize) {
        let Some(mut peer) = self.peer.as_ref().filter(|_| self.incoming.end.is_none()) else {
            return;
        };
        let mut data = data(self.incoming.at + self.incoming.queued, len);
        while !data.is_empty() {
            match peer.write(data) {
                Ok(moved) => data = &data[moved..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}: {self:?}"),
            }
        }
        let moved = len - data.len();
        if moved > 0 {
            self.incoming.queued += moved;
            self.reader_polls.expect(1 + in_turns(moved));
        }
    }

    /// The peer reads up to `most` of what is there.
    pub(crate) fn peer_reads(&mut self, most: usize) {
        let Some(mut peer) = self.peer.as_ref() else {
            return;
        };
        let mut left = most;
        let mut buf = vec![0; most.min(64 * 1024)];
        while left > 0 {
            let len = left.min(buf.len());
            match peer.read(&mut buf[..len]) {
                Ok(0) => {
                    let ended = self.outgoing.is_shut && self.outgoing.is_all_received();
                    assert!(ended, "the peer sees an end: {self:?}");
                    return;
                }
                Ok(moved) => {
                    self.outgoing.received(&buf[..moved]);
                    self.writer_polls.expect(1 + in_turns(moved));
                    left -= moved;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}: {self:?}"),
            }
        }
    }

    pub(crate) fn peer_ends(&mut self) {
        if let Some(peer) = self.peer.as_ref().filter(|_| self.incoming.end.is_none()) {
            peer.shutdown(Shutdown::Write).unwrap();
            self.incoming.end = Some(End::HalfClosed);
            self.reader_polls.expect(1);
        }
    }

    pub(crate) fn peer_leaves(&mut self) {
        let end = match self.transport {
            Transport::Tcp => self.tcp_end(),
            Transport::Unix => self.unix_end(),
        };
        let Some(end) = end else {
            return;
        };
        let peer = self.peer.take().expect("it has an end to come");
        if self.transport == Transport::Tcp {
            peer.set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(peer);
        self.incoming.end = Some(end);
        self.outgoing.peer_leaves();
        self.reader_polls.expect(1);
        self.writer_polls.expect(1);
    }

    /// How a reset over TCP ends the reading: it overtakes what is still on its way,
    /// so nothing may be.
    fn tcp_end(&self) -> Option<End> {
        self.peer.as_ref()?;
        if self.incoming.end.is_some() {
            // Once both sides have ended there is nothing to reset.
            return (!self.outgoing.is_shut).then_some(End::HalfClosed);
        }
        let untaken = self.incoming.untaken().filter(|&untaken| untaken <= FAR)?;
        if self.is_urged {
            // Nobody could tell how much has arrived.
            return None;
        }
        for wait in 0..MOST_WAITS {
            if unread(&SockRef::from(&self.ours), untaken + 1) == untaken {
                return Some(End::Reset);
            }
            thread::sleep(Duration::from_millis(u64::from(wait > 10)));
        }
        panic!("{untaken} bytes never arrive: {self:?}");
    }

    /// A Unix socket that leaves with something unread resets the connection.
    fn unix_end(&self) -> Option<End> {
        if unread(&SockRef::from(self.peer.as_ref()?), 1) == 0 {
            return Some(self.incoming.end.unwrap_or(End::HalfClosed));
        }
        // A read that waits for an end that has come could see either.
        let is_sure = self.incoming.end.is_none() || self.reading.is_none();
        is_sure.then_some(End::Reset)
    }

    pub(crate) fn peer_urges(&mut self) {
        let sends = self.transport == Transport::Tcp
            && !self.is_urged
            && self.incoming.end.is_none()
            && self.incoming.queued <= FAR;
        if let Some(peer) = self.peer.as_ref().filter(|_| sends) {
            peer.send_out_of_band(b"!").unwrap();
            self.is_urged = true;
            self.reader_polls.expect(1);
        }
    }

    /// Polls what is to be polled by hand; tells whether there was any.
    pub(crate) fn after_a_turn(&mut self) -> bool {
        let mut polled = false;
        for operation in [&self.reading, &self.writing].into_iter().flatten() {
            polled |= operation.poll_by_hand();
        }
        self.observe();
        polled
    }

    /// Compares what has been polled since the last time.
    fn observe(&mut self) {
        if self.reader_polls.were_made() {
            self.incoming.polled();
        }
        if let Some(outcome) = self.reading.as_ref().and_then(Operation::take_outcome) {
            self.reading = None;
            self.incoming.finished(&outcome);
        }
        if let Some(outcome) = self.writing.as_ref().and_then(Operation::take_outcome) {
            self.writing = None;
            self.outgoing.finished(&outcome);
        }
    }

    /// Whether who waits has to.
    pub(crate) fn is_as_expected(&self) -> bool {
        let read = self.reading.is_none() || self.incoming.is_waiting();
        let write = self.writing.is_none()
            || self.outgoing.may_wait() && !self.is_ready_by_kernel(Direction::Write);
        read && write
    }

    /// Who waits for what the kernel says is there: how often each was polled.
    pub(crate) fn overdue(&self) -> Option<[Option<usize>; 2]> {
        let polls = [
            (&self.reading, Direction::Read, &self.reader_polls),
            (&self.writing, Direction::Write, &self.writer_polls),
        ]
        .map(|(operation, direction, polls)| {
            let overdue = operation.is_some() && self.is_ready_by_kernel(direction);
            overdue.then(|| polls.made.get())
        });
        (polls != [None, None]).then_some(polls)
    }

    fn is_ready_by_kernel(&self, direction: Direction) -> bool {
        let flags = match direction {
            Direction::Read => PollFlags::POLLIN,
            Direction::Write => PollFlags::POLLOUT,
        };
        let mut descriptors = [PollFd::new(self.ours.as_fd(), flags)];
        let is_ready = poll(&mut descriptors, PollTimeout::ZERO).expect("poll(2) works") > 0;
        if is_ready && direction == Direction::Write && self.transport == Transport::Tcp {
            self.was_starved
                .set(self.was_starved.get() || is_tcp_starved());
            return !self.was_starved.get();
        }
        is_ready
    }

    /// Nothing moves any more.
    pub(crate) fn settled(&mut self) {
        self.incoming.settled();
        self.reader_polls.assert_expected();
        self.writer_polls.assert_expected();
        self.reader_polls.expect_no_more();
        // TCP may acknowledge later what the peer has read, and make room then.
        if self.transport == Transport::Unix {
            self.writer_polls.expect_no_more();
        }
    }

    fn operation(&mut self, direction: Direction) -> (&mut Option<Operation>, &mut Polls) {
        match direction {
            Direction::Read => (&mut self.reading, &mut self.reader_polls),
            Direction::Write => (&mut self.writing, &mut self.writer_polls),
        }
    }

    /// Both operations are over: the peer gets all that was sent, and then the end.
    pub(crate) fn end(mut self) {
        let Some(mut peer) = self.peer.take() else {
            return;
        };
        peer.set_nonblocking(false).unwrap();
        let mut buf = vec![0; 64 * 1024];
        while !self.outgoing.is_all_received() {
            match peer.read(&mut buf) {
                Ok(moved) if moved > 0 => self.outgoing.received(&buf[..moved]),
                end => panic!("{end:?} and not all that was sent: {self:?}"),
            }
        }
        drop(self);
        let end = peer.read(&mut buf).map_err(|error| error.kind());
        assert!(
            matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)),
            "{end:?}"
        );
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("transport", &self.transport)
            .field("reading", &self.reading.is_some())
            .field("writing", &self.writing.is_some())
            .field("peer", &self.peer.is_some())
            .field("incoming", &self.incoming)
            .field("outgoing", &self.outgoing)
            .field("reader_polls", &self.reader_polls)
            .field("writer_polls", &self.writer_polls)
            .finish_non_exhaustive()
    }
}

/// How often the operations of one direction were polled, and how often at most.
#[derive(Debug, Default)]
struct Polls {
    made: Rc<Cell<usize>>,
    seen: usize,
    most: usize,
}

impl Polls {
    /// Something has happened that is worth so many polls.
    fn expect(&mut self, polls: usize) {
        self.most += polls;
    }

    fn expect_no_more(&mut self) {
        self.most = self.made.get();
    }

    #[track_caller]
    fn assert_expected(&self) {
        assert!(self.made.get() <= self.most, "polled for nothing: {self:?}");
    }

    fn were_made(&mut self) -> bool {
        let seen = std::mem::replace(&mut self.seen, self.made.get());
        seen < self.seen
    }
}

/// Whether other programs have left the kernel short of memory for TCP.
///
/// It then takes less than there is room for, by poll(2) and by its own limits, and
/// does not report when that is over: see `tcp_mem` in tcp(7).
fn is_tcp_starved() -> bool {
    let sockets = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let limits = fs::read_to_string("/proc/sys/net/ipv4/tcp_mem").unwrap_or_default();
    let tcp = sockets.lines().find(|line| line.starts_with("TCP:"));
    let used = tcp.and_then(|line| line.split_whitespace().last()?.parse::<u64>().ok());
    let low = limits
        .split_whitespace()
        .next()
        .and_then(|low| low.parse().ok());
    used > low
}

/// What an operation of no bytes says of the one before it.
fn poison(result: Result<(), StreamError>) -> Option<(usize, usize)> {
    match result {
        Ok(()) => None,
        Err(StreamError::Poisoned { moved, wanted, .. }) => Some((moved, wanted)),
        Err(error) => panic!("an operation of no bytes has failed: {error}"),
    }
}

/// How many turns it takes at most to move so many bytes, after the first.
fn in_turns(bytes: usize) -> usize {
    bytes / (16 * 1024)
}

/// The length of the buffers that a write fills, as socket(7) has it.
const BUFFER: usize = 64 * 1024;

/// What fits into any socket's receive buffer.
const FAR: usize = 32 * 1024;

/// How often to look for what must come.
const MOST_WAITS: usize = 5000;
