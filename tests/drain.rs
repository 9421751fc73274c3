//! A drain ends every reader between two frames, and loses none that had arrived
//! or had begun to; who waits for it is woken.

mod support;

use std::cell::Cell;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use readinto::{Drain, FrameReader, FrameWriter, Prefix, Reactor, Stream};
use support::turns::{complete, settle, turn_now};
use support::{
    DEADLINE, Transport, arrived_on, assert_same, framed, over_each_transport, pattern,
    peer_thread, poll_once, reset, run, skipped, stream_and_peer, unread, yield_now,
};

const MAX: usize = 1 << 20;

fn reader(stream: Stream, drain: &Drain) -> FrameReader {
    FrameReader::new(stream.split().0, Prefix::U32Be, MAX).drain(drain)
}

#[test]
fn a_reader_between_two_frames_ends_at_once_and_for_good() {
    over_each_transport(async |handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        let drain = Drain::new();
        let mut frames = reader(stream, &drain);
        peer.write_all(&framed(Prefix::U32Be, b"before")).unwrap();
        assert_eq!(frames.next().await.unwrap(), Some(&b"before"[..]));

        let beginning = handle.spawn({
            let drain = drain.clone();
            async move { drain.begin() }
        });
        assert_eq!(frames.next().await.unwrap(), None);
        assert!(frames.is_drained());
        beginning.await.unwrap();

        peer.write_all(&framed(Prefix::U32Be, b"too late")).unwrap();
        arrived_on(frames.get_ref().socket(), 4).await;
        assert!(!frames.is_next_ready());
        assert_eq!(frames.next().await.unwrap(), None);
        assert_eq!(frames.next_len().await.unwrap(), None);
    });
}

/// The reader has been told by the kernel that there is nothing, and no turn has
/// said otherwise when the drain begins.
#[test]
fn frames_that_the_reactor_has_not_seen_yet_are_returned() {
    over_each_transport(async |handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        let drain = Drain::new();
        let mut frames = reader(stream, &drain);
        assert!(poll_once(&mut pin!(frames.next())).await.is_pending());

        let sent = [framed(Prefix::U32Be, b"one"), framed(Prefix::U32Be, b"two")].concat();
        peer.write_all(&sent).unwrap();
        while unread(&frames.get_ref().socket(), sent.len()) < sent.len() {}
        drain.begin();
        assert_eq!(frames.next().await.unwrap(), Some(&b"one"[..]));
        assert!(frames.is_next_ready());
        assert_eq!(frames.next().await.unwrap(), Some(&b"two"[..]));
        assert!(!frames.is_drained());
        assert_eq!(frames.next().await.unwrap(), None);
        assert!(frames.is_drained());
    });
}

/// It gives way when its budget is spent, with nothing read ahead just then.
#[test]
fn a_reader_that_gives_way_returns_what_has_arrived() {
    const FRAMES: usize = 2 * BUDGET / FRAME;
    const FRAME: usize = 1024;
    const BUDGET: usize = 256 * 1024;
    over_each_transport(async |handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        if transport == Transport::Unix {
            // What has arrived lies in the peer's buffer, as far as it goes.
            peer.set_send_buffer_size(1 << 20).unwrap();
            if peer.send_buffer_size().unwrap() < 2 << 20 {
                skipped(&format!("net.core.wmem_max is too small ({transport})"));
                return;
            }
        }
        let drain = Drain::new();
        let mut frames = reader(stream, &drain);
        let frame = framed(Prefix::U32Be, &pattern(1, FRAME - 4));
        let sent = frame.repeat(FRAMES);
        peer.write_all(&sent).unwrap();
        arrived_on(frames.get_ref().socket(), sent.len()).await;
        drain.begin();
        for _ in 0..FRAMES {
            assert_same(frames.next().await.unwrap().unwrap(), &frame[4..]);
        }
        assert_eq!(frames.next().await.unwrap(), None);
        assert!(handle.stats().budget_yields > 0);
    });
}

