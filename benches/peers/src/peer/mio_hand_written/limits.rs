//! How much one system call is given, and how much one connection may move
//! before the others have their turn.

use std::io;

use socket2::{Domain, Socket};

use crate::peer::Tuning;

/// The limits on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limits {
    /// All that remains is given to each call.
    WholeSlice,
    /// readinto's, on TCP: calls are cut, to whole segments when sending.
    Segments,
    /// readinto's, on a Unix socket: calls are cut.
    Chunks,
}

impl Limits {
    pub(super) fn of(tuning: Tuning, socket: &Socket) -> io::Result<Limits> {
        Ok(match tuning {
            Tuning::Default => Limits::WholeSlice,
            Tuning::AsReadinto if socket.local_addr()?.domain() == Domain::UNIX => Limits::Chunks,
            Tuning::AsReadinto => Limits::Segments,
        })
    }

    /// How many bytes a connection may move in one turn.
    pub(super) fn turn(self) -> usize {
        match self {
            Limits::WholeSlice => usize::MAX,
            Limits::Segments | Limits::Chunks => TURN,
        }
    }

    /// How many of `rest` bytes the next call that receives is given.
    pub(super) fn receive(self, rest: usize) -> usize {
        rest.min(self.turn())
    }

    /// How many of `rest` bytes the next call that sends is given, of a frame of `len`
    /// bytes, while nobody else waits or somebody does.
    ///
    /// A segment's length is asked for each time, since it doubles with the
    /// first answer of a connection.
    pub(super) fn send(
        self,
        socket: &Socket,
        rest: usize,
        len: usize,
        alone: bool,
    ) -> io::Result<usize> {
        let limit = match self {
            Limits::WholeSlice => return Ok(rest),
            Limits::Segments if len <= WHOLE && alone => return Ok(rest),
            Limits::Segments => SEGMENTS,
            Limits::Chunks => TURN,
        };
        if rest <= limit || self == Limits::Chunks {
            return Ok(rest.min(limit));
        }
        let segment = (socket.tcp_mss()? as usize).clamp(1, limit);
        Ok(limit / segment * segment)
    }
}

/// Of one turn, and of one send on a Unix socket.
const TURN: usize = 256 * 1024;

/// Of a frame that one send on TCP may be given whole.
const WHOLE: usize = 1024 * 1024;

/// Of one send on TCP otherwise: a segment on loopback.
const SEGMENTS: usize = 64 * 1024;
