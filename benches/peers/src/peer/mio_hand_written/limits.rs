//! How much one system call is given, and how much one connection may move
//! before the others have their turn.

use std::io;

use socket2::{Domain, Socket};

use crate::peer::Tuning;

/// The limits on one connection.
#[derive(Debug)]
pub(super) enum Limits {
    /// All that remains is given to each call.
    WholeSlice,
    /// readinto's, on TCP: calls are cut, to whole segments when sending.
    Segments(Segment),
    /// readinto's, on a Unix socket: calls are cut.
    Chunks,
}

impl Limits {
    pub(super) fn of(tuning: Tuning, socket: &Socket) -> io::Result<Limits> {
        Ok(match tuning {
            Tuning::Default => Limits::WholeSlice,
            Tuning::AsReadinto if socket.local_addr()?.domain() == Domain::UNIX => Limits::Chunks,
            Tuning::AsReadinto => Limits::Segments(Segment::default()),
        })
    }

    /// How many bytes a connection may move in one turn.
    pub(super) fn turn(&self) -> usize {
        match self {
            Limits::WholeSlice => usize::MAX,
            Limits::Segments(_) | Limits::Chunks => TURN,
        }
    }

    /// How many of `rest` bytes the next call that receives is given.
    pub(super) fn receive(&self, rest: usize) -> usize {
        rest.min(self.turn())
    }

    /// How many of `rest` bytes the next call that sends is given, of a frame of `len`
    /// bytes, while nobody else waits or somebody does.
    pub(super) fn send(
        &mut self,
        socket: &Socket,
        rest: usize,
        len: usize,
        alone: bool,
    ) -> io::Result<usize> {
        match self {
            Limits::WholeSlice => Ok(rest),
            Limits::Chunks => Ok(rest.min(TURN)),
            Limits::Segments(_) if rest <= SEGMENTS || (len <= WHOLE && alone) => Ok(rest),
            Limits::Segments(segment) => {
                let segment = segment.len(socket)?.clamp(1, SEGMENTS);
                Ok(SEGMENTS / segment * segment)
            }
        }
    }
}

/// The length of a connection's segments, as the kernel said lately.
#[derive(Debug, Default)]
pub(super) struct Segment {
    len: usize,
    /// For how many calls it is believed.
    calls: u32,
}

impl Segment {
    fn len(&mut self, socket: &Socket) -> io::Result<usize> {
        if self.calls == 0 {
            self.len = socket.tcp_mss()? as usize;
            self.calls = BETWEEN_QUESTIONS;
        }
        self.calls -= 1;
        Ok(self.len)
    }
}

/// As in `src/stream/connection.rs` of the library: the length doubles with the first
/// answer of a connection, so that it can't be asked for once and for all.
const BETWEEN_QUESTIONS: u32 = 16;

/// Of one turn, and of one send on a Unix socket.
const TURN: usize = 256 * 1024;

/// Of a frame that one send on TCP may be given whole.
const WHOLE: usize = 1024 * 1024;

/// Of one send on TCP otherwise: a segment on loopback.
const SEGMENTS: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Or the loop by hand would make more calls than readinto.
    #[test]
    fn the_kernel_is_asked_for_a_segment_at_every_sixteenth_call() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let connected = Socket::from(connected);
        // Has no segments: if it is asked, that is an error.
        let unable = Socket::from(UnixStream::pair().unwrap().0);

        let mut segment = Segment::default();
        for _ in 0..2 {
            let len = segment.len(&connected).unwrap();
            for _ in 1..16 {
                assert_eq!(segment.len(&unable).unwrap(), len);
            }
            assert!(segment.len(&unable).is_err());
        }
    }
}
