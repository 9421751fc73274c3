//! One connection of the generator: how far its stream of frames has gone out,
//! and how far it has come back.

use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsRawFd, OwnedFd};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::Socket;

use super::frames::{Frames, Place};
use crate::peer::Connected;
use crate::readiness::Readiness;

/// A socket, and two places in its stream of frames.
pub(super) struct Connection {
    socket: Socket,
    number: u32,
    readiness: Readiness,
    /// Frames that are to go out.
    asked: u64,
    sent: Place,
    received: Place,
}

impl Connection {
    /// Connects, and registers with its number as the token.
    pub(super) fn open(address: &str, number: u32, registry: &Registry) -> io::Result<Connection> {
        let socket: Socket = match Connected::to(address)?.nonblocking()? {
            Connected::Tcp(stream) => OwnedFd::from(stream).into(),
            Connected::Unix(stream) => OwnedFd::from(stream).into(),
        };
        registry.register(
            &mut SourceFd(&socket.as_raw_fd()),
            Token(number as usize),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        Ok(Connection {
            socket,
            number,
            readiness: Readiness::WRITABLE,
            asked: 0,
            sent: Place::default(),
            received: Place::default(),
        })
    }

    pub(super) fn note(&mut self, event: &Event) {
        self.readiness.note(event);
    }

    /// Has `frames` more to send.
    pub(super) fn ask(&mut self, frames: u64) {
        self.asked += frames;
    }

    /// Answers that have come back whole.
    pub(super) fn answered(&self) -> u64 {
        self.received.frame
    }

    /// Frames that have been asked and not answered.
    pub(super) fn under_way(&self) -> u64 {
        self.asked - self.received.frame
    }

    /// Bytes that have gone out, and bytes that have come back.
    pub(super) fn moved(&self, frames: &Frames) -> (u64, u64) {
        let len = frames.len();
        (self.sent.total(len), self.received.total(len))
    }

    /// Whether a step may move something before the kernel says so.
    pub(super) fn can_go_on(&self) -> bool {
        self.can_receive() || self.can_send()
    }

    /// One call each way, where there is something to do. None is given more
    /// than the length of `block`.
    ///
    /// # Errors
    ///
    /// Those of the socket; `UnexpectedEof`; `InvalidData` for a byte that was
    /// not sent.
    pub(super) fn step(&mut self, frames: &mut Frames, block: &mut [u8]) -> io::Result<()> {
        if self.can_receive() {
            self.receive(frames, block)?;
        }
        if self.can_send() {
            self.send(frames, block)?;
        }
        Ok(())
    }

    fn can_receive(&self) -> bool {
        self.readiness.can_receive()
    }

    fn can_send(&self) -> bool {
        self.readiness.can_send() && self.sent.frame < self.asked
    }

    /// Sends several short frames together, or a part of a long one.
    fn send(&mut self, frames: &mut Frames, block: &mut [u8]) -> io::Result<()> {
        let len = frames.len();
        let bytes = if 2 * len <= block.len() {
            let last = self.asked.min(self.sent.frame + (block.len() / len) as u64);
            let count = (last - self.sent.frame) as usize;
            for (place, number) in block.chunks_exact_mut(len).zip(self.sent.frame..last) {
                place.copy_from_slice(frames.get(self.number, number));
            }
            &block[self.sent.offset..count * len]
        } else {
            let limit = self.whole_segments(block.len());
            let rest = &frames.get(self.number, self.sent.frame)[self.sent.offset..];
            &rest[..rest.len().min(limit)]
        };
        loop {
            match self.socket.send(bytes) {
                Ok(moved) => {
                    self.readiness.sent(moved, bytes.len());
                    self.sent = self.sent.after(moved, len);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readiness.found_no_room();
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The most of `limit` bytes that leaves no segment partly filled. With
    /// 65 536 bytes a call, where a segment has 65 483, large frames moved at
    /// half the rate and the small ones beside them took three times as long.
    fn whole_segments(&self, limit: usize) -> usize {
        match self.socket.tcp_mss() {
            Ok(segment) if (1..=limit).contains(&(segment as usize)) => {
                limit - limit % segment as usize
            }
            // A Unix socket has none.
            _ => limit,
        }
    }

    fn receive(&mut self, frames: &mut Frames, block: &mut [u8]) -> io::Result<()> {
        loop {
            match (&self.socket).read(block) {
                Ok(0) => {
                    return Err(io::Error::new(
                        ErrorKind::UnexpectedEof,
                        "the server has ended a connection",
                    ));
                }
                Ok(received) => {
                    self.readiness.received(received, block.len());
                    return self.compare(frames, &block[..received]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readiness.found_nothing();
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Compares what has come back with what was sent.
    fn compare(&mut self, frames: &mut Frames, mut bytes: &[u8]) -> io::Result<()> {
        let len = frames.len();
        while !bytes.is_empty() {
            let Place { frame, offset } = self.received;
            if frame >= self.asked {
                return Err(wrong(format!(
                    "{} bytes that nobody asked for",
                    bytes.len()
                )));
            }
            let expected = &frames.get(self.number, frame)[offset..];
            let (part, rest) = bytes.split_at(bytes.len().min(expected.len()));
            if *part != expected[..part.len()] {
                return Err(wrong(format!(
                    "the answer to frame {frame} has wrong bytes"
                )));
            }
            self.received = match part.len() == expected.len() {
                true => Place {
                    frame: frame + 1,
                    offset: 0,
                },
                false => self.received.after(part.len(), len),
            };
            bytes = rest;
        }
        Ok(())
    }
}

fn wrong(reason: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason)
}
