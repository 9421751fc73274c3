//! A peer that is silent, slow or deaf is given up, by the limit that was set and
//! by no other; and nothing is lost that can be kept.

mod support;

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::pin::pin;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use readinto::{FrameError, FrameReader, FrameWriter, Handle, Prefix, Reactor, Stream, TimeLimit};
use support::turns::{drive, settle, turn_now};
use support::{
    Transport, arrived_on, connect_blocking, framed, listen, over_each_transport, pattern,
    peer_thread, poll_once, run, skipped, stream_and_peer, yield_now,
};

const MAX: usize = 64_000_000;

/// What a task may move in one turn.
const TURN: usize = 256 * 1024;

#[test]
fn a_silent_peer_is_given_up_after_the_idle_timeout_and_may_come_back() {
    over_each_transport(async |handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        let mut frames = FrameReader::new(stream.split().0, Prefix::U32Be, MAX).idle_timeout(SHORT);
        for _ in 0..2 {
            let start = Instant::now();
            let error = frames.next().await.unwrap_err();
            assert_timed_out(&error, TimeLimit::Idle, 0);
            assert!(start.elapsed() > SHORT / 2, "not a whole wait again");
        }
        peer.write_all(&framed(Prefix::U32Be, b"late")).unwrap();
        assert_eq!(frames.next().await.unwrap(), Some(&b"late"[..]));
    });
}

/// Time that passes while no turn runs is not this wait's.
#[test]
fn a_wait_begins_when_it_begins_also_in_a_block_on_of_its_own() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let mut reader = || {
        let (stream, peer) = drive(&mut reactor, stream_and_peer(&handle, Transport::Tcp));
        let frames = FrameReader::new(stream.split().0, Prefix::U32Be, MAX);
        (frames.idle_timeout(SHORT), peer)
    };
    let (mut first, _peer) = reader();
    let (mut second, _peer) = reader();
    reactor
        .block_on(async { assert!(poll_once(&mut pin!(first.next())).await.is_pending()) })
        .unwrap();
    thread::sleep(SHORT);
    let start = Instant::now();
    let ended = reactor.block_on(second.next()).unwrap();
    assert_timed_out(&ended.unwrap_err(), TimeLimit::Idle, 0);
    assert!(start.elapsed() > SHORT / 2, "{:?}", start.elapsed());
}

/// Nor is the time before it in its own turn.
#[test]
fn a_wait_begins_when_it_begins_also_behind_a_long_computation() {
    run(async |handle| {
        let (stream, _peer) = stream_and_peer(&handle, Transport::Tcp).await;
        let mut frames = FrameReader::new(stream.split().0, Prefix::U32Be, MAX).idle_timeout(SHORT);
        let waiting = handle.spawn(async move {
            thread::sleep(2 * SHORT);
            let start = Instant::now();
            let error = frames.next().await.unwrap_err();
            assert_timed_out(&error, TimeLimit::Idle, 0);
            assert!(start.elapsed() > SHORT / 2, "{:?}", start.elapsed());
        });
        waiting.await.unwrap();
    });
}

/// A frame, or the rest of one, has arrived in time; its reader has spent its turn on
/// something else.
#[test]
fn a_reader_that_gives_way_does_not_blame_its_peer() {
    for begun in [0, 6] {
        run(async |handle| {
            let (stream, mut peer) = stream_and_peer(&handle, Transport::Tcp).await;
            let mut frames = FrameReader::new(stream.split().0, Prefix::U32Be, MAX)
                .idle_timeout(SHORT)
                .frame_timeout(SHORT);
            let (mut other, mut flood) = stream_and_peer(&handle, Transport::Tcp).await;
            flood.write_all(&vec![0; TURN]).unwrap();
            arrived_on(other.socket(), TURN).await;
            let frame = framed(Prefix::U32Be, b"in time");
            let (begin, end) = frame.split_at(begun);
            peer.write_all(begin).unwrap();
            arrived_on(frames.get_ref().socket(), begin.len()).await;
            assert!(poll_once(&mut pin!(frames.next())).await.is_pending());
            assert_eq!(frames.buffered(), begin.len());
            peer.write_all(end).unwrap();
            arrived_on(frames.get_ref().socket(), end.len()).await;
            thread::sleep(2 * SHORT);
            yield_now().await;

            let mut block = vec![0; TURN];
            other.read_exact_into(&mut block).await.unwrap();
            assert!(poll_once(&mut pin!(frames.next())).await.is_pending());
            assert_eq!(frames.next().await.unwrap(), Some(&b"in time"[..]));
        });
    }
}

