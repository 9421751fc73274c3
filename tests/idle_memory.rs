//! Memory of connections that nobody has needed for some seconds is freed: by a
//! reactor that sleeps, and by one that never does.

mod support;

use std::future::{Future, pending};
use std::io::Write;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use readinto::{FrameReader, Handle, Prefix, Reactor};
use support::turns::{drive, turn_now};
use support::{DEADLINE, Transport, framed, pattern, peer_thread, stream_and_peer, yield_now};

const LEN: usize = 1_000_000;

#[test]
fn a_reactor_that_sleeps_frees_what_is_idle() {
    let mut reactor = Reactor::new().unwrap();
    let mut kept = with_an_idle_buffer(&mut reactor);
    drop(reactor.handle().spawn(pending::<()>()));
    let (start, mut turns) = (Instant::now(), 0);
    while kept >= LEN as i64 {
        let hurry = start.elapsed() < DEADLINE && turns < 10;
        assert!(hurry, "{kept} bytes are kept after {turns} turns");
        turns += 1;
        kept += change_of(|| {
            reactor.turn(Some(DEADLINE)).unwrap();
        });
    }
}

#[test]
fn a_reactor_that_is_woken_now_and_then_frees_what_is_idle() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let mut kept = with_an_idle_buffer(&mut reactor);
    let (mut stream, mut peer) = drive(&mut reactor, stream_and_peer(&handle, Transport::Tcp));
    drop(handle.spawn(async move { while stream.read_exact_into(&mut [0]).await.is_ok() {} }));
    let (start, mut turns) = (Instant::now(), 0);
    while kept >= LEN as i64 {
        let hurry = start.elapsed() < DEADLINE && turns < 200;
        assert!(hurry, "{kept} bytes are kept after {turns} turns");
        turns += 1;
        peer.write_all(b"x").unwrap();
        kept += change_of(|| {
            reactor.turn(Some(DEADLINE)).unwrap();
        });
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_reactor_that_never_sleeps_frees_what_is_idle() {
    let mut reactor = Reactor::new().unwrap();
    let mut kept = with_an_idle_buffer(&mut reactor);
    drop(reactor.handle().spawn(async {
        loop {
            yield_now().await;
        }
    }));
    let start = Instant::now();
    while kept >= LEN as i64 {
        assert!(start.elapsed() < DEADLINE, "{kept} bytes are kept");
        kept += change_of(|| assert!(turn_now(&mut reactor).more));
        thread::sleep(Duration::from_millis(1));
    }
}

/// It would hold up others for long to free all of it at once.
#[test]
fn what_is_idle_is_freed_a_part_at_a_time() {
    const LEN: usize = 40_000_000;
    let mut reactor = Reactor::new().unwrap();
    let mut kept = with_an_idle_buffer_of(LEN, &mut reactor);
    let start = Instant::now();
    while kept >= 1_000_000 {
        assert!(start.elapsed() < DEADLINE, "{kept} bytes are kept");
        let freed = -change_of(|| {
            reactor.turn(Some(DEADLINE)).unwrap();
        });
        // Twice in some turns.
        assert!(freed <= 5_000_000, "{freed} bytes in a turn");
        kept -= freed;
    }
}

/// Nor is it freed at once because somebody else needs the room.
#[test]
fn under_a_budget_room_is_made_a_part_at_a_time() {
    let (mut reactor, handle) = with_40_of_42_megabytes_idle();
    let lessee = handle.clone();
    let lease = handle.spawn(async move { lessee.lease(13_000_000).await.map(drop) });
    let mut turns = 0;
    while !lease.is_finished() {
        turn_now(&mut reactor);
        turns += 1;
        assert!(turns < 100, "no lease");
    }
    assert!(turns > 3, "11 MB went in {turns} turns");
    let idle = handle.stats().memory_idle;
    assert!(idle <= 42_100_000, "{idle}");
}

#[test]
fn without_its_reactor_nobody_waits_for_idle_memory_to_go() {
    let (reactor, handle) = with_40_of_42_megabytes_idle();
    drop(reactor);
    let lease = pin!(handle.lease(13_000_000));
    let polled = lease.poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Ok(_))), "{polled:?}");
}

/// Three quarters of the budget are for buffers.
fn with_40_of_42_megabytes_idle() -> (Reactor, Handle) {
    let budget = 56_000_000;
    let mut reactor = Reactor::builder().memory_budget(budget).build().unwrap();
    with_an_idle_buffer_of(40_000_000, &mut reactor);
    let handle = reactor.handle();
    (reactor, handle)
}

fn with_an_idle_buffer(reactor: &mut Reactor) -> i64 {
    with_an_idle_buffer_of(LEN, reactor)
}

/// Receives a long frame, and returns how many bytes are kept behind it.
fn with_an_idle_buffer_of(len: usize, reactor: &mut Reactor) -> i64 {
    let handle = reactor.handle();
    let receive = async || {
        let (stream, mut peer) = stream_and_peer(&handle, Transport::Tcp).await;
        let sending = peer_thread(move || {
            let frame = framed(Prefix::U32Be, &pattern(1, len));
            peer.write_all(&frame).unwrap();
        });
        let mut frames = FrameReader::new(stream.split().0, Prefix::U32Be, len);
        assert_eq!(frames.next().await.unwrap().map(<[u8]>::len), Some(len));
        sending.join().await;
    };
    let kept = change_of(|| drive(reactor, receive()));
    assert!(kept >= len as i64, "not put to the test by {kept} bytes");
    kept
}

/// By how many bytes this thread has more afterwards.
fn change_of(act: impl FnOnce()) -> i64 {
    allocation_counter::measure(act).bytes_current
}
