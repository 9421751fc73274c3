//! All connections of a reactor share one budget of memory: frames that don't
//! fit wait their turn, and memory alone makes nobody wait in a circle.

mod support;

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake};
use std::thread;
use std::time::Duration;

use readinto::{FrameError, FrameReader, FrameWriter, Handle, JoinHandle, Prefix, Reactor, Stream};
use socket2::Socket;
use support::turns::{drive, settle};
use support::{
    PeerThread, Transport, arrived_on, assert_same, framed, header, pattern, peer_thread, run,
    stream_and_peer, with_budget, yield_now,
};

const PREFIX: Prefix = Prefix::U32Be;
const MEBIBYTE: usize = 1 << 20;
const MAX: usize = 256 * MEBIBYTE;

#[test]
fn a_budget_too_small_to_work_with_is_refused() {
    let built = Reactor::builder().memory_budget(128 * 1024 - 1).build();
    let error = built.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("131072"), "{error}");
    Reactor::builder()
        .memory_budget(128 * 1024)
        .build()
        .unwrap();
}

#[test]
fn ten_long_frames_at_once_complete_in_turn_within_the_budget() {
    const LEN: usize = 20_000_000;
    const BUDGET: usize = 64 * MEBIBYTE;
    // What this thread allocates is the reactor's, but for some sockets.
    let info = allocation_counter::measure(|| {
        let mut reactor = Reactor::builder().memory_budget(BUDGET).build().unwrap();
        let handle = reactor.handle();
        let clients: Vec<PeerThread<()>> = (0..10)
            .map(|number| {
                let (stream, peer) = drive(&mut reactor, stream_and_peer(&handle, Transport::Tcp));
                drop(handle.spawn(echo(stream)));
                peer_thread(move || ask(peer, &pattern(number, LEN)))
            })
            .collect();
        drive(&mut reactor, async {
            for client in clients {
                client.join().await;
            }
        });
    });
    let most = info.bytes_max as usize;
    assert!(most <= BUDGET, "{most} bytes");
    assert!(most >= LEN, "not put to the test by {most} bytes");
}

#[test]
fn a_frame_that_can_never_fit_is_an_error_and_can_be_read_elsewhere() {
    with_budget(MEBIBYTE, async |handle| {
        let (stream, mut peer) = stream_and_peer(&handle, Transport::Tcp).await;
        let mut reader = FrameReader::new(stream.split().0, PREFIX, MAX);
        let payload = pattern(1, MEBIBYTE);
        let longest = MEBIBYTE / 4 * 3;
        let (frame, fits) = (
            framed(PREFIX, &payload),
            framed(PREFIX, &payload[..longest]),
        );
        let writing = peer_thread(move || {
            peer.write_all(&frame).unwrap();
            peer.write_all(&fits).unwrap();
        });
        for _ in 0..2 {
            let error = reader.next().await.unwrap_err();
            assert!(
                matches!(error, FrameError::OverBudget { len: MEBIBYTE, longest: l, .. } if l == longest),
                "{error}"
            );
        }
        let mut mine = vec![0; reader.next_len().await.unwrap().unwrap()];
        reader.read_payload_into(&mut mine).await.unwrap();
        assert_same(&mine, &payload);
        assert_same(reader.next().await.unwrap().unwrap(), &payload[..longest]);
        writing.join().await;
    });
}

#[test]
fn who_waits_is_served_in_the_order_of_arrival() {
    with_budget(MEBIBYTE, async |handle| {
        // One frame takes more than half of the room, so it is one at a time.
        let frame = framed(PREFIX, &pattern(2, 500_000));
        let (first, _peer) = reader_of(&handle, &frame).await;
        let (mut first, served) = (first, Rc::new(RefCell::new(Vec::new())));
        first.next().await.unwrap().unwrap();

        let mut peers = Vec::new();
        let mut tasks = Vec::new();
        for number in 0..5 {
            let (mut reader, peer) = reader_of(&handle, &frame).await;
            peers.push(peer);
            let served = served.clone();
            tasks.push(handle.spawn(async move {
                reader.next().await.unwrap().unwrap();
                served.borrow_mut().push(number);
            }));
            // Until it has asked for room.
            for _ in 0..20 {
                yield_now().await;
            }
        }
        assert!(served.borrow().is_empty());
        drop(first);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*served.borrow(), [0, 1, 2, 3, 4]);
    });
}

