//! Who holds memory that others wait for is given up, unless its peer does its part.

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::pin::pin;
use std::thread;
use std::time::{Duration, Instant};

use readinto::{FrameError, FrameReader, FrameWriter, Prefix, Reactor, TimeLimit};
use support::turns::{drive, settle};
use support::{
    Transport, arrived_on, framed, pattern, peer_thread, poll_once, stream_and_peer, yield_now,
};

/// One frame has all the room, and its peer sends no more of it, or takes none of
/// the answer. It may, until another frame needs the room.
#[test]
fn a_frame_that_holds_memory_while_others_wait_is_given_up() {
    let mut reactor = Reactor::builder().memory_budget(BUDGET).build().unwrap();
    let handle = reactor.handle();
    for is_whole in [false, true] {
        let (stream, slow) = drive(&mut reactor, stream_and_peer(&handle, Transport::Tcp));
        let (read, write) = stream.split();
        // So that the kernel can't take the answer for the peer.
        write.socket().set_send_buffer_size(4096).unwrap();
        let mut frames = FrameReader::new(read, Prefix::U32Be, MAX).shortage_timeout(SHORT);
        let mut answers = FrameWriter::new(write, Prefix::U32Be).shortage_timeout(SHORT);
        let frame = framed(Prefix::U32Be, &pattern(1, BUDGET / 2));
        let part = if is_whole { frame.len() } else { BUDGET / 4 };
        let echoing = handle.spawn(async move {
            let payload = frames.next().await?.expect("a frame, not the end");
            answers.write(payload).await
        });
        let sending = {
            let (mut slow, frame) = (slow.try_clone().unwrap(), frame.clone());
            peer_thread(move || slow.write_all(&frame[..part]).unwrap())
        };
        drive(&mut reactor, sending.join());
        drive(&mut reactor, handle.sleep(4 * SHORT));
        assert!(!echoing.is_finished(), "given up, and nobody waits");

        let (stream, mut next) = drive(&mut reactor, stream_and_peer(&handle, Transport::Tcp));
        let mut waiting = FrameReader::new(stream.split().0, Prefix::U32Be, MAX);
        let sending = peer_thread(move || next.write_all(&frame).unwrap());
        let served = drive(&mut reactor, async {
            waiting.next().await.unwrap().map(<[u8]>::len)
        });
        assert_eq!(served, Some(BUDGET / 2));
        drive(&mut reactor, sending.join());
        let error = drive(&mut reactor, echoing).unwrap().unwrap_err();
        let FrameError::TimedOut { limit, moved, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(limit, TimeLimit::Shortage);
        assert!(moved > 0);
        slow.shutdown(Shutdown::Both).unwrap();
    }
}

/// Its peer has sent all of it, and the loop was held.
#[test]
fn a_frame_that_has_arrived_is_not_given_up_for_those_who_wait() {
    const BUDGET: usize = 2 << 20;
    let mut reactor = Reactor::builder().memory_budget(BUDGET).build().unwrap();
    let handle = reactor.handle();
    // No two of them at once, and more than one turn reads.
    let frame = framed(Prefix::U32Be, &pattern(1, BUDGET / 8 * 5));
    let (begin, rest) = frame.split_at(100_000);
    let read = |reactor: &mut Reactor| {
        let (stream, mut peer) = drive(reactor, stream_and_peer(&handle, Transport::Tcp));
        peer.write_all(begin).unwrap();
        drive(reactor, arrived_on(stream.socket(), begin.len()));
        let frames = FrameReader::new(stream.split().0, Prefix::U32Be, MAX);
        let mut frames = frames.shortage_timeout(SHORT);
        let reading =
            handle.spawn(async move { frames.next().await.map(|it| it.map(<[u8]>::len)) });
        settle(reactor);
        (reading, peer)
    };
    let (first, mut peer) = read(&mut reactor);
    let (second, mut next) = read(&mut reactor);
    peer.write_all(rest).unwrap();
    thread::sleep(2 * SHORT);
    let len = Some(frame.len() - 4);
    assert_eq!(drive(&mut reactor, first).unwrap().unwrap(), len);
    next.write_all(rest).unwrap();
    assert_eq!(drive(&mut reactor, second).unwrap().unwrap(), len);
}

/// Each answer waits for its peer, and not for long; all of them together do. They are
/// sent by calls of their own, or gathered.
#[test]
fn a_write_that_was_given_up_costs_the_next_no_time() {
    let mut reactor = Reactor::builder().memory_budget(1 << 20).build().unwrap();
    let handle = reactor.handle();
    drive(&mut reactor, async {
        let (stream, _peer) = stream_and_peer(&handle, Transport::Unix).await;
        while stream.socket().send(&[0; 1 << 16]).is_ok() {}
        let mut frames = FrameWriter::new(stream.split().1, Prefix::U32Be).shortage_timeout(SHORT);
        let payload = pattern(1, 100_000);
        assert!(
            poll_once(&mut pin!(frames.write(&payload)))
                .await
                .is_pending()
        );
        thread::sleep(2 * SHORT);
        yield_now().await;

        let _most = handle.lease(700_000).await.unwrap();
        let mut waits = pin!(handle.lease(700_000));
        assert!(poll_once(&mut waits).await.is_pending());
        assert!(
            poll_once(&mut pin!(frames.write(&payload)))
                .await
                .is_pending()
        );
    });
}

#[test]
fn answers_that_are_taken_in_time_are_never_given_up() {
    const LIMIT: Duration = Duration::from_secs(1);
    const ANSWERS: u32 = 30;
    let mut reactor = Reactor::builder().memory_budget(BUDGET).build().unwrap();
    let handle = reactor.handle();
    let _held = drive(&mut reactor, handle.lease(BUDGET / 2)).unwrap();
    let waiting = handle.spawn({
        let handle = handle.clone();
        async move { handle.lease(BUDGET / 2).await.map(drop) }
    });
    let start = Instant::now();
    let answering = [100_000, 8000].map(|len| {
        let (stream, mut peer) = drive(&mut reactor, stream_and_peer(&handle, Transport::Unix));
        stream.socket().set_send_buffer_size(32 << 10).unwrap();
        let reading = peer_thread(move || {
            let mut answer = vec![0; 4 + len];
            for _ in 0..ANSWERS {
                thread::sleep(2 * LIMIT / ANSWERS);
                peer.read_exact(&mut answer).unwrap();
            }
        });
        handle.spawn(async move {
            let half = stream.split().1;
            let mut answers = FrameWriter::new(half, Prefix::U32Be).shortage_timeout(LIMIT);
            for _ in 0..ANSWERS {
                answers.feed(&pattern(1, len)).await.unwrap();
            }
            answers.flush().await.unwrap();
            reading.join().await;
        })
    });
    for task in answering {
        drive(&mut reactor, task).unwrap();
    }
    assert!(start.elapsed() > LIMIT, "not put to the test");
    assert!(!waiting.is_finished(), "nobody waits for memory");
}

const MAX: usize = 64_000_000;
/// Room for one frame of half as many bytes, and not for two.
const BUDGET: usize = 16 << 20;
const SHORT: Duration = Duration::from_millis(200);
