//! A server of small frames among others that have much to do, and counts of what
//! these do.

use std::cell::Cell;
use std::io::{Read, Write};
use std::rc::Rc;
use std::time::Instant;

use readinto::{FrameReader, FrameWriter, Prefix, Reactor};
use socket2::{SockRef, Socket};

use super::turns::{drive, turn_now, turn_until};
use super::{DEADLINE, Transport, pattern, stream_and_peer, unread, yield_now};

/// A task that echoes frames of 64 bytes, and the client that asks it.
pub(crate) struct SmallEcho {
    peer: Socket,
    /// The server's socket once more, to see what has arrived.
    arrived: Socket,
    asked: usize,
    answered: Rc<Cell<usize>>,
}

impl SmallEcho {
    pub(crate) fn new(reactor: &mut Reactor, transport: Transport) -> SmallEcho {
        let handle = reactor.handle();
        let (stream, peer) = drive(reactor, stream_and_peer(&handle, transport));
        let arrived = stream.socket().try_clone().unwrap();
        let answered = Rc::new(Cell::new(0));
        let count = answered.clone();
        let (read, write) = stream.split();
        let mut questions = FrameReader::new(read, Prefix::U32Be, 64);
        let mut answers = FrameWriter::new(write, Prefix::U32Be);
        drop(handle.spawn(async move {
            while let Some(question) = questions.next().await.unwrap() {
                answers.write(question).await.unwrap();
                count.set(count.get() + 1);
            }
        }));
        turn_now(reactor);
        SmallEcho {
            peer,
            arrived,
            asked: 0,
            answered,
        }
    }

    /// Asks, and counts from when the question has arrived.
    pub(crate) fn turns_to_answer(&mut self, reactor: &mut Reactor) -> usize {
        self.ask();
        let turns = turn_until(reactor, || self.answered.get() == self.asked);
        self.hear();
        turns
    }

    /// Returns when the question has arrived.
    pub(crate) fn ask(&mut self) {
        self.asked += 1;
        let question = self.question();
        self.peer.write_all(&question).unwrap();
        let start = Instant::now();
        while unread(&SockRef::from(&self.arrived), question.len()) < question.len() {
            assert!(start.elapsed() < DEADLINE);
        }
    }

    /// Has the answer, which is there.
    pub(crate) fn hear(&mut self) {
        assert_eq!(self.answered.get(), self.asked);
        let question = self.question();
        let mut answer = vec![0; question.len()];
        self.peer.read_exact(&mut answer).unwrap();
        assert_eq!(answer, question);
    }

    fn question(&self) -> Vec<u8> {
        let mut question = 64_u32.to_be_bytes().to_vec();
        question.extend(pattern(self.asked as u64, 64));
        question
    }
}

/// Counts operations, in all and since one last looked.
#[derive(Clone, Default)]
pub(crate) struct Counter {
    pub(crate) total: Rc<Cell<usize>>,
    seen: Rc<Cell<usize>>,
}

impl Counter {
    pub(crate) fn add(&self) {
        self.total.set(self.total.get() + 1);
    }

    pub(crate) fn new_since_last_time(&self) -> usize {
        self.total.get() - self.seen.replace(self.total.get())
    }
}

/// Is ready in every turn.
pub(crate) async fn wake_itself() {
    loop {
        yield_now().await;
    }
}
