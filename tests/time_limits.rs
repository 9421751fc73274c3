//! A peer that is silent, or slow with a frame, is given up by the limit that was set and by
//! no other; and nothing is lost that can be kept.

mod support;

use std::cell::Cell;
use std::io::Write;
use std::pin::pin;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use readinto::{FrameError, FrameReader, Handle, Prefix, Reactor, Stream, TimeLimit};
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
        // Longer than any pause of the sender's, and shorter than all of them.
        let limit = Duration::from_secs(1);
        let mut frames = FrameReader::new(stream.split().0, Prefix::U32Be, MAX)
            .idle_timeout(limit)
            .frame_timeout(limit);
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
                thread::sleep(limit / 25);
            }
        });
        let start = Instant::now();
        for _ in 0..3 * each {
            assert_eq!(frames.next().await.unwrap(), Some(&b"in time"[..]));
        }
        assert!(start.elapsed() > limit, "not put to the test");
        sending.join().await;
    });
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

const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(60);
