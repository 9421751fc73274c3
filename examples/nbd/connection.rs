//! The requests of one client, answered in order.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use readinto::{Drain, Handle, Stream, StreamError};

use crate::disk::Disk;
use crate::handshake::violation;
use crate::protocol::*;
use crate::wire::Wire;

/// A client that has done its handshake.
pub(crate) struct Connection {
    wire: Wire,
    disk: Rc<Disk>,
    /// For payloads that don't go straight to their place, a piece at a time.
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn new(stream: Stream, disk: Rc<Disk>) -> Connection {
        Connection {
            wire: Wire::new(stream),
            disk,
            // The kernel gives no memory for it until it is used.
            buffer: vec![0; BUFFER],
        }
    }

    /// Serves the client until it goes, or until the server is to stop: then it answers
    /// what has arrived, and at most [`LAST_REQUESTS`].
    pub(crate) async fn serve(&mut self, drain: &Drain, handle: &Handle) -> io::Result<()> {
        let mut last_requests = LAST_REQUESTS;
        let mut header = [0; Request::LEN];
        while last_requests > 0 && self.wire.receive_until(drain, handle, &mut header).await? {
            let Some(request) = Request::parse(&header) else {
                self.wire.flush().await?;
                return Err(violation("not a request"));
            };
            if request.command == CMD_DISC {
                break;
            }
            self.answer(&request).await?;
            if drain.has_begun() {
                last_requests -= 1;
            }
        }
        Ok(self.wire.flush().await?)
    }

    /// Has the client close its end first. A socket that is closed with unread requests
    /// resets its connection, and the last replies may be lost with it.
    pub(crate) async fn close(mut self, handle: &Handle) {
        if self.wire.shutdown().is_ok() {
            let rest = discard(&mut self.wire, &mut self.buffer, usize::MAX);
            let _ = handle.timeout(LINGER, rest).await;
        }
    }

    async fn answer(&mut self, request: &Request) -> io::Result<()> {
        let Connection { wire, disk, buffer } = self;
        let mut done = match check(request, disk.size()) {
            Err(refused) => {
                if request.command == CMD_WRITE {
                    discard(wire, buffer, request.len as usize).await?;
                }
                Err(refused)
            }
            Ok(()) => match request.command {
                CMD_READ => match disk.send(request, wire, buffer).await? {
                    // The data have gone out together with their reply.
                    Ok(()) => return Ok(()),
                    failed => failed,
                },
                CMD_WRITE => disk.receive(request, wire, buffer).await?,
                CMD_WRITE_ZEROES => disk.zero(request).await,
                CMD_TRIM => disk.trim(request).await,
                _ => Ok(()),
            },
        };
        let flushes = request.command == CMD_FLUSH || request.flags & CMD_FLAG_FUA != 0;
        if flushes && done.is_ok() {
            done = disk.flush().await;
        }
        Ok(wire.send(&[&request.reply(done)]).await?)
    }
}

/// Whether the request is one that a disk of this size can try.
fn check(request: &Request, size: u64) -> Result<(), ErrorCode> {
    let (flags, lens) = match request.command {
        CMD_READ | CMD_WRITE => (CMD_FLAG_FUA, 1..=MAX_PAYLOAD),
        // The kernel asks for as much as fits a number.
        CMD_WRITE_ZEROES => (CMD_FLAG_FUA | CMD_FLAG_NO_HOLE, 1..=u32::MAX),
        CMD_TRIM => (CMD_FLAG_FUA, 1..=u32::MAX),
        CMD_FLUSH => (CMD_FLAG_FUA, 0..=0),
        _ => return Err(ErrorCode::Invalid),
    };
    if request.flags & !flags != 0 || !lens.contains(&request.len) {
        return Err(ErrorCode::Invalid);
    }
    let end = request.offset.checked_add(request.len.into());
    match request.command {
        _ if end.is_some_and(|end| end <= size) => Ok(()),
        CMD_WRITE | CMD_WRITE_ZEROES => Err(ErrorCode::NoSpace),
        _ => Err(ErrorCode::Invalid),
    }
}

/// Takes the payload of a write that was refused.
async fn discard(wire: &mut Wire, buffer: &mut [u8], mut len: usize) -> Result<(), StreamError> {
    while len > 0 {
        let piece = len.min(buffer.len());
        wire.receive(&mut buffer[..piece]).await?;
        len -= piece;
    }
    Ok(())
}

/// Enough that a piece more or less makes no difference, and little enough that
/// moving one between the buffer and a file does not keep others waiting.
const BUFFER: usize = 1 << 20;

/// How many requests of a client are answered once the server is to stop: more than it
/// has under way at once. Linux has 128, unless it is told otherwise.
const LAST_REQUESTS: usize = 1024;

/// How long a client may take to close its end.
const LINGER: Duration = Duration::from_secs(1);
