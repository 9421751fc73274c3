//! What the kernel is asked: in chunks of bounded size, and no more often than
//! it takes.
//!
//! Each test runs itself once more under strace; see `support/strace.rs`.

mod support;

use std::cell::Cell;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use readinto::{FrameReader, FrameWriter, Handle, Prefix, Reactor, Stream};
use socket2::Socket;

use support::strace::{Call, Trace, note, traced};
use support::turns::{drive, settle, turn_until};
use support::{
    Transport, arrived, assert_same, pattern, peer_thread, run, stream_and_peer, yield_now,
};

#[test]
fn a_task_gives_at_most_256_kib_to_a_call_and_sends_by_the_segment() {
    let workload = || run(async |handle| echo_in_bulk(&handle, Transport::Tcp).await);
    let name = "a_task_gives_at_most_256_kib_to_a_call_and_sends_by_the_segment";
    if let Some(trace) = traced(name, workload) {
        let largest = largest_given(&trace);
        assert!(largest <= MEBIBYTE / 4, "{largest}");
        assert!(largest > MEBIBYTE / 8, "not put to the test by {largest}");
        assert_whole_segments(&trace);
        let longest = sends(&trace).map(Call::given).max().expect("a send");
        assert!(longest <= 64 * 1024, "{longest}");
    }
}

#[test]
fn a_frame_of_100_mb_costs_a_call_for_each_segment_and_hardly_any_other() {
    const LEN: usize = 100_000_000;
    let workload = || {
        run(async |handle| {
            let (stream, peer) = stream_and_peer(&handle, Transport::Tcp).await;
            note("server", stream.socket().as_raw_fd() as usize);
            let socket = stream.socket().try_clone().unwrap();
            let client = peer_thread(move || ask(peer, 1, LEN));
            echo_frames(stream, LEN, Rc::default()).await;
            client.join().await;
            note("mss", socket.tcp_mss().unwrap() as usize);
        });
    };
    let name = "a_frame_of_100_mb_costs_a_call_for_each_segment_and_hardly_any_other";
    if let Some(trace) = traced(name, workload) {
        let segments = LEN.div_ceil(trace.note("mss"));
        let server = trace.note("server");
        let calls = trace.of_the_reactor();
        let count = |matches: &dyn Fn(&Call) -> bool| {
            let calls = calls.iter().filter(|call| call.descriptor() == server);
            calls.filter(|call| matches(call)).count()
        };
        let sends = count(&Call::is_send);
        // Some are cut short where the peer's window ends.
        assert!(
            (segments..segments * 3 / 2).contains(&sends),
            "{sends} of {segments}"
        );
        let questions = count(&|call| call.arguments.contains("TCP_MAXSEG"));
        assert!(
            questions <= sends / 8,
            "{questions} questions, {sends} sends"
        );
        assert_eq!(count(&|call| call.arguments.contains("SO_RCVLOWAT")), 0);
        // A read takes what is there; one that finds nothing comes before a wait.
        let reads = count(&Call::is_receive);
        assert!(reads < 3 * segments, "{reads} of {segments}");
    }
}

#[test]
fn a_call_is_given_all_of_a_message_of_1_mib_while_no_other_task_is_ready() {
    let workload = || run(async |handle| send_mebibytes(&handle).await);
    let name = "a_call_is_given_all_of_a_message_of_1_mib_while_no_other_task_is_ready";
    if let Some(trace) = traced(name, workload) {
        let mut sent = 0;
        for call in sends(&trace) {
            assert_eq!(call.given(), MEBIBYTE - sent % MEBIBYTE);
            sent += usize::try_from(call.result).unwrap_or(0);
        }
        assert_eq!(sent, MESSAGES * MEBIBYTE);
    }
}

#[test]
fn a_call_is_given_one_segment_of_it_while_another_task_is_ready() {
    let workload = || {
        run(async |handle| {
            let _always_ready = handle.spawn(async {
                loop {
                    yield_now().await;
                }
            });
            send_mebibytes(&handle).await;
        });
    };
    let name = "a_call_is_given_one_segment_of_it_while_another_task_is_ready";
    if let Some(trace) = traced(name, workload) {
        assert!(sends(&trace).all(|call| call.given() <= 64 * 1024));
        assert!(sends(&trace).count() >= MESSAGES * 16);
    }
}

