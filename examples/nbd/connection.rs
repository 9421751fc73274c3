//! The requests of one client, answered in order.

use std::io;
use std::rc::Rc;

use readinto::{Handle, Stream, StreamError};

use crate::disk::Disk;
use crate::handshake::violation;
use crate::protocol::*;

/// A client that has done its handshake.
pub(crate) struct Connection {
    handle: Handle,
    stream: Stream,
    disk: Rc<Disk>,
    /// For payloads that don't go straight to their place, a piece at a time.
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) fn new(handle: Handle, stream: Stream, disk: Rc<Disk>) -> Connection {
        Connection {
            handle,
            stream,
            disk,
            // Costs nothing until it is used.
            buffer: vec![0; BUFFER],
        }
    }

    /// Serves the client until it goes.
    pub(crate) async fn serve(mut self) -> io::Result<()> {
        let mut header = [0; Request::LEN];
        loop {
            match self.stream.read_exact_into(&mut header).await {
                Ok(()) => {}
                // Some leave without a word.
                Err(StreamError::Eof { filled: 0, .. }) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            let request = Request::parse(&header).ok_or_else(|| violation("not a request"))?;
            if request.command == CMD_DISC {
                return Ok(());
            }
            let outcome = match self.check(&request) {
                Ok(()) if request.command == CMD_READ => {
                    // It sends its reply together with the data.
                    self.disk
                        .send(&request, &mut self.stream, &mut self.buffer)
                        .await?
                }
                Ok(()) => self.execute(&request).await?,
                Err(refused) => {
                    self.discard_payload(&request).await?;
                    Err(refused)
                }
            };
            if request.command != CMD_READ || outcome.is_err() {
                self.stream.write_all(&request.reply(outcome)).await?;
            }
        }
    }

    /// Whether the request can be tried at all.
    fn check(&self, request: &Request) -> Result<(), ErrorCode> {
        let known = match request.command {
            CMD_WRITE_ZEROES => CMD_FLAG_FUA | CMD_FLAG_NO_HOLE,
            CMD_READ | CMD_WRITE | CMD_FLUSH | CMD_TRIM => CMD_FLAG_FUA,
            _ => return Err(ErrorCode::Invalid),
        };
        let len_fits = match request.command {
            CMD_FLUSH => request.len == 0,
            CMD_TRIM => request.len > 0,
            _ => (1..=MAX_PAYLOAD).contains(&request.len),
        };
        if request.flags & !known != 0 || !len_fits {
            return Err(ErrorCode::Invalid);
        }
        let end = request.offset.checked_add(request.len.into());
        if end.is_none_or(|end| end > self.disk.size()) {
            return Err(match request.command {
                CMD_WRITE | CMD_WRITE_ZEROES => ErrorCode::NoSpace,
                _ => ErrorCode::Invalid,
            });
        }
        Ok(())
    }

    /// Does all but reads. The outer error is the connection's, the inner one the
    /// disk's.
    async fn execute(&mut self, request: &Request) -> io::Result<Result<(), ErrorCode>> {
        let disk = &self.disk;
        let done = match request.command {
            CMD_WRITE => {
                disk.receive(request, &mut self.stream, &mut self.buffer)
                    .await?
            }
            CMD_WRITE_ZEROES => disk.zero(request, &self.handle).await,
            CMD_TRIM => {
                disk.trim(request);
                Ok(())
            }
            _ => disk.flush(),
        };
        if request.flags & CMD_FLAG_FUA != 0 {
            return Ok(done.and_then(|()| disk.flush()));
        }
        Ok(done)
    }

    /// Takes what follows a request that was refused.
    async fn discard_payload(&mut self, request: &Request) -> Result<(), StreamError> {
        if request.command != CMD_WRITE {
            return Ok(());
        }
        let mut left = request.len as usize;
        while left > 0 {
            let piece = left.min(self.buffer.len());
            self.stream
                .read_exact_into(&mut self.buffer[..piece])
                .await?;
            left -= piece;
        }
        Ok(())
    }
}

/// Enough that a piece more or less makes no difference, and little enough that
/// moving one between the buffer and a file does not keep others waiting.
const BUFFER: usize = 1 << 20;
