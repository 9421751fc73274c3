//! The writing verb: one slice, or several in one system call.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::Socket;

use super::error::{Poison, StreamError};
use super::{SEND_FLAGS, WriteHalf};
use crate::reactor::Direction;

/// What [`write_all`](WriteHalf::write_all) sends: one borrowed slice, or a
/// list of them that leave in order, as if they were joined.
///
/// A list saves the copy that joining would cost, and the system call that a
/// write for each part would: a header and its payload go out together.
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a>(Parts<'a>);

#[derive(Clone, Copy, Debug)]
enum Parts<'a> {
    One(&'a [u8]),
    Many(&'a [&'a [u8]]),
}

impl<'a> Buffers<'a> {
    /// The length of all parts together, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    /// Whether there is not a single byte to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn parts(&self) -> &[&'a [u8]] {
        match &self.0 {
            Parts::One(part) => std::slice::from_ref(part),
            Parts::Many(parts) => parts,
        }
    }
}

impl<'a> From<&'a [u8]> for Buffers<'a> {
    fn from(part: &'a [u8]) -> Self {
        Buffers(Parts::One(part))
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Buffers<'a> {
    fn from(part: &'a [u8; N]) -> Self {
        Buffers(Parts::One(part))
    }
}

impl<'a> From<&'a Vec<u8>> for Buffers<'a> {
    fn from(part: &'a Vec<u8>) -> Self {
        Buffers(Parts::One(part))
    }
}

impl<'a> From<&'a [&'a [u8]]> for Buffers<'a> {
    fn from(parts: &'a [&'a [u8]]) -> Self {
        Buffers(Parts::Many(parts))
    }
}

impl<'a, const N: usize> From<&'a [&'a [u8]; N]> for Buffers<'a> {
    fn from(parts: &'a [&'a [u8]; N]) -> Self {
        Buffers(Parts::Many(parts))
    }
}

impl WriteHalf {
    /// Sends all bytes of a slice, or of a list of slices; resolves when the
    /// kernel has taken the last one.
    ///
    /// Nothing is copied aside: the slices stay borrowed until then. No bytes
    /// are sent at once. One system call is given at most 256 KiB while other
    /// tasks are ready, 1 MiB while none is, in whole TCP segments.
    ///
    /// # Errors
    ///
    /// - [`StreamError::Poisoned`] if an earlier write stopped half-way.
    /// - [`StreamError::Io`] for what the kernel says: a peer that has closed
    ///   (`BrokenPipe`), a reset connection. No `SIGPIPE` is raised.
    ///
    /// # Cancel safety
    ///
    /// A write that is dropped before its first byte has no effect. One that is
    /// dropped later has left part of a message on the wire, so it poisons this
    /// half: every further write fails with [`StreamError::Poisoned`], which
    /// says how many bytes had moved. A write that fails half-way does the same.
    ///
    /// # Examples
    ///
    /// See [`Stream::write_all`](super::Stream::write_all).
    pub fn write_all<'a>(&'a mut self, data: impl Into<Buffers<'a>>) -> WriteAll<'a> {
        let data = data.into();
        let mut position = Position::default();
        position.advance(data.parts(), 0);
        WriteAll {
            half: self,
            total: data.len(),
            data,
            position,
        }
    }

    /// Sends what lies behind `position`, and moves it on.
    fn poll_drain(
        &mut self,
        context: &Context<'_>,
        parts: &[&[u8]],
        total: usize,
        position: &mut Position,
    ) -> Poll<Result<(), StreamError>> {
        if let Some(poison) = self.poison {
            return Poll::Ready(Err(poison.error()));
        }
        while position.written < total {
            let window = &parts[position.part..parts.len().min(position.part + MAX_SLICES)];
            let window_len = window.iter().map(|part| part.len()).sum::<usize>();
            let rest = window_len - position.within;
            let (limit, unit) = self.connection.send_shape(rest);
            let moved = ready!(self.connection.registration.poll_transfer(
                context,
                Direction::Write,
                rest.min(limit),
                unit,
                |socket, chunk| send(socket, window, position.within, chunk),
            ));
            let error = match moved {
                Ok(0) => io::Error::from(io::ErrorKind::WriteZero),
                Ok(moved) => {
                    position.advance(parts, moved);
                    continue;
                }
                Err(error) => error,
            };
            return Poll::Ready(Err(StreamError::Io {
                moved: position.written,
                wanted: total,
                source: error,
            }));
        }
        Poll::Ready(Ok(()))
    }
}

/// How far a list of parts has been sent.
#[derive(Debug, Default)]
struct Position {
    /// The first part that is not sent yet.
    part: usize,
    /// How many bytes of that part are.
    within: usize,
    /// How many bytes are in all.
    written: usize,
}

impl Position {
    /// Moves on by `bytes`, and then past parts that are empty.
    fn advance(&mut self, parts: &[&[u8]], bytes: usize) {
        self.written += bytes;
        self.within += bytes;
        while let Some(part) = parts.get(self.part)
            && self.within >= part.len()
        {
            self.within -= part.len();
            self.part += 1;
        }
    }
}

/// Sends up to `chunk` bytes of at most [`MAX_SLICES`] `parts` in one call,
/// less the first `within` bytes.
fn send(socket: &Socket, parts: &[&[u8]], within: usize, chunk: usize) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let mut count = 0;
    let mut skip = within;
    let mut left = chunk;
    for part in parts {
        let slice = &part[skip..];
        let slice = &slice[..slice.len().min(left)];
        slices[count] = IoSlice::new(slice);
        count += 1;
        skip = 0;
        left -= slice.len();
        if left == 0 {
            break;
        }
    }
    match &slices[..count] {
        // A plain send is the cheaper system call.
        [slice] => socket.send_with_flags(slice, SEND_FLAGS),
        slices => socket.send_vectored_with_flags(slices, SEND_FLAGS),
    }
}

/// How many parts go into one system call; a longer list takes several.
const MAX_SLICES: usize = 16;

/// The future of [`WriteHalf::write_all`].
///
/// # Cancel safety
///
/// Dropping it once bytes have moved poisons the half that it writes to.
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct WriteAll<'a> {
    half: &'a mut WriteHalf,
    data: Buffers<'a>,
    total: usize,
    position: Position,
}

impl Future for WriteAll<'_> {
    type Output = Result<(), StreamError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let WriteAll {
            half,
            data,
            total,
            position,
        } = &mut *self;
        half.poll_drain(context, data.parts(), *total, position)
    }
}

impl Drop for WriteAll<'_> {
    fn drop(&mut self) {
        if self.half.poison.is_none() && self.position.written < self.total {
            self.half.poison = Poison::of(self.position.written, self.total);
        }
    }
}
