//! Whatever one task does with its sockets, the others have their turn.
//!
//! Counted in turns of the reactor, from the moment in which a question lies
//! in the kernel to its answer. One turn is enough: it asks the kernel first,
//! and then polls each task that is ready once, or as many as move a share of bytes.

mod support;

use std::cell::Cell;
use std::io::{Read, Write};
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use futures_util::future::{Either, select};
use readinto::{FrameReader, FrameWriter, Handle, Prefix, Reactor, ReadHalf, Stream, WriteHalf};
use socket2::{SockRef, Socket};

use support::turns::{drive, turn_now, turn_until};
use support::{
    DEADLINE, Transport, connect_blocking, connected_pair, listen, pattern, stream_and_peer,
    unread, yield_now,
};

#[test]
fn a_small_echo_is_answered_in_one_turn_while_frames_of_100_mb_pass_both_ways() {
    for transport in Transport::ALL {
        let mut reactor = Reactor::new().unwrap();
        let handle = reactor.handle();
        let (here, there) = drive(&mut reactor, connected_pair(&handle, transport));
        let frames = Counter::default();
        let (read_here, write_here) = here.split();
        let (read_there, write_there) = there.split();
        let tasks = [
            handle.spawn(receive_frames(read_here, frames.clone())),
            handle.spawn(receive_frames(read_there, frames.clone())),
            handle.spawn(send_frames(write_here)),
            handle.spawn(send_frames(write_there)),
        ];
        let mut echo = SmallEcho::new(&mut reactor, transport);
        let mut rounds = 0;
        while rounds < 300 || frames.total.get() < 2 {
            assert_eq!(echo.turns_to_answer(&mut reactor), 1);
            turn_now(&mut reactor);
            rounds += 1;
        }
        assert!(tasks.iter().all(|task| !task.is_finished()));
        eprintln!(
            "{rounds} answers over {transport} while {} frames passed",
            frames.total.get()
        );
    }
}

#[test]
fn a_small_echo_is_answered_in_one_turn_while_a_task_floods_operations_of_one_byte() {
    for transport in Transport::ALL {
        let mut reactor = Reactor::new().unwrap();
        let handle = reactor.handle();
        let (here, there) = drive(&mut reactor, connected_pair(&handle, transport));
        let (mut write, mut read) = (here.split().1, there.split().0);
        let (written, taken) = (Counter::default(), Counter::default());
        let (writes, reads) = (written.clone(), taken.clone());
        let _writing = handle.spawn(async move {
            while write.write_all(b"x").await.is_ok() {
                writes.add();
            }
        });
        let _reading = handle.spawn(async move {
            let mut byte = [0];
            while read.read_exact_into(&mut byte).await.is_ok() {
                reads.add();
            }
        });
        let mut echo = SmallEcho::new(&mut reactor, transport);
        // Making it took some turns.
        written.new_since_last_time();
        taken.new_since_last_time();
        for _ in 0..300 {
            assert_eq!(echo.turns_to_answer(&mut reactor), 1);
            turn_now(&mut reactor);
            // In two turns.
            assert!(written.new_since_last_time() <= 2 * OPERATIONS);
            assert!(taken.new_since_last_time() <= 2 * OPERATIONS);
        }
        assert!(written.total.get() > 1000 && taken.total.get() > 1000);
    }
}

#[test]
fn a_small_echo_is_answered_in_a_turn_of_a_share_while_a_hundred_peers_send_in_bulk() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let mut senders = Vec::new();
    for _ in 0..100 {
        senders.push(sender(&mut reactor));
    }
    let send = || {
        for (peer, _) in &senders {
            fill(peer);
        }
    };
    let mut echo = SmallEcho::new(&mut reactor, Transport::Unix);
    send();
    turn_now(&mut reactor);
    // Nothing was known of them, and the last of them did not keep anybody waiting.
    let moved = handle.stats().bytes_in as usize;
    assert!(moved <= 99 * SPARSE + LIMIT, "{moved} in the first turn");
    for _ in 0..300 {
        send();
        let before = handle.stats().bytes_in as usize;
        assert_eq!(echo.turns_to_answer(&mut reactor), 1);
        let moved = handle.stats().bytes_in as usize - before;
        assert!(
            (SHARE..=SHARE + LIMIT).contains(&moved),
            "{moved} in a turn"
        );
    }
    let pieces = senders.iter().map(|(_, taken)| taken.total.get());
    let (least, most) = (pieces.clone().min().unwrap(), pieces.max().unwrap());
    assert!(
        least > 0 && most - least <= LIMIT / PIECE,
        "{least} to {most}"
    );
}