#[test]
fn who_gives_up_waiting_lets_the_next_one_on_and_can_come_back() {
    with_budget(MEBIBYTE, async |handle| {
        let payload = pattern(3, 500_000);
        let frame = framed(PREFIX, &payload);
        let (mut first, _peer) = reader_of(&handle, &frame).await;
        first.next().await.unwrap().unwrap();
        let (mut second, _peer) = reader_of(&handle, &frame).await;
        let (mut third, _peer) = reader_of(&handle, &frame).await;

        let short = Duration::from_millis(20);
        assert!(handle.timeout(short, second.next()).await.is_err());
        let waiting = handle.spawn(async move {
            third.next().await.unwrap().unwrap();
            third
        });
        assert!(handle.timeout(short, second.next()).await.is_err());
        drop(first);
        // The second is not waiting, so it is not in the way.
        let third = waiting.await.unwrap();
        assert!(handle.timeout(short, second.next()).await.is_err());
        drop(third);
        assert_same(second.next().await.unwrap().unwrap(), &payload);
    });
}

#[test]
fn halves_of_frames_that_fill_the_budget_stop_nobody_for_ever() {
    with_budget(4 * MEBIBYTE, async |handle| {
        let payload = pattern(4, 2 * MEBIBYTE);
        let frame = framed(PREFIX, &payload);
        let mut writing = Vec::new();
        // Together their halves are twice the budget.
        for _ in 0..8 {
            let (stream, mut peer) = stream_and_peer(&handle, Transport::Tcp).await;
            drop(handle.spawn(echo(stream)));
            let frame = frame.clone();
            writing.push(peer_thread(move || {
                let (begin, rest) = frame.split_at(MEBIBYTE);
                peer.write_all(begin).unwrap();
                thread::sleep(Duration::from_millis(50));
                peer.write_all(rest).unwrap();
                let mut answer = vec![0; frame.len()];
                peer.read_exact(&mut answer).unwrap();
                assert_same(&answer, &frame);
            }));
        }
        for peer in writing {
            peer.join().await;
        }
    });
}

#[test]
fn many_idle_connections_need_no_memory() {
    // Two blocks, and fifty connections that have each had a frame.
    with_budget(128 * 1024, async |handle| {
        let mut peers = Vec::new();
        for number in 0..50 {
            let (stream, peer) = stream_and_peer(&handle, Transport::Tcp).await;
            drop(handle.spawn(echo(stream)));
            peers.push(peer_thread(move || {
                ask(peer.try_clone().unwrap(), &pattern(number, 100));
                peer
            }));
        }
        let mut connections = Vec::new();
        for peer in peers {
            connections.push(peer.join().await);
        }
        for (number, peer) in (100..).zip(connections) {
            peer_thread(move || ask(peer, &pattern(number, 100)))
                .join()
                .await;
        }
    });
}

#[test]
fn frames_that_are_begun_and_hold_every_block_stop_nobody() {
    with_budget(128 * 1024, async |handle| {
        let _holding = hold_every_block(&handle).await;

        // A small frame, a long one, one into the caller's buffer, and the end.
        let payload = pattern(5, 50_000);
        let (mut reader, mut peer) = reader_of(&handle, &framed(PREFIX, &payload[..100])).await;
        assert_eq!(reader.next().await.unwrap(), Some(&payload[..100]));
        let frame = framed(PREFIX, &payload).repeat(2);
        let writing = peer_thread(move || peer.write_all(&frame).unwrap());
        assert_same(reader.next().await.unwrap().unwrap(), &payload);
        let mut mine = vec![0; reader.next_len().await.unwrap().unwrap()];
        reader.read_payload_into(&mut mine).await.unwrap();
        assert_same(&mine, &payload);
        writing.join().await;
        assert_eq!(reader.next().await.unwrap(), None);
    });
}

