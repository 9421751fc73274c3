//! The writing verb: one slice, or several in one system call.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::Socket;

use super::WriteHalf;
use super::buffers::Buffers;
use super::error::StreamError;
use super::gather::{Gather, MAX_HEAD, SEND_FLAGS};

impl WriteHalf {
    /// Sends all bytes of a slice, or of a list of slices; resolves when the
    /// kernel has taken the last one.
    ///
    /// Nothing is copied aside: the slices stay borrowed until then. An empty message is
    /// sent at once. Over TCP one system call is given all of up to 1 MiB while no other
    /// task is ready, otherwise at most 64 KiB in whole segments, or one segment; on a
    /// Unix socket 256 KiB.
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
    pub(crate) fn poll_gathered(
        &mut self,
        context: &Context<'_>,
        gather: &mut Gather<'_>,
    ) -> Poll<Result<(), StreamError>> {
        self.ensure_sound()?;
        while gather.written() < gather.len() {
            let rest = gather.within_one_call();
            let send = |socket: &Socket, chunk| gather.send(socket, chunk);
            let moved = ready!(self.connection.poll_send(context, rest, gather.len(), send))
                .map_err(|source| failed(gather.written(), gather.len(), source))?;
            gather.advance(moved);
            self.sent += moved as u64;
        }
        Poll::Ready(Ok(()))
    }

    /// Poisons this half if only a part of `gather` was sent.
    pub(crate) fn abandon(&mut self, gather: &Gather<'_>) {
        if gather.written() < gather.len() {
            self.poison(gather.written(), gather.len());
        }
    }

    /// Sends `bytes` from `*sent` on, and keeps count in `sent` across calls.
    ///
    /// It leaves poisoning to the caller, who may know how to go on.
    pub(crate) fn poll_send_all(
        &mut self,
        context: &Context<'_>,
        bytes: &[u8],
        sent: &mut usize,
    ) -> Poll<Result<(), StreamError>> {
        self.ensure_sound()?;
        while *sent < bytes.len() {
            let rest = &bytes[*sent..];
            let send = |socket: &Socket, chunk| socket.send_with_flags(&rest[..chunk], SEND_FLAGS);
            let moved = ready!(
                self.connection
                    .poll_send(context, rest.len(), bytes.len(), send)
            )
            .map_err(|source| failed(*sent, bytes.len(), source))?;
            *sent += moved;
            self.sent += moved as u64;
        }
        Poll::Ready(Ok(()))
    }
}

fn failed(moved: usize, wanted: usize, source: io::Error) -> StreamError {
    StreamError::Io {
        moved,
        wanted,
        source,
    }
}

/// The future of [`WriteHalf::write_all`].
///
/// # Cancel safety
///
/// Dropping it once bytes have moved poisons the half that it writes to.
///
/// # Examples
///
/// See [`Stream::write_all`](super::Stream::write_all).
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
        half.poll_gathered(context, gather)
    }
}

impl Drop for WriteAll<'_> {
    fn drop(&mut self) {
        self.half.abandon(&self.gather);
    }
}
