//! How a frame is put together: from what is read ahead, in a buffer, or in the
//! caller's memory. All progress is in the reader, so that its futures can be
//! dropped.

use std::task::{Context, Poll, ready};

use super::{FrameReader, Payload, Place};
use crate::frame::error::FrameError;
use crate::pool::BLOCK;
use crate::stream::StreamError;

impl FrameReader {
    /// The length of the next payload, if prefix and payload have been read
    /// ahead as a whole, and nothing of them is elsewhere.
    pub(super) fn whole_frame_ahead(&self) -> Option<usize> {
        if self.payload.is_some() || self.header_filled > 0 {
            return None;
        }
        let ahead = &self.half.ahead()[self.lent..];
        let len = usize::try_from(self.prefix.decode(ahead)?).ok()?;
        let fits = len <= self.max && len <= ahead.len() - self.prefix.size();
        fits.then_some(len)
    }

    /// Lends that payload to the caller.
    pub(super) fn lend_from_ahead(&mut self, len: usize) {
        self.buffer = None;
        self.half.consume_ahead(self.lent + self.prefix.size());
        self.lent = len;
        self.reads_ahead = true;
    }

    /// Ends the loan of the last payload.
    pub(super) fn take_back(&mut self) {
        if self.payload.is_none() {
            self.buffer = None;
        }
        if self.lent > 0 {
            self.half.consume_ahead(self.lent);
            self.lent = 0;
        }
    }

    /// The length that the complete header announces, if it is acceptable.
    fn accepted_len(&self) -> Result<usize, FrameError> {
        let announced = self.prefix.decode(&self.header);
        let announced = announced.expect("the header has room for any prefix");
        match usize::try_from(announced) {
            Ok(len) if len <= self.max => Ok(len),
            _ => Err(FrameError::TooLarge {
                len: announced,
                max: self.max,
            }),
        }
    }

    pub(super) fn poll_len(
        &mut self,
        context: &Context<'_>,
    ) -> Poll<Result<Option<usize>, FrameError>> {
        self.take_back();
        if let Some(payload) = &self.payload {
            return Poll::Ready(Ok(Some(payload.len)));
        }
        let size = self.prefix.size();
        loop {
            let ahead = self.half.ahead();
            let count = ahead.len().min(size - self.header_filled);
            self.header[self.header_filled..][..count].copy_from_slice(&ahead[..count]);
            self.header_filled += count;
            self.half.consume_ahead(count);
            if self.header_filled == size {
                break;
            }
            let most = match self.reads_ahead {
                true => BLOCK,
                false => size - self.header_filled,
            };
            match ready!(self.half.poll_ahead(context, most))? {
                Some(0) => {
                    return Poll::Ready(match self.header_filled {
                        0 => Ok(None),
                        got => Err(FrameError::Truncated { got, wanted: size }),
                    });
                }
                Some(_) => {}
                None => {
                    let header = &mut self.header[..size];
                    let filled = &mut self.header_filled;
                    match ready!(self.half.poll_fill(context, header, filled)) {
                        Err(StreamError::Eof { filled: 0, .. }) => return Poll::Ready(Ok(None)),
                        filled => filled?,
                    }
                }
            }
        }
        let len = match self.accepted_len() {
            Ok(len) => len,
            // The header stays complete, so that this is said every time.
            Err(error) => {
                self.half.discard_ahead();
                return Poll::Ready(Err(error));
            }
        };
        self.header_filled = 0;
        self.reads_ahead = len <= BLOCK;
        self.payload = Some(Payload {
            len,
            filled: 0,
            place: Place::Ahead,
        });
        Poll::Ready(Ok(Some(len)))
    }

    pub(super) fn poll_payload_into(
        &mut self,
        context: &Context<'_>,
        buf: &mut [u8],
    ) -> Poll<Result<(), FrameError>> {
        let Some(payload) = &mut self.payload else {
            return Poll::Ready(Ok(()));
        };
        if let Some(buffer) = self.buffer.take() {
            // A dropped `next` has begun.
            let begun = payload.filled;
            buf[..begun].copy_from_slice(&buffer[..begun]);
        }
        payload.place = Place::Caller;
        ready!(self.half.poll_fill(context, buf, &mut payload.filled))?;
        self.payload = None;
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_next(
        &mut self,
        context: &Context<'_>,
    ) -> Poll<Result<Option<usize>, FrameError>> {
        if ready!(self.poll_len(context))?.is_none() {
            return Poll::Ready(Ok(None));
        }
        let Some(payload) = &mut self.payload else {
            return Poll::Ready(Ok(None));
        };
        let len = payload.len;
        match payload.place {
            Place::Caller if payload.filled > 0 => {
                return Poll::Ready(Err(FrameError::BegunElsewhere {
                    filled: payload.filled,
                    wanted: len,
                }));
            }
            Place::Caller => payload.place = Place::Ahead,
            Place::Ahead | Place::Buffer => {}
        }
        let is_short = len <= BLOCK && payload.place == Place::Ahead;
        if is_short && ready!(self.poll_until_ahead(context, len))? {
            self.lent = len;
        } else {
            ready!(self.poll_buffer(context, len))?;
        }
        self.payload = None;
        Poll::Ready(Ok(Some(len)))
    }

    /// Reads ahead until `len` bytes of the payload are there; `false` if there
    /// is no block for it.
    fn poll_until_ahead(
        &mut self,
        context: &Context<'_>,
        len: usize,
    ) -> Poll<Result<bool, FrameError>> {
        while self.half.ahead().len() < len {
            match ready!(self.half.poll_ahead(context, BLOCK))? {
                Some(0) => {
                    return Poll::Ready(Err(FrameError::Truncated {
                        got: self.half.ahead().len(),
                        wanted: self.payload.as_ref().map_or(len, |payload| payload.len),
                    }));
                }
                Some(_) => {}
                None => return Poll::Ready(Ok(false)),
            }
        }
        Poll::Ready(Ok(true))
    }

    /// Reads the payload into a buffer of its own, which grows as it arrives.
    fn poll_buffer(&mut self, context: &Context<'_>, len: usize) -> Poll<Result<(), FrameError>> {
        if self.buffer.is_none() {
            if len > self.half.pool().longest() {
                return Poll::Ready(Err(FrameError::OverBudget {
                    len,
                    longest: self.half.pool().longest(),
                }));
            }
            if self.half.pool().wants_proof(len) {
                ready!(self.poll_until_ahead(context, BLOCK))?;
            }
            let lent = ready!(self.half.poll_buffer(context, &mut self.ticket, len));
            self.buffer = Some(lent.map_err(FrameError::Io)?);
        }
        let (Some(payload), Some(buffer)) = (&mut self.payload, &mut self.buffer) else {
            return Poll::Ready(Ok(()));
        };
        payload.place = Place::Buffer;
        while payload.filled < len {
            buffer
                .grow_beyond(payload.filled)
                .map_err(|_| FrameError::OutOfMemory { len })?;
            ready!(self.half.poll_fill(context, buffer, &mut payload.filled)).map_err(|error| {
                match error {
                    StreamError::Eof { filled, .. } => FrameError::Truncated {
                        got: filled,
                        wanted: len,
                    },
                    error => error.into(),
                }
            })?;
        }
        Poll::Ready(Ok(()))
    }
}