/// A poll of the kernel tells of so many sockets; the others' bytes have come in time, too.
#[test]
fn a_peer_is_not_blamed_for_an_event_that_is_yet_to_come() {
    const PEERS: usize = 1100;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if most < 3 * PEERS as u64 {
        return skipped("too few files may be open here (ulimit -Hn)");
    }
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    run(async |handle| {
        let (listener, _folder) = listen(&handle, Transport::Unix);
        let (mut streams, mut peers) = (Vec::new(), Vec::new());
        for _ in 0..PEERS {
            peers.push(connect_blocking(&listener.local_address()));
            streams.push(listener.accept().await.unwrap());
        }
        let read = |stream: Stream| {
            let frames = FrameReader::new(stream.split().0, Prefix::U32Be, MAX);
            let mut frames = frames.idle_timeout(SHORT);
            handle.spawn(async move { frames.next().await.map(|frame| frame.is_some()) })
        };
        let reading: Vec<_> = streams.into_iter().map(read).collect();
        yield_now().await;
        for peer in &mut peers {
            peer.write_all(&framed(Prefix::U32Be, b"in time")).unwrap();
        }
        thread::sleep(2 * SHORT);
        for frame in reading {
            assert!(frame.await.unwrap().unwrap());
        }
    });
}

/// Bytes that arrive do not renew the time of a frame, wherever they fall.
#[test]
fn a_frame_that_drips_is_given_up_after_the_frame_timeout() {
    over_each_transport(async |handle, transport| {
        for len in [100, 1_000_000] {
            let (stream, mut peer) = stream_and_peer(&handle, transport).await;
            let mut frames = FrameReader::new(stream.split().0, Prefix::U32Be, MAX)
                .idle_timeout(LONG)
                .frame_timeout(SHORT);
            let dripping = peer_thread(move || {
                for byte in framed(Prefix::U32Be, &pattern(1, len)) {
                    // The reader hangs up in the middle.
                    if peer.write_all(&[byte]).is_err() {
                        return;
                    }
                    thread::sleep(SHORT / 10);
                }
                panic!("nobody has stopped it");
            });
            let start = Instant::now();
            let error = frames.next().await.unwrap_err();
            assert!(start.elapsed() < 5 * SHORT, "{:?}", start.elapsed());
            let FrameError::TimedOut { limit, moved, .. } = error else {
                panic!("{error}");
            };
            assert_eq!(limit, TimeLimit::Frame);
            assert!((1..100).contains(&moved), "{moved}");
            assert_eq!(moved, frames.buffered());
            drop(frames);
            dripping.join().await;
        }
    });
}

/// The time of a frame goes on over its prefix, its payload, and calls that are
/// dropped in between.
#[test]
fn the_time_of_a_frame_is_one_for_all_of_its_parts() {
    run(async |handle| {
        let (stream, mut peer) = stream_and_peer(&handle, Transport::Tcp).await;
        let mut frames =
            FrameReader::new(stream.split().0, Prefix::U32Be, MAX).frame_timeout(2 * SHORT);
        peer.write_all(&[0]).unwrap();
        assert!(handle.timeout(SHORT, frames.next_len()).await.is_err());
        peer.write_all(&[0, 0, 4]).unwrap();
        assert_eq!(frames.next_len().await.unwrap(), Some(4));
        let start = Instant::now();
        let error = frames.read_payload_into(&mut [0; 4]).await.unwrap_err();
        assert_timed_out(&error, TimeLimit::Frame, 4);
        assert!(start.elapsed() < 2 * SHORT, "it began anew");

        // It can still be read, if it is there.
        peer.write_all(b"late").unwrap();
        arrived_on(frames.get_ref().socket(), 4).await;
        let mut late = [0; 4];
        frames.read_payload_into(&mut late).await.unwrap();
        assert_eq!(&late, b"late");
    });
}

/// Each of the two has a time of its own: a long one for the frame is none for the
/// silence behind it.
#[test]
fn the_idle_time_begins_where_the_frame_ends() {
    run(async |handle| {
        let (stream, mut peer) = stream_and_peer(&handle, Transport::Tcp).await;
        let mut frames = FrameReader::new(stream.split().0, Prefix::U32Be, MAX)
            .idle_timeout(SHORT)
            .frame_timeout(LONG);
        let frame = framed(Prefix::U32Be, b"in two parts");
        let (begin, end) = frame.split_at(6);
        peer.write_all(begin).unwrap();
        arrived_on(frames.get_ref().socket(), begin.len()).await;
        assert!(poll_once(&mut pin!(frames.next())).await.is_pending());
        assert_eq!(frames.buffered(), begin.len());
        peer.write_all(end).unwrap();
        assert_eq!(frames.next().await.unwrap(), Some(&b"in two parts"[..]));
        let error = frames.next().await.unwrap_err();
        assert_timed_out(&error, TimeLimit::Idle, 0);
    });
}

/// Neither in two parts, nor whole, nor each with the beginning of the next.
#[test]
fn frames_in_time_are_never_given_up() {
    run(async |handle| {
        let (stream, mut peer) = stream_and_peer(&handle, Transport::Tcp).await;
        let mut frames = FrameReader::new(stream.split().0, Prefix::U32Be, MAX)
            .idle_timeout(SHORT)
            .frame_timeout(SHORT);
        let frame = framed(Prefix::U32Be, b"in time");
        let each = 10;
        let sending = peer_thread(move || {
            let (begin, end) = frame.split_at(6);
            let across = [end, begin].concat();
            let parts = [
                [begin, end].repeat(each),
                vec![&frame; each],
                vec![begin],
                vec![&across; each - 1],
                vec![end],
            ];
            for part in parts.iter().flatten() {
                peer.write_all(part).unwrap();
                thread::sleep(SHORT / 5);
            }
        });
        for _ in 0..3 * each {
            assert_eq!(frames.next().await.unwrap(), Some(&b"in time"[..]));
        }
        sending.join().await;
    });
}

