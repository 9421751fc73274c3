//! One connection of a benchmark: sends frames, and checks what comes back.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use readinto::{Address, FrameReader, FrameWriter, Handle, Lease, Prefix, Stream};

use super::error::{BenchError, Trouble};
use super::pattern::{Pattern, Stamp};
use crate::limit::Limit;

/// What all connections of a benchmark do.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) address: Address,
    pub(crate) prefix: Prefix,
    pub(crate) frame_size: usize,
    /// Frames of each connection, those before the count included.
    pub(crate) frames: u64,
    pub(crate) pipeline: usize,
    pub(crate) verify: bool,
    pub(crate) timeout: Limit,
    pub(crate) pattern: Pattern,
}

/// A connection to the server under test.
pub(crate) struct Client {
    handle: Handle,
    plan: Rc<Plan>,
    /// From 1 on, as in messages.
    number: u64,
    reader: FrameReader,
    writer: FrameWriter,
    /// Each answer goes into this one buffer.
    answer: Lease,
    answered: u64,
}

impl Client {
    pub(crate) async fn connect(
        handle: Handle,
        plan: Rc<Plan>,
        number: u64,
    ) -> Result<Client, BenchError> {
        let bytes = plan.frame_size;
        // Without a budget, this never waits.
        let answer = handle.lease(bytes).await;
        let answer = answer.map_err(|_| BenchError::NoMemory { bytes })?;
        let connecting = Stream::connect(&handle, &plan.address);
        let stream = match plan.timeout.bound(&handle, connecting).await {
            Ok(connected) => connected.map_err(|source| BenchError::Connect {
                address: plan.address.clone(),
                source,
            })?,
            Err(_) => {
                return Err(BenchError::ConnectLate {
                    address: plan.address.clone(),
                    limit: plan.timeout,
                });
            }
        };
        let (read, write) = stream.split();
        Ok(Client {
            // Frames of any length may come: the wrong ones are refused here,
            // before anything is read.
            reader: FrameReader::new(read, plan.prefix, usize::MAX),
            writer: FrameWriter::new(write, plan.prefix),
            handle,
            plan,
            number,
            answer,
            answered: 0,
        })
    }

    /// Sends the next `frames` frames, with up to `Plan::pipeline` under way,
    /// and tells `on_answer` of each how long its round trip took.
    ///
    /// It reads and writes at the same time, so that no frame is too long for
    /// any echo server, one that answers while it reads included.
    pub(crate) async fn exchange(
        &mut self,
        frames: u64,
        mut on_answer: impl FnMut(Duration),
    ) -> Result<(), BenchError> {
        let Client {
            handle,
            plan,
            number,
            reader,
            writer,
            answer,
            answered,
        } = self;
        let span = *answered..*answered + frames;
        let sent_at = RefCell::new(VecDeque::new());

        let receiving = async {
            for frame in span.clone() {
                let receive = receive(reader, answer);
                match plan.timeout.bound(handle, receive).await {
                    Ok(received) => received?,
                    Err(_) => return Err(Trouble::Late(plan.timeout)),
                }
                let Some(sent_at) = sent_at.borrow_mut().pop_front() else {
                    return Err(Trouble::Unasked);
                };
                on_answer(Instant::now().duration_since(sent_at));
                let stamp = Stamp::new(*number, frame);
                if plan.verify
                    && let Some(difference) = plan.pattern.difference(&stamp, answer)
                {
                    return Err(Trouble::WrongByte(difference));
                }
                *answered += 1;
            }
            Ok(())
        };
        let sending = async {
            for frame in span.clone() {
                // Nobody wakes this: `both` looks here after each answer.
                poll_fn(|_| match sent_at.borrow().len() < plan.pipeline {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                })
                .await;
                sent_at.borrow_mut().push_back(Instant::now());
                let stamp = Stamp::new(*number, frame);
                writer.feed(&plan.pattern.payload(&stamp)).await?;
                let under_way = sent_at.borrow().len();
                if under_way >= plan.pipeline || frame + 1 == span.end {
                    writer.flush().await?;
                }
            }
            Ok(())
        };
        both(receiving, sending)
            .await
            .map_err(|trouble| BenchError::Exchange {
                address: plan.address.clone(),
                connection: *number,
                frame: *answered + 1,
                frames: plan.frames,
                trouble,
            })
    }
}

/// Reads one answer, which must have the length of `answer`.
async fn receive(reader: &mut FrameReader, answer: &mut [u8]) -> Result<(), Trouble> {
    match reader.next_len().await? {
        Some(len) if len == answer.len() => {}
        Some(len) => {
            return Err(Trouble::WrongLength {
                got: len,
                expected: answer.len(),
            });
        }
        None => return Err(Trouble::Closed),
    }
    Ok(reader.read_payload_into(answer).await?)
}

/// Drives two futures until both are done or one has failed.
///
/// `second` is polled after `first` each time, so that it sees what that did.
async fn both<E>(
    first: impl Future<Output = Result<(), E>>,
    second: impl Future<Output = Result<(), E>>,
) -> Result<(), E> {
    let mut first = pin!(first);
    let mut second = pin!(second);
    let (mut first_done, mut second_done) = (false, false);
    poll_fn(|context| {
        if !first_done && let Poll::Ready(result) = first.as_mut().poll(context) {
            result?;
            first_done = true;
        }
        if !second_done && let Poll::Ready(result) = second.as_mut().poll(context) {
            result?;
            second_done = true;
        }
        match first_done && second_done {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    })
    .await
}
