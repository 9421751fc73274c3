//! The same by hand: one edge-triggered poll, one socket, one buffer, and a
//! state machine at each end.
//!
//! It knows what the library knows: that a call which moves less than it was
//! given has emptied or filled the kernel's buffer, that the chunks of a send
//! are whole TCP segments, that prefix and payload leave in one call.

use std::fs;
use std::io::{self, IoSlice, Read};
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use crate::ends::{self, Server, SocketOptions};
use crate::exchange::{Exchange, LEAD};
use crate::transport::Transport;

/// How sockets are set up, and how much one system call is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tuning {
    /// The most that one call sends, in bytes, cut to whole TCP segments; all
    /// that remains if there is none.
    pub(crate) chunk: Option<usize>,
    /// The buffer that counts, in bytes as they are asked for: the receiver's
    /// of TCP, the sender's of a Unix socket. If there is none, the kernel's.
    pub(crate) buffer: Option<usize>,
    /// The longest frame, in bytes, that one call is given whole.
    pub(crate) whole: usize,
}

impl Tuning {
    /// What other runtimes do.
    pub(crate) const NONE: Tuning = Tuning {
        chunk: None,
        buffer: None,
        whole: 0,
    };

    /// As the library.
    pub(crate) fn of_the_library(transport: &Transport) -> Tuning {
        match transport {
            Transport::Tcp => Tuning {
                chunk: Some(64 * 1024),
                buffer: Some(2 * 1024 * 1024),
                whole: 1024 * 1024,
            },
            Transport::Unix(_) => Tuning {
                chunk: Some(256 * 1024),
                buffer: Some(1024 * 1024),
                whole: 0,
            },
        }
    }
}

/// Starts a server for one connection; returns where it listens.
pub(crate) fn serve(transport: &Transport, tuning: Tuning) -> io::Result<(Server, SockAddr)> {
    let (listener, address) = transport.listen()?;
    let server = Server::start(move || {
        let (socket, _) = listener.accept()?;
        echo(&mut Wire::new(socket, tuning)?)
    })?;
    Ok((server, address))
}

/// Sends every frame back, until the peer ends the connection.
fn echo(wire: &mut Wire) -> io::Result<()> {
    let mut room = vec![0; LEAD];
    let mut state = Echo::Header(Incoming::default());
    loop {
        let progress = match &mut state {
            Echo::Header(header) => match wire.receive_header(header)? {
                Progress::Ended => return Ok(()),
                progress => progress,
            },
            Echo::Payload { filled } => wire.receive(&mut room[LEAD..], filled)?,
            Echo::Answer { written } => wire.send(&room[LEAD..], written)?,
        };
        match progress {
            Progress::Ended => return Err(io::ErrorKind::UnexpectedEof.into()),
            Progress::Blocked => wire.wait()?,
            Progress::Done => {
                state = match state {
                    Echo::Header(header) => {
                        room.resize(LEAD + header.len(), 0);
                        Echo::Payload { filled: 0 }
                    }
                    Echo::Payload { .. } => Echo::Answer { written: 0 },
                    Echo::Answer { .. } => Echo::Header(Incoming::default()),
                }
            }
        }
    }
}

/// What the server is at.
enum Echo {
    Header(Incoming),
    Payload { filled: usize },
    Answer { written: usize },
}

/// The end that is timed.
pub(crate) struct Client {
    wire: Wire,
}

/// What the client is at.
enum Request {
    Frame { written: usize },
    Header(Incoming),
    Payload { filled: usize },
}

impl Client {
    pub(crate) fn connect(address: &SockAddr, tuning: Tuning) -> io::Result<Client> {
        let socket = Socket::new(address.domain(), Type::STREAM, None)?;
        socket.connect(address)?;
        Ok(Client {
            wire: Wire::new(socket, tuning)?,
        })
    }
}

impl ends::Client for Client {
    fn options(&self) -> io::Result<SocketOptions> {
        SocketOptions::of(&SockRef::from(&self.wire.socket))
    }

