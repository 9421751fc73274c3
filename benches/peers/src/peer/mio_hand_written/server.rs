//! The server's loop: one poll, and a queue of the connections that can go on.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use socket2::{SockRef, Socket};

use super::Wait;
use super::connection::{Connection, TurnEnd};
use super::limits::Limits;
use crate::peer::Tuning;
use crate::peer::framing::{Bound, Prefix};

/// Echoes frames on any number of connections.
pub(super) struct Server {
    listener: Socket,
    poll: Poll,
    prefix: Prefix,
    tuning: Tuning,
    connections: Slab<Connection>,
    /// Those that may be able to go on.
    queue: VecDeque<usize>,
    /// Where frames are read ahead.
    block: Vec<u8>,
}

impl Server {
    pub(super) fn new(bound: Bound, prefix: Prefix, tuning: Tuning) -> io::Result<Server> {
        let listener: Socket = match bound {
            Bound::Tcp(listener) => OwnedFd::from(listener).into(),
            Bound::Unix(listener) => OwnedFd::from(listener).into(),
        };
        let poll = Poll::new()?;
        poll.registry().register(
            &mut SourceFd(&listener.as_raw_fd()),
            LISTENER,
            Interest::READABLE,
        )?;
        Ok(Server {
            listener,
            poll,
            prefix,
            tuning,
            connections: Slab::new(),
            queue: VecDeque::new(),
            block: vec![0; BLOCK],
        })
    }

    /// Serves until killed.
    pub(super) fn run(&mut self, wait: Wait) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let timeout = match self.queue.is_empty() {
                true => wait.timeout(),
                false => Some(Duration::ZERO),
            };
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept_all(),
                    Token(key) => {
                        if let Some(connection) = self.connections.get_mut(key) {
                            connection.note(event);
                            self.enqueue(key);
                        }
                    }
                }
            }
            self.run_queue();
        }
    }

    fn accept_all(&mut self) {
        loop {
            let end = match self.listener.accept() {
                Ok((socket, _)) => self.admit(socket),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return,
                    ErrorKind::ConnectionAborted | ErrorKind::Interrupted => Ok(()),
                    _ => {
                        eprintln!("cannot accept: {error}");
                        return;
                    }
                },
            };
            if let Err(error) = end {
                eprintln!("a connection ended: {error}");
            }
        }
    }

    fn admit(&mut self, socket: Socket) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        self.tuning.apply(&SockRef::from(&socket))?;
        let limits = Limits::of(self.tuning, &socket)?;
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        self.poll.registry().register(
            &mut SourceFd(&socket.as_raw_fd()),
            Token(key),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        entry.insert(Connection::new(socket, self.prefix, self.tuning, limits));
        self.enqueue(key);
        Ok(())
    }

    fn enqueue(&mut self, key: usize) {
        let connection = &mut self.connections[key];
        if !connection.queued {
            connection.queued = true;
            self.queue.push_back(key);
        }
    }

    /// Gives a turn to each connection that is in the queue by now.
    fn run_queue(&mut self) {
        for _ in 0..self.queue.len() {
            let Some(key) = self.queue.pop_front() else {
                return;
            };
            let alone = self.queue.is_empty();
            let connection = &mut self.connections[key];
            connection.queued = false;
            match connection.take_turn(&mut self.block, alone) {
                Ok(TurnEnd::Blocked) => {}
                Ok(TurnEnd::Spent) => self.enqueue(key),
                Ok(TurnEnd::Closed) => drop(self.connections.remove(key)),
                Err(error) => {
                    eprintln!("a connection ended: {error}");
                    drop(self.connections.remove(key));
                }
            }
        }
    }
}

/// Connections count up from zero.
const LISTENER: Token = Token(usize::MAX);

const EVENTS: usize = 1024;

/// Small enough that what is copied out of it, when a large frame begins in it,
/// costs nothing beside that frame.
const BLOCK: usize = 16 * 1024;
