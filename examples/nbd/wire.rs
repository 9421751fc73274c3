//! Requests in, replies out.

use std::io;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use readinto::{Buffers, Drain, Handle, Stream, StreamError};

/// A client's stream, whose short replies wait for each other.
///
/// A client may send many requests before it looks for a reply. As long as the
/// next one is there already, replies are gathered, and leave in one system call.
/// Before anything has to wait for the client, it gets what there is for it.
pub(crate) struct Wire {
    stream: Stream,
    replies: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> Wire {
        Wire {
            stream: stream.read_ahead(),
            replies: Vec::new(),
        }
    }

    /// Fills `buf` with what the client sends.
    pub(crate) async fn receive(&mut self, buf: &mut [u8]) -> Result<(), StreamError> {
        if self.stream.buffered() < buf.len() {
            self.flush().await?;
        }
        self.stream.read_exact_into(buf).await
    }

    /// Fills `buf` as well, unless the client has gone, or the drain begins, before its first
    /// byte: then it is `false`. What has arrived comes before either.
    pub(crate) async fn receive_until(
        &mut self,
        drain: &Drain,
        handle: &Handle,
        buf: &mut [u8],
    ) -> io::Result<bool> {
        if self.stream.buffered() >= buf.len() {
            self.stream.read_exact_into(buf).await?;
            return Ok(true);
        }
        self.flush().await?;
        // A read of one byte is never dropped half-way, which would poison the stream.
        let (first, rest) = buf.split_at_mut(1);
        let read = self.stream.read_exact_into(first);
        let received = match select(read, pin!(drain.begun())).await {
            Either::Left((received, _)) => received,
            // It may only have given way to others: one more turn tells.
            Either::Right(((), read)) => match handle.timeout(Duration::ZERO, read).await {
                Ok(received) => received,
                Err(_) => return Ok(false),
            },
        };
        match received {
            Err(StreamError::Eof { .. }) => return Ok(false),
            received => received?,
        }
        match self.stream.read_exact_into(rest).await {
            Err(StreamError::Eof { filled, wanted, .. }) => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!(
                    "the stream ended after {} of {} bytes",
                    filled + 1,
                    wanted + 1
                ),
            )),
            received => Ok(received.map(|()| true)?),
        }
    }

    /// Sends a reply, at once if it is a long one.
    pub(crate) async fn send(&mut self, parts: &[&[u8]]) -> Result<(), StreamError> {
        if Buffers::from(parts).len() > MOST_COPIED {
            self.flush().await?;
            return self.stream.write_all(parts).await;
        }
        for part in parts {
            self.replies.extend_from_slice(part);
        }
        if self.replies.len() > MOST_GATHERED {
            self.flush().await?;
        }
        Ok(())
    }

    pub(crate) async fn flush(&mut self) -> Result<(), StreamError> {
        self.stream.write_all(&self.replies).await?;
        self.replies.clear();
        Ok(())
    }

    /// Tells the client that no more replies follow.
    pub(crate) fn shutdown(&mut self) -> io::Result<()> {
        self.stream.shutdown_write()
    }
}

/// Up to here, a copy is cheaper than a system call.
const MOST_COPIED: usize = 8 * 1024;

/// About as much as one system call sends.
const MOST_GATHERED: usize = 64 * 1024;
