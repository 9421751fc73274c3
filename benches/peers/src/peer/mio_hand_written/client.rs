//! The end that is timed: one socket and its poll.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read};
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use socket2::{SockRef, Socket};

use super::Wait;
use super::limits::Limits;
use crate::peer::Tuning;
use crate::peer::client::{Job, Wire};
use crate::peer::framing::{Connected, Prefix};
use crate::peer::room::Room;
use crate::readiness::Readiness;

/// A connection to a server.
pub(super) struct Client {
    socket: Socket,
    prefix: Prefix,
    limits: Limits,
    wait: Wait,
    poll: Poll,
    events: Events,
    readiness: Readiness,
    frames: [Vec<u8>; 2],
    answer: Room,
}

impl Client {
    /// Of a connected socket that does not block.
    pub(super) fn new(
        connected: Connected,
        prefix: Prefix,
        job: &Job,
        tuning: Tuning,
        wait: Wait,
    ) -> io::Result<Client> {
        let socket: Socket = match connected {
            Connected::Tcp(stream) => OwnedFd::from(stream).into(),
            Connected::Unix(stream) => OwnedFd::from(stream).into(),
        };
        tuning.apply(&SockRef::from(&socket))?;
        let poll = Poll::new()?;
        poll.registry().register(
            &mut SourceFd(&socket.as_raw_fd()),
            Token(0),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        Ok(Client {
            limits: Limits::of(tuning, &socket)?,
            socket,
            prefix,
            wait,
            poll,
            events: Events::with_capacity(4),
            readiness: Readiness::BOTH,
            frames: job.payloads.clone(),
            answer: Room::new(tuning, job.size()),
        })
    }

    /// Sends prefix and payload.
    fn send(&mut self, turn: usize) -> io::Result<()> {
        let size = self.prefix.size();
        let header = self.prefix.encode(self.answer.len());
        let total = size + self.answer.len();
        let mut sent = 0;
        while sent < total {
            if !self.readiness.can_send() {
                self.wait()?;
                continue;
            }
            let len = self.limits.send(&self.socket, total - sent, total, true)?;
            let result = match sent.checked_sub(size) {
                Some(start) => self.socket.send(&self.frames[turn][start..][..len]),
                None => {
                    let header = &header[sent..size];
                    let payload = &self.frames[turn][..len - header.len()];
                    self.socket
                        .send_vectored(&[IoSlice::new(header), IoSlice::new(payload)])
                }
            };
            match result {
                Ok(moved) => {
                    sent += moved;
                    self.readiness.sent(moved, len);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readiness.found_no_room()
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Receives prefix and payload. The length is known, so that both can come
    /// in one call.
    fn receive(&mut self) -> io::Result<()> {
        let size = self.prefix.size();
        let mut header = [0; 8];
        let total = size + self.answer.len();
        let mut filled = 0;
        while filled < total {
            if !self.readiness.can_receive() {
                self.wait()?;
                continue;
            }
            let len = self.limits.receive(total - filled);
            let result = match filled.checked_sub(size) {
                Some(start) => (&self.socket).read(&mut self.answer[start..][..len]),
                None => {
                    let header = &mut header[filled..size];
                    let payload = &mut self.answer[..len - header.len()];
                    (&self.socket)
                        .read_vectored(&mut [IoSliceMut::new(header), IoSliceMut::new(payload)])
                }
            };
            match result {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(moved) => {
                    let had_prefix = filled >= size;
                    filled += moved;
                    self.readiness.received(moved, len);
                    if !had_prefix && filled >= size {
                        self.check_length(self.prefix.decode(&header)?)?;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readiness.found_nothing();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn check_length(&self, len: usize) -> io::Result<()> {
        if len == self.answer.len() {
            return Ok(());
        }
        let sent = self.answer.len();
        Err(io::Error::new(
            ErrorKind::InvalidData,
            format!("an answer of wrong length: {len} bytes to a frame of {sent}"),
        ))
    }

    fn wait(&mut self) -> io::Result<()> {
        match self.poll.poll(&mut self.events, self.wait.timeout()) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in &self.events {
            self.readiness.note(event);
        }
        Ok(())
    }
}

impl Wire for Client {
    async fn exchange(&mut self, turn: usize) -> io::Result<()> {
        self.send(turn)?;
        self.receive()
    }

    fn answer(&self) -> &[u8] {
        &self.answer
    }
}
