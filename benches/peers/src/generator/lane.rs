//! One connection of the load: the same frame, over and over.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;

/// A connection, what is still to be sent on it, and what is to come back.
pub(super) struct Lane {
    pub(super) stream: TcpStream,
    /// Copies of one frame, header included.
    burst: Vec<u8>,
    frame: usize,
    /// How many bytes are to be sent.
    unsent: usize,
    /// Where in a frame the next byte to send is.
    send_at: usize,
    /// Where in a frame the next byte to come is.
    receive_at: usize,
    readable: bool,
    writable: bool,
}

impl Lane {
    /// Sends `frame`, up to `in_flight` copies in one call.
    pub(super) fn new(stream: TcpStream, frame: Vec<u8>, in_flight: usize) -> Lane {
        Lane {
            stream,
            frame: frame.len(),
            burst: frame.repeat(in_flight.max(1)),
            unsent: 0,
            send_at: 0,
            receive_at: 0,
            readable: true,
            writable: true,
        }
    }

    /// Has `frames` more to send.
    pub(super) fn ask(&mut self, frames: usize) {
        self.unsent += frames * self.frame;
    }

    /// Makes at most one call each way, and returns how many answers were
    /// completed.
    ///
    /// # Errors
    ///
    /// Those of the socket; `InvalidData` for a byte that was not sent.
    pub(super) fn step(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        self.send(scratch.len())?;
        self.receive(scratch)
    }

    /// Whether a further step may move something before the kernel says so.
    pub(super) fn may_go_on(&self) -> bool {
        self.readable || (self.writable && self.unsent > 0)
    }

    /// Payload bytes of the answer that is not complete.
    pub(super) fn part_of_answer(&self) -> u64 {
        self.receive_at as u64
    }

    fn send(&mut self, most: usize) -> io::Result<()> {
        self.writable = false;
        if self.unsent == 0 {
            return Ok(());
        }
        let end = self.burst.len().min(self.send_at + self.unsent.min(most));
        match self.stream.write(&self.burst[self.send_at..end]) {
            Ok(sent) => {
                self.unsent -= sent;
                self.send_at = (self.send_at + sent) % self.frame;
                self.writable = true;
                Ok(())
            }
            Err(error) if may_be_repeated(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn receive(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        self.readable = false;
        let came = match self.stream.read(scratch) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(came) => came,
            Err(error) if may_be_repeated(&error) => return Ok(0),
            Err(error) => return Err(error),
        };
        self.readable = came == scratch.len();
        let mut answers = 0;
        let mut rest = &scratch[..came];
        while !rest.is_empty() {
            let part = rest.len().min(self.burst.len() - self.receive_at);
            let expected = &self.burst[self.receive_at..self.receive_at + part];
            if rest[..part] != *expected {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    "an answer of wrong bytes",
                ));
            }
            answers += (self.receive_at + part) / self.frame;
            self.receive_at = (self.receive_at + part) % self.frame;
            rest = &rest[part..];
        }
        Ok(answers)
    }
}

/// Whether nothing has happened, and the call may be made again.
fn may_be_repeated(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
