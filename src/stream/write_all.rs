//! The writing verb: one slice, or several in one system call.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::Socket;

use super::WriteHalf;
use super::connection::Connection;
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

    pub(crate) fn parts(&self) -> &[&'a [u8]] {
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
    /// are sent at once. Over TCP one system call is given at most 64 KiB in whole
    /// segments, or one segment; on a Unix socket 256 KiB.
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
        WriteAll {
            half: self,
            gather: Gather::new([0; MAX_HEAD], 0, data.into()),
        }
    }

    /// Sends what is left of `gather`.
    ///
    /// It leaves poisoning to [`abandon`](WriteHalf::abandon).
    pub(crate) fn poll_drain(
        &mut self,
        context: &Context<'_>,
        gather: &mut Gather<'_>,
    ) -> Poll<Result<(), StreamError>> {
        self.ensure_sound()?;
        let connection = &self.connection;
        while gather.written < gather.len {
            let wanted = connection.send_limit(gather.within_one_call());
            let moved = ready!(connection.registration.poll_transfer(
                context,
                Direction::Write,
                wanted,
                || connection.send_unit(),
                |socket, chunk| send(socket, gather, chunk),
            ));
            match sent_some(connection, moved) {
                Ok(moved) => {
                    gather.advance(moved);
                    self.sent += moved as u64;
                }
                Err(source) => {
                    return Poll::Ready(Err(StreamError::Io {
                        moved: gather.written,
                        wanted: gather.len,
                        source,
                    }));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Poisons this half if only a part of `gather` was sent.
    pub(crate) fn abandon(&mut self, gather: &Gather<'_>) {
        if gather.written < gather.len {
            self.poison(gather.written, gather.len);
        }
    }

    /// Sends `bytes` from `*sent` on, and keeps count in `sent` across calls.
    ///
    /// It leaves poisoning to the caller, who may know how to go on.
    pub(crate) fn poll_send(
        &mut self,
        context: &Context<'_>,
        bytes: &[u8],
        sent: &mut usize,
    ) -> Poll<Result<(), StreamError>> {
        self.ensure_sound()?;
        let connection = &self.connection;
        while *sent < bytes.len() {
            let rest = &bytes[*sent..];
            let moved = ready!(connection.registration.poll_transfer(
                context,
                Direction::Write,
                connection.send_limit(rest.len()),
                || connection.send_unit(),
                |socket, chunk| socket.send_with_flags(&rest[..chunk], SEND_FLAGS),
            ));
            match sent_some(connection, moved) {
                Ok(moved) => {
                    *sent += moved;
                    self.sent += moved as u64;
                }
                Err(source) => {
                    return Poll::Ready(Err(StreamError::Io {
                        moved: *sent,
                        wanted: bytes.len(),
                        source,
                    }));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// What a call has moved, with its error remembered for the reading side.
fn sent_some(connection: &Connection, moved: io::Result<usize>) -> io::Result<usize> {
    match connection.noted(moved) {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        moved => moved,
    }
}

/// A short head that the operation owns, the body that it borrows, and how far
/// the two have been sent.
#[derive(Debug)]
pub(crate) struct Gather<'a> {
    head: [u8; MAX_HEAD],
    head_len: usize,
    body: Buffers<'a>,
    /// Of head and body together.
    len: usize,
    /// How many bytes are sent.
    written: usize,
    /// The first part that is not sent yet.
    part: usize,
    /// How many bytes of that part are.
    within: usize,
}

/// Room for the longest length prefix.
pub(crate) const MAX_HEAD: usize = 8;

impl<'a> Gather<'a> {
    pub(crate) fn new(head: [u8; MAX_HEAD], head_len: usize, body: Buffers<'a>) -> Gather<'a> {
        let mut gather = Gather {
            head,
            head_len,
            len: head_len + body.len(),
            body,
            written: 0,
            part: 0,
            within: 0,
        };
        gather.advance(0);
        gather
    }

    /// The head is part 0, the body's first part is 1.
    fn part(&self, index: usize) -> Option<&[u8]> {
        match index {
            0 => Some(&self.head[..self.head_len]),
            _ => self.body.parts().get(index - 1).copied(),
        }
    }

    /// The parts that are left and that one system call can take.
    fn window(&self) -> impl Iterator<Item = &[u8]> {
        let mut skip = self.within;
        (self.part..self.part + MAX_SLICES).map_while(move |index| {
            let part = self.part(index)?;
            Some(&part[std::mem::take(&mut skip)..])
        })
    }

    /// How many bytes are sent.
    pub(crate) fn written(&self) -> usize {
        self.written
    }

    fn within_one_call(&self) -> usize {
        self.window().map(<[u8]>::len).sum()
    }

    /// Moves on by `bytes`, and then past parts that are empty.
    fn advance(&mut self, bytes: usize) {
        self.written += bytes;
        self.within += bytes;
        while let Some(len) = self.part(self.part).map(<[u8]>::len)
            && self.within >= len
        {
            self.within -= len;
            self.part += 1;
        }
    }
}

/// Sends up to `chunk` bytes of what is left, in one call.
fn send(socket: &Socket, gather: &Gather<'_>, chunk: usize) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let mut count = 0;
    let mut left = chunk;
    for part in gather.window() {
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
}

impl Future for WriteAll<'_> {
    type Output = Result<(), StreamError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let WriteAll { half, gather } = &mut *self;
        half.poll_drain(context, gather)
    }
}

impl Drop for WriteAll<'_> {
    fn drop(&mut self) {
        self.half.abandon(&self.gather);
    }
}
