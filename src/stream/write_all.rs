//! The writing verb: one slice, or several in one system call.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::Socket;

use super::WriteHalf;
use super::error::StreamError;
use crate::reactor::Direction;

/// What [`write_all`](WriteHalf::write_all) sends: one borrowed slice, or a
/// list of them that leave in order, as if they were joined.
///
/// A list saves the copy that joining would cost, and the system call that a
/// write for each part would: a header and its payload go out together. Up to 16
/// parts leave in one call.
///
/// # Examples
///
/// ```
/// use readinto::Buffers;
///
/// assert_eq!(Buffers::from(b"one slice").len(), 9);
/// assert_eq!(Buffers::from(&[&b"several"[..], b", ", b"in order"]).len(), 17);
/// ```
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
        self.write_gathered(Gather {
            head: [0; MAX_HEAD],
            head_len: 0,
            body: data.into(),
        })
    }

    /// Sends `gather.head` and its body as one.
    pub(crate) fn write_gathered<'a>(&'a mut self, gather: Gather<'a>) -> WriteAll<'a> {
        let mut position = Position::default();
        position.advance(&gather, 0);
        WriteAll {
            half: self,
            total: gather.len(),
            gather,
            position,
        }
    }

    /// Sends what lies behind `position`, and moves it on.
    fn poll_drain(
        &mut self,
        context: &Context<'_>,
        gather: &Gather<'_>,
        total: usize,
        position: &mut Position,
    ) -> Poll<Result<(), StreamError>> {
        if let Some(poison) = self.poison {
            return Poll::Ready(Err(poison.error()));
        }
        let connection = &self.connection;
        while position.written < total {
            let wanted = gather
                .within_one_call(position)
                .min(connection.send_limit());
            let moved = ready!(connection.registration.poll_transfer(
                context,
                Direction::Write,
                wanted,
                || connection.send_unit(),
                |socket, chunk| send(socket, gather, position, chunk),
            ));
            let error = match moved {
                Ok(0) => io::Error::from(io::ErrorKind::WriteZero),
                Ok(moved) => {
                    position.advance(gather, moved);
                    continue;
                }
                Err(error) => {
                    connection.note_failure(&error);
                    error
                }
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

/// A short head that the operation owns, and the body that it borrows.
#[derive(Debug)]
pub(crate) struct Gather<'a> {
    pub(crate) head: [u8; MAX_HEAD],
    pub(crate) head_len: usize,
    pub(crate) body: Buffers<'a>,
}

/// Room for the longest length prefix.
pub(crate) const MAX_HEAD: usize = 8;

impl Gather<'_> {
    fn len(&self) -> usize {
        self.head_len + self.body.len()
    }

    /// The head is part 0, the body's first part is 1.
    fn part(&self, index: usize) -> Option<&[u8]> {
        match index {
            0 => Some(&self.head[..self.head_len]),
            _ => self.body.parts().get(index - 1).copied(),
        }
    }

    /// The parts from `position` on that one system call can take.
    fn window(&self, position: &Position) -> impl Iterator<Item = &[u8]> {
        let mut skip = position.within;
        (position.part..position.part + MAX_SLICES).map_while(move |index| {
            let part = self.part(index)?;
            Some(&part[std::mem::take(&mut skip)..])
        })
    }

    fn within_one_call(&self, position: &Position) -> usize {
        self.window(position).map(<[u8]>::len).sum()
    }
}

/// How far a gather has been sent.
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
    fn advance(&mut self, gather: &Gather<'_>, bytes: usize) {
        self.written += bytes;
        self.within += bytes;
        while let Some(part) = gather.part(self.part)
            && self.within >= part.len()
        {
            self.within -= part.len();
            self.part += 1;
        }
    }
}

/// Sends up to `chunk` bytes from `position` on, in one call.
fn send(
    socket: &Socket,
    gather: &Gather<'_>,
    position: &Position,
    chunk: usize,
) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let mut count = 0;
    let mut left = chunk;
    for part in gather.window(position) {
        let part = &part[..part.len().min(left)];
        slices[count] = IoSlice::new(part);
        count += 1;
        left -= part.len();
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

/// Keeps `SIGPIPE` from killing a program that has not ignored it.
#[cfg(not(target_vendor = "apple"))]
const SEND_FLAGS: libc::c_int = libc::MSG_NOSIGNAL;
#[cfg(target_vendor = "apple")]
const SEND_FLAGS: libc::c_int = 0;

/// The future of [`WriteHalf::write_all`].
///
/// # Cancel safety
///
/// Dropping it once bytes have moved poisons the half that it writes to.
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct WriteAll<'a> {
    half: &'a mut WriteHalf,
    gather: Gather<'a>,
    total: usize,
    position: Position,
}

impl Future for WriteAll<'_> {
    type Output = Result<(), StreamError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let WriteAll {
            half,
            gather,
            total,
            position,
        } = &mut *self;
        half.poll_drain(context, gather, *total, position)
    }
}

impl Drop for WriteAll<'_> {
    fn drop(&mut self) {
        if self.position.written < self.total {
            self.half.poison(self.position.written, self.total);
        }
    }
}