#[test]
fn those_that_send_in_bulk_have_as_much_of_a_turn_as_all_that_send_little() {
    let mut reactor = Reactor::new().unwrap();
    let little: Vec<_> = (0..60).map(|_| sender(&mut reactor)).collect();
    let bulk: Vec<_> = (0..60).map(|_| sender(&mut reactor)).collect();
    for turn in 0..20 {
        for (peer, _) in &little {
            (&*peer).write_all(&[7; 2 * PIECE]).unwrap();
        }
        bulk.iter().for_each(|(peer, _)| fill(peer));
        turn_now(&mut reactor);
        let [little, bulk] = [&little, &bulk].map(|senders| {
            let taken = senders.iter().map(|(_, taken)| taken.new_since_last_time());
            taken.sum::<usize>() * PIECE
        });
        assert_eq!(little, 60 * 2 * PIECE);
        // In the first, nothing is known of them.
        let most = if turn == 0 {
            60 * LIMIT
        } else {
            little + LIMIT
        };
        assert!((little..=most).contains(&bulk), "{bulk}, and {little}");
    }
}

/// It reads first in each turn; what that leaves of its budget is enough.
#[test]
fn a_message_leaves_although_its_task_has_something_to_read_in_every_turn() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let (stream, mut peer) = drive(&mut reactor, stream_and_peer(&handle, Transport::Tcp));
    peer.set_nonblocking(true).unwrap();
    let (mut read, mut write) = stream.split();
    let task = handle.spawn(async move {
        let message = vec![0; 1 << 20];
        let reading = pin!(async {
            let mut byte = [0];
            while read.read_exact_into(&mut byte).await.is_ok() {}
        });
        matches!(
            select(reading, write.write_all(&message)).await,
            Either::Right((Ok(()), _))
        )
    });
    let mut block = vec![0; 1 << 20];
    let mut turns = 0;
    while !task.is_finished() {
        assert!(turns < 100, "as long as it reads, it does not write");
        peer.write_all(b"some").unwrap();
        turn_now(&mut reactor);
        while matches!(peer.read(&mut block), Ok(1..)) {}
        turns += 1;
    }
    assert!(drive(&mut reactor, task).unwrap());
}

#[test]
fn a_task_makes_so_many_operations_in_its_turn_and_no_more() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let (mut stream, mut peer) = drive(&mut reactor, stream_and_peer(&handle, Transport::Unix));
    peer.write_all(&pattern(2, 10 * OPERATIONS)).unwrap();
    let taken = Counter::default();
    let reads = taken.clone();
    let _reading = handle.spawn(async move {
        let mut byte = [0];
        while stream.read_exact_into(&mut byte).await.is_ok() {
            reads.add();
        }
    });
    for _ in 0..3 {
        turn_now(&mut reactor);
        assert_eq!(taken.new_since_last_time(), OPERATIONS);
    }
    let _always_ready = handle.spawn(wake_itself());
    for _ in 0..3 {
        turn_now(&mut reactor);
        assert_eq!(taken.new_since_last_time(), OPERATIONS);
    }
}

#[test]
fn reads_and_frames_that_were_read_ahead_count_although_they_need_no_call() {
    let reads = |handle: &Handle, stream: Stream, taken: Counter| {
        let mut stream = stream.read_ahead();
        let mut byte = [0];
        drop(handle.spawn(async move {
            while stream.read_exact_into(&mut byte).await.is_ok() {
                taken.add();
            }
        }));
    };
    assert_eq!(most_in_a_turn(&[7; 4 * BLOCK], reads), BLOCK);

    let frames = |handle: &Handle, stream: Stream, taken: Counter| {
        let mut frames = FrameReader::new(stream.split().0, Prefix::U16Be, 0);
        drop(handle.spawn(async move {
            while let Ok(Some(_)) = frames.next().await {
                taken.add();
            }
        }));
    };
    assert_eq!(most_in_a_turn(&[0; 4 * BLOCK], frames), BLOCK / 2);

    let payloads = |handle: &Handle, stream: Stream, taken: Counter| {
        let mut frames = FrameReader::new(stream.split().0, Prefix::U16Be, 0);
        drop(handle.spawn(async move {
            while let Ok(Some(_)) = frames.next_len().await {
                frames.read_payload_into(&mut []).await.unwrap();
                taken.add();
            }
        }));
    };
    assert_eq!(most_in_a_turn(&[0; 4 * BLOCK], payloads), BLOCK / 2);
}

/// Of what has been `sent`, has a task take as much as it may in its turn, and returns
/// in how many pieces that was.
fn most_in_a_turn(sent: &[u8], spawn: impl Fn(&Handle, Stream, Counter)) -> usize {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let (stream, mut peer) = drive(&mut reactor, stream_and_peer(&handle, Transport::Unix));
    peer.write_all(sent).unwrap();
    let taken = Counter::default();
    spawn(&handle, stream, taken.clone());
    turn_now(&mut reactor);
    let first = taken.new_since_last_time();
    turn_now(&mut reactor);
    assert_eq!(taken.new_since_last_time(), first);
    first
}