#[test]
fn the_bound_holds_for_unix_sockets_as_well() {
    let workload = || run(async |handle| echo_in_bulk(&handle, Transport::Unix).await);
    if let Some(trace) = traced("the_bound_holds_for_unix_sockets_as_well", workload) {
        let largest = largest_given(&trace);
        assert!(largest <= MEBIBYTE / 4, "{largest}");
        assert!(largest > MEBIBYTE / 8, "not put to the test by {largest}");
    }
}

#[test]
fn a_small_frame_costs_one_poll_one_read_and_one_write() {
    const FRAMES: usize = 100;
    let workload = || {
        let mut reactor = Reactor::new().unwrap();
        let handle = reactor.handle();
        let (stream, mut peer) = drive(&mut reactor, stream_and_peer(&handle, Transport::Tcp));
        note("server", stream.socket().as_raw_fd() as usize);
        note("peer", peer.as_raw_fd() as usize);
        let answered = Rc::new(Cell::new(0));
        drop(handle.spawn(echo_frames(stream, 64, answered.clone())));
        settle(&mut reactor);
        // The peer is on the same thread, so that nothing happens at once.
        let frame = [&64_u32.to_be_bytes()[..], &pattern(3, 64)].concat();
        for round in 1..=FRAMES + 2 {
            peer.write_all(&frame).unwrap();
            turn_until(&mut reactor, || answered.get() == round);
            let mut answer = vec![0; frame.len()];
            peer.read_exact(&mut answer).unwrap();
            assert_eq!(answer, frame);
        }
    };
    let name = "a_small_frame_costs_one_poll_one_read_and_one_write";
    if let Some(trace) = traced(name, workload) {
        let (server, peer) = (trace.note("server"), trace.note("peer"));
        let calls = trace.of_the_reactor();
        let asks = |call: &Call| call.is_send() && call.descriptor() == peer;
        let questions: Vec<_> = (0..calls.len()).filter(|&at| asks(calls[at])).collect();
        // Neither the first frame, which may find something to prepare, nor
        // what follows the last.
        let calls: Vec<_> = calls[questions[1]..questions[FRAMES + 1]]
            .iter()
            .filter(|call| !(call.moves_bytes() && call.descriptor() == peer))
            .collect();

        let polls = calls.iter().filter(|call| call.is_poll()).count();
        let of_server = || calls.iter().filter(|call| call.descriptor() == server);
        let reads = of_server()
            .filter(|c| c.is_receive() && c.result > 0)
            .count();
        let vain_reads = of_server()
            .filter(|c| c.is_receive() && c.result < 0)
            .count();
        let writes = of_server().filter(|c| c.is_send()).count();
        eprintln!(
            "{FRAMES} frames of 64 bytes: {polls} polls, {reads} reads, {vain_reads} reads \
             of nothing, {writes} writes"
        );
        assert_eq!(polls, FRAMES);
        assert_eq!(reads, FRAMES, "prefix and payload at once");
        assert_eq!(vain_reads, 0, "a short read has said that there is no more");
        assert_eq!(writes, FRAMES);
        assert_eq!(calls.len(), 3 * FRAMES, "something else was asked");
    }
}

#[test]
fn a_burst_of_small_frames_costs_one_read_and_one_write() {
    const BURSTS: usize = 20;
    let workload = || {
        let mut reactor = Reactor::new().unwrap();
        let handle = reactor.handle();
        let (stream, mut peer) = drive(&mut reactor, stream_and_peer(&handle, Transport::Tcp));
        note("server", stream.socket().as_raw_fd() as usize);
        let answered = Rc::new(Cell::new(0));
        drop(handle.spawn(echo_bursts(stream, answered.clone())));
        settle(&mut reactor);
        let frame = [&64_u32.to_be_bytes()[..], &pattern(3, 64)].concat();
        let burst = frame.repeat(64);
        for round in 1..=BURSTS {
            peer.write_all(&burst).unwrap();
            turn_until(&mut reactor, || answered.get() == 64 * round);
            let mut answer = vec![0; burst.len()];
            peer.read_exact(&mut answer).unwrap();
            assert_same(&answer, &burst);
        }
    };
    let name = "a_burst_of_small_frames_costs_one_read_and_one_write";
    if let Some(trace) = traced(name, workload) {
        let server = trace.note("server");
        let calls = trace.of_the_reactor();
        let moving = calls.iter().filter(|call| call.moves_bytes());
        let of_server: Vec<_> = moving.filter(|call| call.descriptor() == server).collect();
        let reads = of_server.iter().filter(|call| call.is_receive()).count();
        let writes = of_server.iter().filter(|call| call.is_send()).count();
        // The first read may find that nothing is there yet.
        assert!((BURSTS..=BURSTS + 1).contains(&reads), "{reads} reads");
        assert_eq!(writes, BURSTS);
    }
}