/// However much of it is there, and however it is read.
#[test]
fn a_frame_that_has_begun_to_arrive_is_returned() {
    over_each_transport(async |handle, transport| {
        for len in [9, 100_000] {
            let payload = pattern(len as u64, len);
            let bytes = framed(Prefix::U32Be, &payload);
            for (cut, by_next) in [(1, true), (4, true), (5, false), (7, true), (3, false)] {
                let (stream, mut peer) = stream_and_peer(&handle, transport).await;
                let drain = Drain::new();
                let mut frames = reader(stream, &drain);
                assert!(poll_once(&mut pin!(frames.next_len())).await.is_pending());
                peer.write_all(&bytes[..cut]).unwrap();
                arrived_on(frames.get_ref().socket(), cut).await;
                if cut % 2 == 0 {
                    // Seen before the drain, or only then.
                    assert!(poll_once(&mut pin!(frames.next())).await.is_pending());
                }
                drain.begin();
                assert!(poll_once(&mut pin!(frames.next())).await.is_pending());

                peer.write_all(&bytes[cut..]).unwrap();
                if by_next {
                    assert_same(frames.next().await.unwrap().unwrap(), &payload);
                } else {
                    assert_eq!(frames.next_len().await.unwrap(), Some(len));
                    let mut mine = vec![0; len];
                    frames.read_payload_into(&mut mine).await.unwrap();
                    assert_same(&mine, &payload);
                }
                assert_eq!(frames.next_len().await.unwrap(), None);
                assert!(frames.is_drained());
            }
        }
    });
}

/// For each frame that is taken another one is there.
#[test]
fn a_peer_that_never_pauses_does_not_put_off_the_end() {
    over_each_transport(async |handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        let drain = Drain::new();
        let mut frames = reader(stream, &drain);
        let frame = framed(Prefix::U32Be, &pattern(1, 10_000));
        let len = frame.len();
        peer.write_all(&frame.repeat(4)).unwrap();
        assert_same(frames.next().await.unwrap().unwrap(), &frame[4..]);
        drain.begin();
        let in_kernel = match transport {
            Transport::Tcp => frames.get_ref().socket().recv_buffer_size().unwrap(),
            Transport::Unix => 2 * most_that_can_be_sent(),
        };
        let most = frames.buffered() + in_kernel;
        let (mut taken, mut ended) = (0, false);
        while let Some(payload) = frames.next().await.unwrap() {
            assert_same(payload, &frame[4..]);
            taken += len;
            assert!(taken < most + len, "{taken} bytes of {most}");
            assert!(!ended, "another frame after the end");
            ended = frames.is_drained();
            peer.write_all(&frame).unwrap();
            arrived_on(frames.get_ref().socket(), len).await;
        }
        assert!(frames.is_drained());
        assert!(
            taken >= most,
            "not put to the test: {taken} bytes of {most}"
        );
    });
}

/// What it had read ahead by the end of the first is there for the second.
#[test]
fn a_reader_that_has_drained_may_follow_another_drain() {
    over_each_transport(async |handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        let drain = Drain::new();
        let mut frames = reader(stream, &drain);
        let frame = framed(Prefix::U32Be, &pattern(1, 100));
        // More than is taken once the drain has begun.
        let in_kernel = frames.get_ref().socket().recv_buffer_size().unwrap();
        let sent = 2 * (in_kernel + 2 * most_that_can_be_sent()) / frame.len();
        let sending = {
            let frames = frame.repeat(sent);
            peer_thread(move || peer.write_all(&frames).unwrap())
        };
        assert_same(frames.next().await.unwrap().unwrap(), &frame[4..]);
        drain.begin();
        let mut taken = 1;
        while frames.next().await.unwrap().is_some() {
            taken += 1;
        }
        assert!(frames.is_drained() && taken < sent);

        let mut frames = frames.drain(&Drain::new());
        let is_there = frames.buffered() >= frame.len();
        assert_eq!(frames.is_next_ready(), is_there);
        while let Some(payload) = frames.next().await.unwrap() {
            assert_same(payload, &frame[4..]);
            taken += 1;
        }
        assert_eq!(taken, sent);
        sending.join().await;
    });
}

/// The most that a program may ask for as `SO_SNDBUF`; the kernel doubles it.
fn most_that_can_be_sent() -> usize {
    let limit = fs::read_to_string("/proc/sys/net/core/wmem_max").unwrap();
    limit.trim().parse().unwrap()
}