#[test]
fn a_small_echo_is_answered_in_one_turn_while_a_task_accepts_a_flood() {
    for transport in Transport::ALL {
        let mut reactor = Reactor::new().unwrap();
        let handle = reactor.handle();
        let mut echo = SmallEcho::new(&mut reactor, transport);
        let (listener, _folder) = listen(&handle, transport);
        let address = listener.local_address();
        // Below the 1024 descriptors that a process may usually have.
        let flood: Vec<_> = (0..300).map(|_| connect_blocking(&address)).collect();
        let accepted = Counter::default();
        let count = accepted.clone();
        let _accepting = handle.spawn(async move {
            loop {
                listener.accept().await.unwrap();
                count.add();
            }
        });
        let _always_ready = handle.spawn(wake_itself());
        let mut turns = 0;
        while accepted.total.get() < flood.len() {
            assert_eq!(echo.turns_to_answer(&mut reactor), 1);
            assert!(accepted.new_since_last_time() <= OPERATIONS);
            turns += 1;
        }
        assert!(turns >= flood.len() / OPERATIONS);
    }
}

#[test]
fn a_small_echo_is_answered_in_one_turn_while_work_from_afar_never_ends() {
    fn send_again(handle: &Handle) {
        let sent = handle
            .remote()
            .spawn(async |handle: Handle| send_again(&handle));
        sent.expect("the place that it left is free");
    }
    let mut reactor = Reactor::new().unwrap();
    for _ in 0..100 {
        send_again(&reactor.handle());
    }
    let mut echo = SmallEcho::new(&mut reactor, Transport::Unix);
    for _ in 0..300 {
        assert_eq!(echo.turns_to_answer(&mut reactor), 1);
    }
}

/// A task that echoes frames of 64 bytes, and the client that asks it.
struct SmallEcho {
    peer: Socket,
    /// The server's socket once more, to see what has arrived.
    arrived: Socket,
    asked: usize,
    answered: Rc<Cell<usize>>,
}

impl SmallEcho {
    fn new(reactor: &mut Reactor, transport: Transport) -> SmallEcho {
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
    fn turns_to_answer(&mut self, reactor: &mut Reactor) -> usize {
        self.ask();
        let turns = turn_until(reactor, || self.answered.get() == self.asked);
        self.hear();
        turns
    }

    /// Returns when the question has arrived.
    fn ask(&mut self) {
        self.asked += 1;
        let question = self.question();
        self.peer.write_all(&question).unwrap();
        let start = Instant::now();
        while unread(&SockRef::from(&self.arrived), question.len()) < question.len() {
            assert!(start.elapsed() < DEADLINE);
        }
    }

    /// Has the answer, which is there.
    fn hear(&mut self) {
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

/// A peer, and how many pieces of what it sends have been taken.
fn sender(reactor: &mut Reactor) -> (Socket, Counter) {
    let handle = reactor.handle();
    let (mut stream, peer) = drive(reactor, stream_and_peer(&handle, Transport::Unix));
    peer.set_nonblocking(true).unwrap();
    let taken = Counter::default();
    let pieces = taken.clone();
    drop(handle.spawn(async move {
        let mut piece = vec![0; PIECE];
        while stream.read_exact_into(&mut piece).await.is_ok() {
            pieces.add();
        }
    }));
    (peer, taken)
}

/// Sends as much as the kernel takes.
fn fill(mut peer: &Socket) {
    while peer.write(&[7; PIECE]).is_ok() {}
}

/// Counts operations, in all and since one last looked.
#[derive(Clone, Default)]
struct Counter {
    total: Rc<Cell<usize>>,
    seen: Rc<Cell<usize>>,
}

impl Counter {
    fn add(&self) {
        self.total.set(self.total.get() + 1);
    }

    fn new_since_last_time(&self) -> usize {
        self.total.get() - self.seen.replace(self.total.get())
    }
}

async fn send_frames(write: WriteHalf) {
    let payload = vec![0; BULK];
    let mut frames = FrameWriter::new(write, Prefix::U32Be);
    loop {
        frames.write(&payload).await.unwrap();
    }
}

async fn receive_frames(read: ReadHalf, frames: Counter) {
    let mut reader = FrameReader::new(read, Prefix::U32Be, BULK);
    let mut payload = vec![0; BULK];
    while let Some(len) = reader.next_len().await.unwrap() {
        reader.read_payload_into(&mut payload[..len]).await.unwrap();
        frames.add();
    }
}

async fn wake_itself() {
    loop {
        yield_now().await;
    }
}

const BULK: usize = 100_000_000;

/// What a task may move in one poll.
const LIMIT: usize = 256 * 1024;

/// What it may move in one poll that others wait for.
const SPARSE: usize = LIMIT / 4;

/// What all that are known to move much may move in one turn, and one poll more.
const SHARE: usize = 4 * LIMIT;

const PIECE: usize = 16 * 1024;

/// A system call costs a task as much as 4 KiB.
const OPERATIONS: usize = LIMIT / 4096;

/// As much as is read ahead in one call: more than a task may have of it byte by byte.
const BLOCK: usize = 16 * 1024;