#[test]
fn who_waited_for_memory_and_then_for_its_peer_is_in_nobodys_way() {
    with_budget(128 * 1024, async |handle| {
        let holding = hold_every_block(&handle).await;
        let (mut first, _peer) = reader_of(&handle, &framed(PREFIX, &pattern(9, 90_000))).await;
        first.next().await.unwrap().unwrap();
        // For want of a block it waits for a buffer.
        let begun = &framed(PREFIX, &pattern(9, 10_000))[..50];
        let (mut slow, _slow_peer) = reader_of(&handle, begun).await;
        drop(handle.spawn(async move { slow.next().await.map(|_| ()) }));
        yield_now().await;
        assert_eq!(handle.stats().memory_waits, 1);
        // Now there are blocks, and then there is room for a buffer.
        for (task, peer) in holding {
            drop(peer);
            task.await.unwrap();
        }
        drop(first);
        yield_now().await;
        let payload = pattern(10, 20_000);
        let (mut third, _peer) = reader_of(&handle, &framed(PREFIX, &payload)).await;
        assert_same(third.next().await.unwrap().unwrap(), &payload);
    });
}

#[test]
fn a_claim_to_all_there_could_be_takes_nothing_where_there_is_no_budget() {
    run(async |handle| {
        let claim = u64::MAX.to_be_bytes();
        let (stream, mut peer) = stream_and_peer(&handle, Transport::Tcp).await;
        peer.write_all(&claim).unwrap();
        let mut greedy = FrameReader::new(stream.split().0, Prefix::U64Be, usize::MAX);
        drop(handle.spawn(async move { greedy.next().await.map(|_| ()) }));
        yield_now().await;
        assert_eq!(handle.stats().memory_lent, u64::MAX);
        let payload = pattern(11, 20_000);
        let (mut other, _peer) = reader_of(&handle, &framed(PREFIX, &payload)).await;
        assert_same(other.next().await.unwrap().unwrap(), &payload);
        let stats = handle.stats();
        assert_eq!(stats.plus(&stats).memory_lent, u64::MAX);
    });
}

