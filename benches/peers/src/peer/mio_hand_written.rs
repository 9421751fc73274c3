//! A loop by hand over mio: edge-triggered, a state machine per connection, no
//! library in between.

use std::collections::HashMap;
use std::io::{self, ErrorKind, IoSlice, Read};
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket};

use super::client::{Job, Wire};
use super::framing::{Bound, Connected, Prefix};
use super::memcpy::blocking;
use super::{RECEIVE_BUFFER, Tuning, UNIX_SEND_BUFFER};

/// The verb `serve`.
pub(super) fn serve(listen: &str, prefix: Prefix, tuning: Tuning) -> io::Result<()> {
    let listener: Socket = match Bound::announce(listen)?.nonblocking()? {
        Bound::Tcp(listener) => OwnedFd::from(listener).into(),
        Bound::Unix(listener) => OwnedFd::from(listener).into(),
    };
    let mut poll = Poll::new()?;
    poll.registry().register(
        &mut SourceFd(&listener.as_raw_fd()),
        LISTENER,
        Interest::READABLE,
    )?;
    let mut events = Events::with_capacity(1024);
    let mut connections: HashMap<usize, Echo> = HashMap::new();
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            let key = match event.token() {
                LISTENER => {
                    accept_all(&listener, &poll, prefix, tuning, &mut connections);
                    continue;
                }
                Token(key) => key,
            };
            let Some(echo) = connections.get_mut(&key) else {
                continue;
            };
            match echo.advance() {
                Ok(Advance::Waits) => {}
                Ok(Advance::Ended) => drop(connections.remove(&key)),
                Err(error) => {
                    eprintln!("a connection ended: {error}");
                    connections.remove(&key);
                }
            }
        }
    }
}

const LISTENER: Token = Token(usize::MAX);

fn accept_all(
    listener: &Socket,
    poll: &Poll,
    prefix: Prefix,
    tuning: Tuning,
    connections: &mut HashMap<usize, Echo>,
) {
    loop {
        let admitted = listener.accept().and_then(|(socket, _)| {
            let wire = Socketed::new(socket, prefix, tuning)?;
            let descriptor = wire.socket.as_raw_fd();
            let key = descriptor as usize;
            poll.registry().register(
                &mut SourceFd(&descriptor),
                Token(key),
                Interest::READABLE | Interest::WRITABLE,
            )?;
            connections.insert(key, Echo::new(wire));
            Ok(())
        });
        match admitted {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => {
                eprintln!("cannot accept: {error}");
                return;
            }
        }
    }
}

/// A socket with its framing and its largest chunk.
struct Socketed {
    socket: Socket,
    prefix: Prefix,
    /// The most that one call is given; more than any frame by default.
    chunk: usize,
}

impl Socketed {
    fn new(socket: Socket, prefix: Prefix, tuning: Tuning) -> io::Result<Socketed> {
        socket.set_nonblocking(true)?;
        let unix = socket.local_addr()?.domain() == Domain::UNIX;
        if !unix {
            socket.set_tcp_nodelay(true)?;
        }
        let chunk = match (tuning, unix) {
            (Tuning::Default, _) => usize::MAX,
            (Tuning::AsReadinto, true) => {
                socket.set_send_buffer_size(UNIX_SEND_BUFFER)?;
                UNIX_CHUNK
            }
            (Tuning::AsReadinto, false) => {
                socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
                TCP_CHUNK
            }
        };
        Ok(Socketed {
            socket,
            prefix,
            chunk,
        })
    }

    /// Fills `buffer[*filled..]`.
    fn receive(&self, buffer: &mut [u8], filled: &mut usize) -> io::Result<Progress> {
        while *filled < buffer.len() {
            let end = buffer.len().min(filled.saturating_add(self.chunk));
            match (&self.socket).read(&mut buffer[*filled..end]) {
                Ok(0) => return Ok(Progress::Ended),
                Ok(read) => *filled += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Progress::Blocked);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Progress::Done)
    }

    /// Sends what lies behind the first `*written` bytes of both.
    fn send(&self, header: &[u8], payload: &[u8], written: &mut usize) -> io::Result<Progress> {
        let total = header.len() + payload.len();
        while *written < total {
            let end = total.min(written.saturating_add(self.whole_segments()));
            let sent = if *written < header.len() {
                let slices = [
                    IoSlice::new(&header[*written..]),
                    IoSlice::new(&payload[..end.saturating_sub(header.len())]),
                ];
                self.socket
                    .send_vectored_with_flags(&slices, libc::MSG_NOSIGNAL)
            } else {
                let payload = &payload[*written - header.len()..end - header.len()];
                self.socket.send_with_flags(payload, libc::MSG_NOSIGNAL)
            };
            match sent {
                Ok(sent) => *written += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Progress::Blocked);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Progress::Done)
    }