#[test]
fn a_burst_of_short_reads_costs_one_call_where_they_read_ahead() {
    const BURSTS: usize = 20;
    let workload = || {
        run(async |handle| {
            let (stream, mut peer) = stream_and_peer(&handle, Transport::Tcp).await;
            note("server", stream.socket().as_raw_fd() as usize);
            let mut stream = stream.read_ahead();
            let burst = pattern(5, 28 * 64);
            for _ in 0..BURSTS {
                peer.write_all(&burst).unwrap();
                arrived(&stream, burst.len()).await;
                let mut received = vec![0; burst.len()];
                for header in received.chunks_mut(28) {
                    stream.read_exact_into(header).await.unwrap();
                }
                assert_same(&received, &burst);
            }
        });
    };
    let name = "a_burst_of_short_reads_costs_one_call_where_they_read_ahead";
    if let Some(trace) = traced(name, workload) {
        let server = trace.note("server");
        let calls = trace.of_the_reactor();
        let reads = calls.iter().filter(|call| call.descriptor() == server);
        // What looks whether all has arrived leaves it there.
        let reads = reads.filter(|call| call.is_receive() && !call.arguments.contains("MSG_PEEK"));
        assert_eq!(reads.filter(|call| call.result > 0).count(), BURSTS);
    }
}

#[test]
fn a_connection_is_registered_once_and_deregistered_once() {
    const CONNECTIONS: usize = 3;
    let workload = || {
        run(async |handle| {
            for _ in 0..CONNECTIONS {
                echo_in_bulk(&handle, Transport::Tcp).await;
            }
        });
    };
    let name = "a_connection_is_registered_once_and_deregistered_once";
    if let Some(trace) = traced(name, workload) {
        let calls = trace.of_the_reactor();
        let count = |operation| {
            let registrations = calls.iter().filter(|call| call.name == "epoll_ctl");
            registrations
                .filter(|call| call.arguments.contains(operation))
                .count()
        };
        // For each connection there is a listener, and for all an eventfd.
        assert_eq!(count("EPOLL_CTL_ADD"), 2 * CONNECTIONS + 1);
        assert_eq!(count("EPOLL_CTL_DEL"), 2 * CONNECTIONS);
        assert_eq!(count("EPOLL_CTL_MOD"), 0);
    }
}

#[test]
fn each_wait_of_the_future_of_block_on_is_one_poll() {
    const WAITS: usize = 10;
    let workload = || {
        run(async |handle| {
            let (mut stream, peer) = stream_and_peer(&handle, Transport::Tcp).await;
            let _parked = handle.spawn(async move { stream.read_exact_into(&mut [0]).await });
            for _ in 0..3 {
                yield_now().await;
            }
            mark_the_trace();
            for _ in 0..WAITS {
                handle.sleep(Duration::from_millis(2)).await;
            }
            mark_the_trace();
            drop(peer);
        });
    };
    let name = "each_wait_of_the_future_of_block_on_is_one_poll";
    if let Some(trace) = traced(name, workload) {
        let calls = trace.of_the_reactor();
        let mut between = calls.split(|call| is_mark(call));
        let waiting = between.nth(1).expect("two marks");
        assert!(waiting.iter().all(|call| call.is_poll()), "{waiting:?}");
        assert_eq!(waiting.len(), WAITS, "{waiting:?}");
    }
}

/// Echoes frames that take many calls each, and checks what comes back.
async fn echo_in_bulk(handle: &Handle, transport: Transport) {
    let (stream, peer) = stream_and_peer(handle, transport).await;
    // The same socket once more, to be asked when the stream is gone.
    let socket = stream.socket().try_clone().unwrap();
    let client = peer_thread(move || ask(peer, BULK_FRAMES, BULK));
    echo_frames(stream, BULK, Rc::default()).await;
    client.join().await;
    if transport == Transport::Tcp {
        note("mss", socket.tcp_mss().unwrap() as usize);
    }
}