    fn echo(&mut self, exchange: &mut Exchange, frames: usize) -> io::Result<()> {
        let wire = &mut self.wire;
        let mut number = 0;
        let mut state = Request::Frame { written: 0 };
        while number < frames {
            let progress = match &mut state {
                Request::Frame { written } => {
                    if *written == 0 {
                        exchange.stamp(number);
                    }
                    wire.send(&exchange.payload, written)?
                }
                Request::Header(header) => wire.receive_header(header)?,
                Request::Payload { filled } => wire.receive(exchange.answer(), filled)?,
            };
            match progress {
                Progress::Ended => return Err(io::ErrorKind::UnexpectedEof.into()),
                Progress::Blocked => wire.wait()?,
                Progress::Done => {
                    state = match state {
                        Request::Frame { .. } => Request::Header(Incoming::default()),
                        Request::Header(header) => {
                            if header.len() != exchange.answer().len() {
                                return Err(io::ErrorKind::InvalidData.into());
                            }
                            Request::Payload { filled: 0 }
                        }
                        Request::Payload { .. } => {
                            exchange.check_stamp()?;
                            number += 1;
                            Request::Frame { written: 0 }
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// A socket, the poll it is registered with, and what that has reported.
struct Wire {
    socket: Socket,
    poll: Poll,
    events: Events,
    readable: bool,
    /// Reported once, and a short read does not end it.
    read_closed: bool,
    writable: bool,
    is_unix: bool,
    chunk: Option<usize>,
    whole: usize,
    /// The length of a TCP segment, and for how many calls it is believed.
    segment: (usize, u32),
}

/// A length prefix on its way in.
#[derive(Default)]
struct Incoming {
    bytes: [u8; HEADER],
    filled: usize,
}

impl Incoming {
    fn len(&self) -> usize {
        u32::from_be_bytes(self.bytes) as usize
    }
}

#[derive(Clone, Copy)]
enum Progress {
    Done,
    /// The kernel has no more for now.
    Blocked,
    /// The peer has ended the stream.
    Ended,
}

impl Wire {
    /// Sets up a connected socket.
    fn new(socket: Socket, tuning: Tuning) -> io::Result<Wire> {
        socket.set_nonblocking(true)?;
        let is_unix = socket.local_addr()?.domain() == Domain::UNIX;
        if !is_unix {
            socket.set_tcp_nodelay(true)?;
        }
        if let Some(buffer) = tuning.buffer {
            fix_buffer(&socket, is_unix, buffer)?;
        }
        let poll = Poll::new()?;
        poll.registry().register(
            &mut SourceFd(&socket.as_raw_fd()),
            Token(0),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        Ok(Wire {
            socket,
            poll,
            events: Events::with_capacity(16),
            readable: true,
            read_closed: false,
            writable: true,
            is_unix,
            chunk: tuning.chunk,
            whole: tuning.whole,
            segment: (0, 0),
        })
    }

    fn receive_header(&mut self, header: &mut Incoming) -> io::Result<Progress> {
        match self.receive(&mut header.bytes, &mut header.filled)? {
            Progress::Ended if header.filled > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            progress => Ok(progress),
        }
    }

    /// Fills `buffer[*filled..]`, as far as it goes without waiting.
    fn receive(&mut self, buffer: &mut [u8], filled: &mut usize) -> io::Result<Progress> {
        while *filled < buffer.len() {
            if !self.readable && !self.read_closed {
                return Ok(Progress::Blocked);
            }
            let chunk = self.receive_limit().min(buffer.len() - *filled);
            match (&self.socket).read(&mut buffer[*filled..][..chunk]) {
                Ok(0) => return Ok(Progress::Ended),
                Ok(moved) => {
                    *filled += moved;
                    self.readable = moved == chunk;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    self.read_closed = false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Progress::Done)
    }

    /// Sends a frame from byte `*written` of prefix and payload on, as far as
    /// it goes without waiting.
    fn send(&mut self, payload: &[u8], written: &mut usize) -> io::Result<Progress> {
        let total = HEADER + payload.len();
        while *written < total {
            if !self.writable {
                return Ok(Progress::Blocked);
            }
            let chunk = self.send_limit(total - *written, total)?;
            match send_once(&self.socket, payload, *written, chunk) {
                Ok(moved) => {
                    *written += moved;
                    self.writable = moved == chunk;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Progress::Done)
    }

    fn receive_limit(&self) -> usize {
        self.chunk.map_or(usize::MAX, |_| RECEIVE)
    }

    /// How many of `rest` bytes the next call is given: all, or whole segments.
    fn send_limit(&mut self, rest: usize, total: usize) -> io::Result<usize> {
        let limit = self.chunk.unwrap_or(usize::MAX);
        if total <= self.whole {
            return Ok(rest);
        }
        if rest <= limit || self.is_unix {
            return Ok(rest.min(limit));
        }
        let (mut segment, mut calls) = self.segment;
        if calls == 0 {
            segment = self.socket.tcp_mss()? as usize;
            calls = BETWEEN_QUESTIONS;
        }
        self.segment = (segment, calls - 1);
        Ok((limit / segment).max(1) * segment)
    }

    fn wait(&mut self) -> io::Result<()> {
        match self.poll.poll(&mut self.events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in &self.events {
            self.readable |= event.is_readable() || event.is_error();
            self.read_closed |= event.is_read_closed();
            self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        }
        Ok(())
    }
}

fn send_once(socket: &Socket, payload: &[u8], written: usize, chunk: usize) -> io::Result<usize> {
    if written >= HEADER {
        return socket.send(&payload[written - HEADER..][..chunk]);
    }
    let header = (payload.len() as u32).to_be_bytes();
    let header = &header[written..];
    let payload = &payload[..chunk - header.len()];
    socket.send_vectored(&[IoSlice::new(header), IoSlice::new(payload)])
}

/// What `src/stream/options.rs` does on the same host; that the two agree is
/// checked at every round.
fn fix_buffer(socket: &Socket, is_unix: bool, bytes: usize) -> io::Result<()> {
    if is_unix {
        return socket.set_send_buffer_size(bytes);
    }
    let limit = fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap_or_default();
    if limit.trim().parse::<usize>().unwrap_or(0) >= LEAST_RECEIVE_BUFFER {
        socket.set_recv_buffer_size(bytes)?;
    }
    Ok(())
}

/// The length before each payload.
const HEADER: usize = 4;

const RECEIVE: usize = 256 * 1024;

/// As in `src/stream/connection.rs`: the length of a segment doubles with the first
/// answer of a connection, so that it can't be asked for once and for all.
const BETWEEN_QUESTIONS: u32 = 16;

const LEAST_RECEIVE_BUFFER: usize = 1024 * 1024;
