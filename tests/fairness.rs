//! Whatever one task does with its sockets, the others have their turn.
//!
//! Counted in turns of the reactor, from the moment in which a question lies
//! in the kernel to its answer. One turn is enough: it asks the kernel first,
//! and then polls each task that is ready once. (Those that move much:
//! `sparse_before_bulk.rs`.)

mod support;

use std::io::{Read, Write};
use std::pin::pin;

use futures_util::future::{Either, select};
use readinto::{FrameReader, FrameWriter, Handle, Prefix, Reactor, ReadHalf, Stream, WriteHalf};

use support::small_echo::{Counter, SmallEcho, wake_itself};
use support::turns::{drive, turn_now};
use support::{Transport, connect_blocking, connected_pair, listen, pattern, stream_and_peer};

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

const BULK: usize = 100_000_000;

/// A system call costs a task as much as 4 KiB, of 256 KiB that it may move in
/// one poll.
const OPERATIONS: usize = 64;

/// As much as is read ahead in one call: more than a task may have of it byte by byte.
const BLOCK: usize = 16 * 1024;
