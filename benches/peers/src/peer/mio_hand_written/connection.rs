//! One connection of the server.

use std::io::{self, ErrorKind, Read};
use std::mem;

use mio::event::Event;
use socket2::Socket;

use super::limits::Limits;
use crate::peer::Tuning;
use crate::peer::framing::Prefix;
use crate::peer::room::Room;
use crate::readiness::Readiness;

/// A socket, what is known of it, and the frame that it is at.
pub(super) struct Connection {
    socket: Socket,
    prefix: Prefix,
    limits: Limits,
    readiness: Readiness,
    /// Whether it is in the server's queue.
    pub(super) queued: bool,
    /// The first bytes of a frame that is not complete. Before them, an answer
    /// that has not been sent.
    store: Room,
    /// How many bytes of `store` are filled.
    filled: usize,
    /// How many of those are the answer, none if there is none.
    answer: usize,
    /// How many bytes of the answer have been sent.
    sent: usize,
}

/// Why a turn is over.
pub(super) enum TurnEnd {
    /// The kernel has no more, or takes no more.
    Blocked,
    /// It has had its share.
    Spent,
    /// The peer has ended the connection between two frames.
    Closed,
}

impl Connection {
    pub(super) fn new(
        socket: Socket,
        prefix: Prefix,
        tuning: Tuning,
        limits: Limits,
    ) -> Connection {
        Connection {
            socket,
            prefix,
            limits,
            readiness: Readiness::BOTH,
            queued: false,
            store: Room::new(tuning, 0),
            filled: 0,
            answer: 0,
            sent: 0,
        }
    }

    pub(super) fn note(&mut self, event: &Event) {
        self.readiness.note(event);
    }

    /// Receives and answers as far as it goes.
    ///
    /// `block` is everybody's: it holds nothing between two turns. Nobody else waits if it
    /// is `alone`.
    ///
    /// # Errors
    ///
    /// Those of the socket; `InvalidData` for a frame above the limit;
    /// `UnexpectedEof` for one that is cut off.
    pub(super) fn take_turn(&mut self, block: &mut [u8], alone: bool) -> io::Result<TurnEnd> {
        let mut left = self.limits.turn();
        for _ in 0..MOST_CALLS {
            let moved = match self.answer {
                0 => self.receive_some(block)?,
                _ => self.send_stored(alone)?,
            };
            match moved {
                None => return Ok(TurnEnd::Blocked),
                Some(0) if self.filled == 0 => return Ok(TurnEnd::Closed),
                Some(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Some(moved) if moved < left => left -= moved,
                Some(_) => return Ok(TurnEnd::Spent),
            }
        }
        Ok(TurnEnd::Spent)
    }

    /// One call that receives, and what follows from it.
    fn receive_some(&mut self, block: &mut [u8]) -> io::Result<Option<usize>> {
        if !self.readiness.can_receive() {
            return Ok(None);
        }
        match self.prefix.needed(&self.store[..self.filled])? {
            needed if needed > block.len() => self.receive_stored(needed),
            _ => self.receive_ahead(block),
        }
    }

    /// Receives into the shared block, and answers from there what is complete.
    fn receive_ahead(&mut self, block: &mut [u8]) -> io::Result<Option<usize>> {
        block[..self.filled].copy_from_slice(&self.store[..self.filled]);
        let received = match self.receive(&mut block[self.filled..])? {
            Some(received) if received > 0 => received,
            nothing => return Ok(nothing),
        };
        let arrived = &block[..self.filled + received];
        let answer = self.prefix.complete(arrived)?;
        let mut sent = 0;
        while sent < answer {
            match self.send(&arrived[sent..answer], answer, false)? {
                Some(moved) => sent += moved,
                None => break,
            }
        }
        self.keep(&arrived[sent..], answer - sent);
        Ok(Some(received))
    }

    /// Stores what could be neither sent nor answered yet.
    fn keep(&mut self, rest: &[u8], answer: usize) {
        if self.store.len() < rest.len() {
            self.store.resize(rest.len());
        }
        self.store[..rest.len()].copy_from_slice(rest);
        self.filled = rest.len();
        self.answer = answer;
        self.sent = 0;
    }

    /// Receives more of a frame that is too long for the shared block, and
    /// nothing behind it.
    fn receive_stored(&mut self, needed: usize) -> io::Result<Option<usize>> {
        if self.store.len() < needed {
            self.store.resize(needed);
        }
        let len = self.limits.receive(needed - self.filled);
        let mut store = mem::take(&mut self.store);
        let received = self.receive(&mut store[self.filled..][..len]);
        self.store = store;
        if let Ok(Some(received)) = received {
            self.filled += received;
            if self.filled == needed {
                self.answer = needed;
            }
        }
        received
    }

    /// Sends more of an answer that was stored.
    fn send_stored(&mut self, alone: bool) -> io::Result<Option<usize>> {
        let store = mem::take(&mut self.store);
        let sent = self.send(&store[self.sent..self.answer], self.answer, alone);
        self.store = store;
        if let Ok(Some(moved)) = sent {
            self.sent += moved;
            if self.sent == self.answer {
                self.store.copy_within(self.answer..self.filled, 0);
                self.filled -= self.answer;
                self.answer = 0;
                self.sent = 0;
            }
        }
        sent
    }

    /// One call. `None` if nothing is there, 0 at the end of the stream.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match (&self.socket).read(buffer) {
                Ok(received) => {
                    self.readiness.received(received, buffer.len());
                    return Ok(Some(received));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readiness.found_nothing();
                    return Ok(None);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// One call, for a part of `len` bytes. `None` if there is no room.
    fn send(&mut self, bytes: &[u8], len: usize, alone: bool) -> io::Result<Option<usize>> {
        if !self.readiness.can_send() {
            return Ok(None);
        }
        let len = self.limits.send(&self.socket, bytes.len(), len, alone)?;
        loop {
            match self.socket.send(&bytes[..len]) {
                Ok(sent) => {
                    self.readiness.sent(sent, len);
                    return Ok(Some(sent));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readiness.found_no_room();
                    return Ok(None);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Of one turn, however few bytes they move.
const MOST_CALLS: usize = 128;