#[test]
fn the_end_of_the_stream_is_not_the_end_of_the_drain() {
    over_each_transport(async |handle, transport| {
        let (stream, peer) = stream_and_peer(&handle, transport).await;
        let drain = Drain::new();
        let mut frames = reader(stream, &drain);
        drop(peer);
        assert_eq!(frames.next().await.unwrap(), None);
        assert!(!frames.is_drained());
    });
}

/// A connection that was accepted when the end had come already.
#[test]
fn a_reader_that_comes_late_returns_what_is_there() {
    over_each_transport(async |handle, transport| {
        let drain = Drain::new();
        drain.begin();
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        peer.write_all(&framed(Prefix::U32Be, b"quick")).unwrap();
        let mut frames = reader(stream, &drain);
        while unread(&frames.get_ref().socket(), 9) < 9 {}
        assert_eq!(frames.next().await.unwrap(), Some(&b"quick"[..]));
        assert_eq!(frames.next().await.unwrap(), None);
        drain.begun().await;
    });
}

/// All of them are woken, each once, and nobody else's place is disturbed by who
/// has stopped waiting.
#[test]
fn who_waits_is_woken() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let drain = Drain::new();
    let woken = Rc::new(Cell::new(0));
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let (drain, woken) = (drain.clone(), woken.clone());
            handle.spawn(async move {
                drain.begun().await;
                woken.set(woken.get() + 1);
            })
        })
        .collect();
    settle(&mut reactor);
    waiting.iter().step_by(3).for_each(|task| task.abort());
    settle(&mut reactor);
    drain.begin();
    let turn = turn_now(&mut reactor);
    assert_eq!((turn.tasks, woken.get()), (66, 66));
    settle(&mut reactor);
    assert_eq!(woken.get(), 66);
    complete(drain.begun());
}

#[test]
fn a_guard_is_counted_until_it_is_dropped() {
    let drain = Drain::new();
    complete(drain.finished());
    let mut guards: Vec<_> = (0..3).map(|_| drain.enter()).collect();
    assert_eq!((drain.active(), drain.unsettled()), (3, 3));
    guards[0].settle();
    guards[0].settle();
    guards[1].settle();
    assert_eq!((drain.active(), drain.unsettled()), (3, 1));
    drop(guards.remove(0));
    assert_eq!((drain.active(), drain.unsettled()), (2, 1));
    guards.pop();
    assert_eq!((drain.active(), drain.unsettled()), (1, 0));
    guards.pop();
    assert_eq!((drain.active(), drain.unsettled()), (0, 0));
    complete(drain.finished());
}

#[test]
fn who_waits_for_room_gets_it_when_one_leaves() {
    let mut reactor = Reactor::new().unwrap();
    let drain = Drain::new();
    let mut guards: Vec<_> = (0..3).map(|_| drain.enter()).collect();
    complete(drain.fewer_than(4));
    let room = reactor.handle().spawn({
        let drain = drain.clone();
        async move { drain.fewer_than(2).await }
    });
    settle(&mut reactor);
    guards.pop();
    settle(&mut reactor);
    assert!(!room.is_finished());
    guards.pop();
    assert_eq!(turn_now(&mut reactor).tasks, 1);
    assert!(room.is_finished());
    drop(guards);
    assert_eq!(turn_now(&mut reactor).tasks, 0);
}

/// As where each of several listeners waits for room before it accepts, and once more.
#[test]
fn of_several_who_enter_as_soon_as_there_is_room_one_gets_it() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let drain = Drain::new();
    let guard = drain.enter();
    let entered = Rc::new(Cell::new(0));
    for _ in 0..3 {
        let (drain, entered) = (drain.clone(), entered.clone());
        drop(handle.spawn(async move {
            drain.fewer_than(1).await;
            let guard = drain.enter();
            assert_eq!(drain.active(), 1);
            entered.set(entered.get() + 1);
            yield_now().await;
            drop(guard);
        }));
    }
    settle(&mut reactor);
    drop(guard);
    turn_now(&mut reactor);
    assert_eq!(entered.get(), 1);
    settle(&mut reactor);
    assert_eq!(entered.get(), 3);
}