    fn whole_segments(&self) -> usize {
        if self.chunk != TCP_CHUNK {
            return self.chunk;
        }
        let segment = self.socket.tcp_mss().unwrap_or(1).max(1) as usize;
        (self.chunk / segment * segment).max(segment)
    }
}

/// As readinto while a task is alone.
const TCP_CHUNK: usize = 1024 * 1024;
const UNIX_CHUNK: usize = 256 * 1024;

/// How far a step got.
enum Progress {
    /// The kernel has no more, or takes no more.
    Blocked,
    /// All of it has moved.
    Done,
    /// The peer ended its side.
    Ended,
}

/// What stopped a connection.
enum Advance {
    Waits,
    Ended,
}

/// One connection of the server.
struct Echo {
    wire: Socketed,
    header: [u8; 8],
    payload: Vec<u8>,
    len: usize,
    state: State,
}

enum State {
    Header { filled: usize },
    Payload { filled: usize },
    Answer { written: usize },
}

impl Echo {
    fn new(wire: Socketed) -> Echo {
        Echo {
            wire,
            header: [0; 8],
            payload: Vec::new(),
            len: 0,
            state: State::Header { filled: 0 },
        }
    }

    /// Goes on until it must wait, or the peer has ended.
    fn advance(&mut self) -> io::Result<Advance> {
        let size = self.wire.prefix.size();
        loop {
            match &mut self.state {
                State::Header { filled } => {
                    match self.wire.receive(&mut self.header[..size], filled)? {
                        Progress::Ended if *filled > 0 => {
                            return Err(ErrorKind::UnexpectedEof.into());
                        }
                        Progress::Ended => return Ok(Advance::Ended),
                        Progress::Blocked => return Ok(Advance::Waits),
                        Progress::Done => {}
                    }
                    self.len = self.wire.prefix.decode(&self.header)?;
                    if self.payload.len() < self.len {
                        self.payload.resize(self.len, 0);
                    }
                    self.state = State::Payload { filled: 0 };
                }
                State::Payload { filled } => {
                    match self.wire.receive(&mut self.payload[..self.len], filled)? {
                        Progress::Ended => return Err(ErrorKind::UnexpectedEof.into()),
                        Progress::Blocked => return Ok(Advance::Waits),
                        Progress::Done => self.state = State::Answer { written: 0 },
                    }
                }
                State::Answer { written } => {
                    let payload = &self.payload[..self.len];
                    match self.wire.send(&self.header[..size], payload, written)? {
                        Progress::Done => self.state = State::Header { filled: 0 },
                        Progress::Blocked | Progress::Ended => return Ok(Advance::Waits),
                    }
                }
            }
        }
    }
}

/// The verb `bulk`.
pub(super) fn bulk(connect: &str, prefix: Prefix, job: &Job, tuning: Tuning) -> io::Result<()> {
    let socket: Socket = match Connected::to(connect)? {
        Connected::Tcp(stream) => OwnedFd::from(stream).into(),
        Connected::Unix(stream) => OwnedFd::from(stream).into(),
    };
    let poll = Poll::new()?;
    let wire = Socketed::new(socket, prefix, tuning)?;
    poll.registry().register(
        &mut SourceFd(&wire.socket.as_raw_fd()),
        Token(0),
        Interest::READABLE | Interest::WRITABLE,
    )?;
    let mut client = Client {
        wire,
        poll,
        events: Events::with_capacity(4),
        frame: job.payload.clone(),
        answer: Vec::new(),
    };
    blocking(job.ship(&mut client))
}

struct Client {
    wire: Socketed,
    poll: Poll,
    events: Events,
    frame: Vec<u8>,
    answer: Vec<u8>,
}

impl Client {
    /// Repeats `step` until it is done, and waits where it must.
    fn until_done(
        poll: &mut Poll,
        events: &mut Events,
        mut step: impl FnMut() -> io::Result<Progress>,
    ) -> io::Result<()> {
        loop {
            match step()? {
                Progress::Done => return Ok(()),
                Progress::Ended => return Err(ErrorKind::UnexpectedEof.into()),
                Progress::Blocked => match poll.poll(events, None) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    polled => polled?,
                },
            }
        }
    }
}

impl Wire for Client {
    async fn exchange(&mut self) -> io::Result<()> {
        let Client {
            wire,
            poll,
            events,
            frame,
            answer,
        } = self;
        let size = wire.prefix.size();
        let mut header = wire.prefix.encode(frame.len());
        let mut moved = 0;
        Client::until_done(poll, events, || {
            wire.send(&header[..size], frame, &mut moved)
        })?;
        moved = 0;
        Client::until_done(poll, events, || {
            wire.receive(&mut header[..size], &mut moved)
        })?;
        answer.resize(wire.prefix.decode(&header)?, 0);
        moved = 0;
        Client::until_done(poll, events, || wire.receive(answer, &mut moved))
    }

    fn answer(&self) -> &[u8] {
        &self.answer
    }
}