/// Sends messages of 1 MiB to a peer that takes them at once.
async fn send_mebibytes(handle: &Handle) {
    let (mut stream, mut peer) = stream_and_peer(handle, Transport::Tcp).await;
    let message = pattern(6, MEBIBYTE);
    let expected = message.clone();
    let client = peer_thread(move || {
        let mut received = vec![0; MEBIBYTE];
        for _ in 0..MESSAGES {
            peer.read_exact(&mut received).unwrap();
            assert_same(&received, &expected);
        }
    });
    // A reactor that is new looks for other work in its first turn.
    yield_now().await;
    for _ in 0..MESSAGES {
        stream.write_all(&message).await.unwrap();
    }
    client.join().await;
}

/// Echoes frames until the peer ends.
async fn echo_frames(stream: Stream, max: usize, answered: Rc<Cell<usize>>) {
    let (read, write) = stream.split();
    let mut frames = FrameReader::new(read, Prefix::U32Be, max);
    let mut answers = FrameWriter::new(write, Prefix::U32Be);
    let mut payload = vec![0; max];
    while let Some(len) = frames.next_len().await.unwrap() {
        frames.read_payload_into(&mut payload[..len]).await.unwrap();
        answers.write(&payload[..len]).await.unwrap();
        answered.set(answered.get() + 1);
    }
}

/// Echoes small frames until the peer ends.
async fn echo_bursts(stream: Stream, answered: Rc<Cell<usize>>) {
    let (read, write) = stream.split();
    let mut frames = FrameReader::new(read, Prefix::U32Be, 64);
    let mut answers = FrameWriter::new(write, Prefix::U32Be);
    while let Some(payload) = frames.next().await.unwrap() {
        answers.feed(payload).await.unwrap();
        answered.set(answered.get() + 1);
        if !frames.is_next_ready() {
            answers.flush().await.unwrap();
        }
    }
}

/// Has `frames` frames of `len` bytes echoed, one after the other.
fn ask(mut peer: Socket, frames: usize, len: usize) {
    let question = [&(len as u32).to_be_bytes()[..], &pattern(4, len)].concat();
    let mut answer = vec![0; question.len()];
    for _ in 0..frames {
        peer.write_all(&question).unwrap();
        peer.read_exact(&mut answer).unwrap();
        assert_same(&answer, &question);
    }
}

/// A call that nothing else makes, to find the place again in the trace.
fn mark_the_trace() {
    let mut nothing = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(nothing.read(&mut [0; MARK_LENGTH]).unwrap(), 0);
}

fn is_mark(call: &Call) -> bool {
    call.name == "read" && call.given() == MARK_LENGTH
}

/// The bytes that a call on the data path was given.
fn given(call: &Call) -> Option<usize> {
    call.moves_bytes().then(|| call.given())
}

fn largest_given(trace: &Trace) -> usize {
    let calls = trace.of_the_reactor();
    calls
        .into_iter()
        .filter_map(given)
        .max()
        .expect("some bytes were moved")
}

/// What the reactor's streams have sent, and not the peers of a test.
fn sends(trace: &Trace) -> impl Iterator<Item = &Call> {
    let calls = trace.of_the_reactor().into_iter();
    calls.filter(|call| call.is_send() && call.arguments.contains("MSG_NOSIGNAL"))
}

/// Each send but the last of a frame was given whole segments.
///
/// A segment is at most half of the peer's window, which opens while the first
/// frame passes; so that one has shorter segments than all others.
fn assert_whole_segments(trace: &Trace) {
    let segment = trace.note("mss");
    let frame = BULK + Prefix::U32Be.size();
    let mut sent = 0;
    let mut checked = 0;
    for call in sends(trace) {
        let (given, left) = (call.given(), frame - sent % frame);
        if sent >= frame {
            assert!(
                given == left || given % segment == 0,
                "{given} of {left} bytes are no whole segments of {segment}"
            );
            checked += 1;
        }
        sent += usize::try_from(call.result).unwrap_or(0);
    }
    assert_eq!(sent, BULK_FRAMES * frame, "not the sends of whole frames");
    assert!(checked > BULK_FRAMES, "{checked} sends in all");
}

const MEBIBYTE: usize = 1024 * 1024;

/// No multiple of anything.
const BULK: usize = 12_345_678;
const BULK_FRAMES: usize = 2;
const MESSAGES: usize = 8;

/// A length that nothing else reads.
const MARK_LENGTH: usize = 4711;