/// Nothing that the peer still sends keeps the last answer from it.
#[test]
fn an_answer_is_not_lost_to_what_the_peer_still_sends() {
    over_each_transport(async |handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        let drain = Drain::new();
        let (read, write) = stream.split();
        let mut frames = FrameReader::new(read, Prefix::U32Be, MAX).drain(&drain);
        let mut answers = FrameWriter::new(write, Prefix::U32Be);
        let busy = peer_thread(move || {
            peer.write_all(&framed(Prefix::U32Be, b"a question"))
                .unwrap();
            peer.write_all(&vec![0; 10_000_000]).unwrap();
            let mut answer = Vec::new();
            peer.read_to_end(&mut answer).unwrap();
            answer
        });
        assert_eq!(frames.next().await.unwrap(), Some(&b"a question"[..]));
        drain.begin();
        answers.feed(b"the answer").await.unwrap();
        frames.linger(answers, DEADLINE).await.unwrap();
        assert_same(&busy.join().await, &framed(Prefix::U32Be, b"the answer"));
    });
}

#[test]
fn who_lingers_keeps_no_memory_from_others() {
    run(async |handle| {
        let (stream, mut peer) = stream_and_peer(&handle, Transport::Tcp).await;
        let (read, write) = stream.split();
        let mut frames = FrameReader::new(read, Prefix::U32Be, MAX);
        let answers = FrameWriter::new(write, Prefix::U32Be);
        peer.write_all(&framed(Prefix::U32Be, &pattern(1, 100_000)))
            .unwrap();
        assert_eq!(frames.next().await.unwrap().map(<[u8]>::len), Some(100_000));
        assert!(handle.stats().memory_lent >= 100_000);
        let mut lingering = pin!(frames.linger(answers, DEADLINE));
        assert!(poll_once(&mut lingering).await.is_pending());
        assert_eq!(handle.stats().memory_lent, 0);
    });
}

#[test]
fn lingering_ends_with_what_the_kernel_says_or_with_its_time() {
    run(async |handle| {
        let (stream, peer) = stream_and_peer(&handle, Transport::Tcp).await;
        let (frames, answers) = reader_and_writer(stream);
        let mut lingering = pin!(frames.linger(answers, DEADLINE));
        assert!(poll_once(&mut lingering).await.is_pending());
        reset(peer);
        let error = lingering.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);

        let (stream, mut peer) = stream_and_peer(&handle, Transport::Tcp).await;
        let (frames, answers) = reader_and_writer(stream);
        frames
            .linger(answers, Duration::from_millis(10))
            .await
            .unwrap();
        assert_eq!(peer.read(&mut [0]).unwrap(), 0, "its socket is open");
    });
}

fn reader_and_writer(stream: Stream) -> (FrameReader, FrameWriter) {
    let (read, write) = stream.split();
    (
        FrameReader::new(read, Prefix::U32Be, MAX),
        FrameWriter::new(write, Prefix::U32Be),
    )
}

/// A bug that panics costs its own connection, and no other; nor does anybody wait
/// for it when the service ends.
#[test]
fn a_connection_that_panics_harms_nobody_else() {
    over_each_transport(async |handle, transport| {
        let drain = Drain::new();
        let mut peers = Vec::new();
        for _ in 0..3 {
            let (stream, peer) = stream_and_peer(&handle, transport).await;
            let guard = drain.enter();
            let mut frames = reader(stream, &drain);
            drop(handle.spawn(async move {
                let _guard = guard;
                while let Some(payload) = frames.next().await.expect("whole frames") {
                    assert_ne!(payload, b"a bug", "as was asked for");
                }
            }));
            peers.push(peer);
        }
        peers[1]
            .write_all(&framed(Prefix::U32Be, b"a bug"))
            .unwrap();
        drain.fewer_than(3).await;
        assert_eq!(peers[1].read(&mut [0]).unwrap(), 0, "its socket is open");
        for peer in [0, 2] {
            peers[peer]
                .write_all(&framed(Prefix::U32Be, b"fine"))
                .unwrap();
        }
        drain.begin();
        drain.finished().await;
    });
}