#[test]
fn tasks_that_feed_and_then_read_do_not_wait_for_each_other() {
    with_budget(128 * 1024, async |handle| {
        let mut tasks = Vec::new();
        let mut peers = Vec::new();
        for _ in 0..4 {
            let (stream, peer) = stream_and_peer(&handle, Transport::Tcp).await;
            let (read, write) = stream.split();
            peers.push(peer);
            tasks.push(handle.spawn(async move {
                let mut answers = FrameWriter::new(write, PREFIX);
                let mut questions = FrameReader::new(read, PREFIX, MAX);
                answers.feed(b"not flushed yet").await.unwrap();
                questions.next().await.unwrap().unwrap();
                answers.flush().await.unwrap();
            }));
        }
        yield_now().await;
        for peer in &mut peers {
            peer.write_all(&framed(PREFIX, b"go on")).unwrap();
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn a_writer_that_finds_no_memory_sends_without() {
    with_budget(128 * 1024, async |handle| {
        let _holding = hold_every_block(&handle).await;
        let (stream, mut peer) = stream_and_peer(&handle, Transport::Tcp).await;
        let mut writer = FrameWriter::new(stream.split().1, PREFIX);
        writer.feed(b"at once").await.unwrap();
        let mut got = [0; 11];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(&got[4..], b"at once");
    });
}

#[test]
fn a_claim_takes_no_room_from_others() {
    // A few long ones, and many that are a small part of the budget each.
    for (len, count) in [(6 * MEBIBYTE, 50), (MEBIBYTE / 8, 100)] {
        with_budget(8 * MEBIBYTE, async |handle| {
            let claim = [&header(PREFIX, len as u64)[..], b"abc"].concat();
            let mut claims = Vec::new();
            for _ in 0..count {
                let (mut reader, peer) = reader_of(&handle, &claim).await;
                let task =
                    handle.spawn(async move { reader.next().await.map(|frame| frame.is_some()) });
                claims.push((task, peer));
            }
            for _ in 0..20 {
                yield_now().await;
            }
            let payload = pattern(7, 6 * MEBIBYTE);
            let (stream, peer) = stream_and_peer(&handle, Transport::Tcp).await;
            drop(handle.spawn(echo(stream)));
            peer_thread(move || ask(peer, &payload)).join().await;
        });
    }
}

#[test]
fn who_waits_when_the_reactor_goes_is_told() {
    let mut reactor = Reactor::builder().memory_budget(MEBIBYTE).build().unwrap();
    let handle = reactor.handle();
    let frame = framed(PREFIX, &pattern(8, 500_000));
    let (mut first, _peer) = drive(&mut reactor, reader_of(&handle, &frame));
    drive(&mut reactor, async {
        first.next().await.unwrap().unwrap();
    });
    let (mut second, _peer) = drive(&mut reactor, reader_of(&handle, &frame));
    let woken = Arc::new(CountWakes::default());
    let waker = woken.clone().into();
    let mut context = Context::from_waker(&waker);
    let mut waiting = pin!(second.next());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    settle(&mut reactor);
    assert!(waiting.as_mut().poll(&mut context).is_pending());

    let before = woken.0.load(Ordering::Relaxed);
    drop(reactor);
    assert!(woken.0.load(Ordering::Relaxed) > before, "nobody told it");
    let Poll::Ready(Err(error)) = waiting.as_mut().poll(&mut context) else {
        panic!("it waits for ever");
    };
    assert!(
        matches!(&error, FrameError::Io { source, .. } if source.kind() == ErrorKind::NotConnected),
        "{error}"
    );
}

#[derive(Default)]
struct CountWakes(AtomicUsize);

impl Wake for CountWakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Has frames begun, of a budget of 128 KiB, that hold both of its blocks.
async fn hold_every_block(handle: &Handle) -> Vec<(JoinHandle<()>, Socket)> {
    let begun = &framed(PREFIX, &pattern(6, 100))[..50];
    let mut holding = Vec::new();
    for _ in 0..2 {
        let (mut reader, peer) = reader_of(handle, begun).await;
        let task = handle.spawn(async move { drop(reader.next().await) });
        holding.push((task, peer));
    }
    for _ in 0..20 {
        yield_now().await;
    }
    holding
}

/// A reader, and its peer that has sent `bytes` or is about to.
async fn reader_of(handle: &Handle, bytes: &[u8]) -> (FrameReader, Socket) {
    let (stream, peer) = stream_and_peer(handle, Transport::Tcp).await;
    let reader = FrameReader::new(stream.split().0, PREFIX, MAX);
    let (mut sending, bytes) = (peer.try_clone().unwrap(), bytes.to_vec());
    let first = bytes.len().min(16 * 1024 + 4);
    thread::spawn(move || sending.write_all(&bytes));
    arrived_on(reader.get_ref().socket(), first).await;
    (reader, peer)
}

async fn echo(stream: Stream) {
    let (read, write) = stream.split();
    let mut questions = FrameReader::new(read, PREFIX, MAX);
    let mut answers = FrameWriter::new(write, PREFIX);
    while let Some(payload) = questions.next().await.unwrap() {
        answers.feed(payload).await.unwrap();
        if !questions.is_next_ready() {
            answers.flush().await.unwrap();
        }
    }
}

/// Has one frame echoed.
fn ask(mut peer: Socket, payload: &[u8]) {
    let frame = framed(PREFIX, payload);
    peer.write_all(&frame).unwrap();
    let mut answer = vec![0; frame.len()];
    peer.read_exact(&mut answer).unwrap();
    assert_same(&answer, &frame);
}