#[test]
fn a_peer_that_takes_nothing_is_given_up_and_the_stream_is_poisoned() {
    over_each_transport(async |handle, transport| {
        let (stream, peer) = stream_and_peer(&handle, transport).await;
        let mut frames = FrameWriter::new(stream.split().1, Prefix::U32Be).stall_timeout(SHORT);
        let error = frames.write(&pattern(1, MAX)).await.unwrap_err();
        let FrameError::TimedOut { limit, moved, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(limit, TimeLimit::Stall);
        assert!((1..MAX).contains(&moved), "{moved}");
        let after = frames.write(b"more").await.unwrap_err();
        assert!(
            matches!(after, FrameError::Poisoned { moved: sent, .. } if sent == moved),
            "{after}"
        );
        drop(peer);
    });
}

/// Frames that were gathered, to a peer that takes nothing.
#[test]
fn a_flush_that_stalls_can_be_called_again() {
    run(async |handle| {
        let (stream, mut peer) = stream_and_peer(&handle, Transport::Unix).await;
        let mut frames = FrameWriter::new(stream.split().1, Prefix::U32Be).stall_timeout(SHORT);
        let frame = pattern(1, 8000);
        let mut sent = 0;
        let error = loop {
            match frames.feed(&frame).await {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, FrameError::TimedOut { .. }), "{error}");
        let start = Instant::now();
        assert!(frames.flush().await.is_err());
        assert!(start.elapsed() > SHORT / 2, "not a whole wait again");
        let reading = peer_thread(move || {
            let mut answer = vec![0; sent * (4 + 8000)];
            peer.read_exact(&mut answer).unwrap();
            answer
        });
        frames.flush().await.unwrap();
        let whole = framed(Prefix::U32Be, &frame).repeat(sent);
        assert!(reading.join().await == whole, "not what was fed");
    });
}

/// A slow reader that goes on reading is not stalled, also while what it has read is too
/// little for the kernel to report the socket writable.
#[test]
fn a_peer_that_takes_little_at_a_time_is_not_given_up() {
    const LIMIT: Duration = Duration::from_millis(500);
    const ALL: usize = 16_000_000;
    over_each_transport(async |handle, transport| {
        // Sent by calls of its own, and gathered.
        for len in [ALL, 8000] {
            let (stream, mut peer) = stream_and_peer(&handle, transport).await;
            let mut frames = FrameWriter::new(stream.split().1, Prefix::U32Be).stall_timeout(LIMIT);
            let reading = peer_thread(move || {
                let mut some = vec![0; 10_000];
                for _ in 0..100 {
                    peer.read_exact(&mut some).unwrap();
                    thread::sleep(LIMIT / 50);
                }
                while peer.read(&mut some).unwrap() > 0 {}
            });
            let start = Instant::now();
            let payload = pattern(1, len);
            for _ in 0..ALL / len {
                frames.feed(&payload).await.unwrap();
            }
            frames.flush().await.unwrap();
            assert!(start.elapsed() > LIMIT, "not put to the test");
            drop(frames);
            reading.join().await;
        }
    });
}

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

/// A limit that does not pass wakes nobody: thousands of frames go by, and the
/// timer that was armed for the first one is still the only one.
#[test]
fn a_limit_that_does_not_pass_costs_one_timer() {
    let mut reactor = Reactor::new().unwrap();
    let handle: Handle = reactor.handle();
    let (stream, mut peer) = drive(&mut reactor, stream_and_peer(&handle, Transport::Tcp));
    let hour = Duration::from_secs(3600);
    let mut frames = FrameReader::new(stream.split().0, Prefix::U32Be, MAX)
        .idle_timeout(hour)
        .frame_timeout(hour);
    let read = Rc::new(Cell::new(0));
    let count = read.clone();
    drop(handle.spawn(async move {
        while frames.next().await.unwrap().is_some() {
            count.set(count.get() + 1);
        }
    }));
    settle(&mut reactor);
    let first = turn_now(&mut reactor).next_deadline;
    assert!(first.is_some());
    for round in 1..=1000 {
        peer.write_all(&framed(Prefix::U32Be, b"again")).unwrap();
        while read.get() < round {
            reactor.turn(Some(Duration::from_millis(10))).unwrap();
        }
        assert_eq!(turn_now(&mut reactor).next_deadline, first);
    }
}

#[track_caller]
fn assert_timed_out(error: &FrameError, expected: TimeLimit, bytes: usize) {
    match error {
        FrameError::TimedOut { limit, moved, .. } => {
            assert_eq!((*limit, *moved), (expected, bytes));
        }
        other => panic!("{other}"),
    }
}

/// Room for one frame of half as many bytes, and not for two.
const BUDGET: usize = 16 << 20;
const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(60);
