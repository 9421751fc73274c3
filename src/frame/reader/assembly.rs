//! How a frame is put together: from what is read ahead, in a buffer, or in the
//! caller's memory. All progress is in the reader, so that its futures can be
//! dropped.

use std::task::{Context, Poll, ready};

use super::{FrameReader, Payload, Place};
use crate::frame::error::FrameError;
use crate::pool::{BLOCK, Fill};
use crate::stream::StreamError;

impl FrameReader {
    /// The length of the next payload, if prefix and payload have been read
    /// ahead as a whole.
    #[inline]
    pub(super) fn whole_frame_ahead(&self) -> Option<usize> {
        // What is ahead is a prefix, unless that has been taken already: as a
        // whole, or as far as it had come, with nothing left behind it.
        if self.payload.is_some() || self.is_drained() {
            return None;
        }
        let ahead = &self.half.ahead()[self.lent..];
        let len = usize::try_from(self.prefix.decode(ahead)?).ok()?;
        let fits = len <= self.max && len <= ahead.len() - self.prefix.size();
        fits.then_some(len)
    }

    /// Lends that payload to the caller.
    #[inline]
    pub(super) fn lend_from_ahead(&mut self, len: usize) {
        if self.buffer.is_some() {
            self.buffer = None;
        }
        self.half.consume_ahead(self.lent + self.prefix.size());
        self.lent = len;
        self.reads_ahead = true;
        self.end_frame(len);
    }

    /// The frame, with a payload of `len` bytes, has been read to its end.
    #[inline]
    fn end_frame(&mut self, len: usize) {
        self.payload = None;
        self.ended += 1;
        let reactor = self.half.reactor();
        reactor.counters.frames_in.add(1);
        reactor.budget.charge_read_ahead();
        self.settle_debt(self.prefix.size() + len);
        self.whole_next = self.whole_frame_ahead();
    }

    /// Ends the loan of the last payload.
    pub(super) fn take_back(&mut self) {
        if self.payload.is_none() {
            self.buffer = None;
        }
        // Spares most frames the rest of it.
        if self.lent > 0 {
            self.half.consume_ahead(self.lent);
            self.lent = 0;
        }
    }

    /// The length that the next prefix announces, once all of it is there.
    ///
    /// What is there of an incomplete one moves to the header.
    fn take_prefix(&mut self) -> Option<u64> {
        let size = self.prefix.size();
        let ahead = self.half.ahead();
        if self.header_filled == 0
            && let Some(announced) = self.prefix.decode(ahead)
        {
            self.half.consume_ahead(size);
            return Some(announced);
        }
        let count = ahead.len().min(size - self.header_filled);
        self.header[self.header_filled..][..count].copy_from_slice(&ahead[..count]);
        self.header_filled += count;
        self.half.consume_ahead(count);
        if self.header_filled < size {
            return None;
        }
        self.header_filled = 0;
        self.prefix.decode(&self.header)
    }

    /// The stream has ended before the next prefix, or in it.
    fn ended_in_prefix(&self) -> Result<Option<usize>, FrameError> {
        match self.header_filled {
            0 => Ok(None),
            got => Err(FrameError::Truncated {
                got,
                wanted: self.prefix.size(),
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
        self.notice_drain();
        if self.is_drained() {
            return Poll::Ready(Ok(None));
        }
        let announced = loop {
            if let Some(announced) = self.take_prefix() {
                break announced;
            }
            match self.poll_more_of_prefix(context) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Poll::Ready(self.ended_in_prefix()),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => return self.poll_without_frame(context),
            }
        };
        let len = match usize::try_from(announced) {
            Ok(len) if len <= self.max => len,
            _ => {
                // The header stays, so that this is said every time.
                let header = self.prefix.encode(announced);
                self.header = header.expect("it has come as such a prefix");
                self.header_filled = self.prefix.size();
                self.half.discard_ahead();
                return Poll::Ready(Err(FrameError::TooLarge {
                    len: announced,
                    max: self.max,
                }));
            }
        };
        self.reads_ahead = len <= BLOCK;
        self.whole_next = None;
        self.payload = Some(Payload {
            len,
            filled: 0,
            place: Place::Ahead,
        });
        Poll::Ready(Ok(Some(len)))
    }

    /// Reads once for the prefix; `false` at the end of the stream.
    #[inline]
    fn poll_more_of_prefix(&mut self, context: &Context<'_>) -> Poll<Result<bool, StreamError>> {
        let size = self.prefix.size();
        let most = match self.reads_ahead {
            true => BLOCK,
            false => size - self.header_filled,
        };
        if let Some(count) = ready!(self.half.poll_ahead(context, most))? {
            return Poll::Ready(Ok(count > 0));
        }
        // There is no block for it.
        let header = &mut self.header[..size];
        let filled = ready!(
            self.half
                .poll_fill(context, header, &mut self.header_filled)
        );
        Poll::Ready(match filled {
            Err(StreamError::Eof { .. }) => Ok(false),
            filled => filled.map(|()| true),
        })
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
        self.end_frame(buf.len());
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
        // Who waits for a buffer goes on to wait: with a place in that queue, nothing is
        // waited for but memory.
        let is_queued = self.ticket.is_some();
        let is_short = len <= BLOCK && payload.place == Place::Ahead;
        if is_short && !is_queued && ready!(self.poll_until_ahead(context, len))? {
            self.lent = len;
        } else {
            ready!(self.poll_buffer(context, len))?;
        }
        self.end_frame(len);
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
            let pool = &self.half.reactor().pool;
            let longest = pool.longest();
            if len > longest {
                return Poll::Ready(Err(FrameError::OverBudget { len, longest }));
            }
            if self.ticket.is_none() && pool.wants_proof(len) {
                ready!(self.poll_until_ahead(context, BLOCK))?;
            }
            let reactor = self.half.reactor();
            let lent =
                ready!(reactor.poll_buffer(context, &mut self.ticket, len, Fill::AsItArrives));
            self.buffer = Some(lent?);
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
