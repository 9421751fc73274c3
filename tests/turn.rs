//! One turn at a time: what it counts, when it waits, and how a foreign event
//! loop waits in its stead.

mod support;

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::io::{Read, Write};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use readinto::{FrameReader, FrameWriter, Listener, Prefix, Reactor};

use support::turns::{drive, is_readable, settle, turn_now, turn_until};
use support::{DEADLINE, Transport, connect_blocking, listen, run, stream_and_peer, yield_now};

/// If it did wait, it would wait for ever: the reactor of `run`, around the
/// one that is looked at, ends the test.
#[test]
fn a_turn_of_no_time_never_waits() {
    run(async |_keeps_the_deadline| {
        let mut reactor = Reactor::new().unwrap();
        let handle = reactor.handle();
        for _ in 0..10 {
            turn_now(&mut reactor);
        }
        let far = handle.spawn(handle.sleep(Duration::MAX / 4));
        let parked = handle.spawn(pending::<()>());
        let (listener, _folder) = listen(&handle, Transport::Tcp);
        let accepting = handle.spawn(async move { listener.accept().await.map(drop) });
        for _ in 0..10 {
            turn_now(&mut reactor);
        }
        assert!(!far.is_finished() && !parked.is_finished() && !accepting.is_finished());
    });
}

#[test]
fn a_turn_with_a_limit_waits_no_less_when_there_is_nothing_to_do() {
    let mut reactor = Reactor::new().unwrap();
    let _parked = reactor.handle().spawn(pending::<()>());
    settle(&mut reactor);
    for limit in [1, 20].map(Duration::from_millis) {
        let start = Instant::now();
        let turn = reactor.turn(Some(limit)).unwrap();
        assert!(start.elapsed() >= limit);
        assert_eq!((turn.events, turn.tasks, turn.more), (0, 0, false));
    }
}

#[test]
fn a_turn_without_a_limit_ends_at_the_next_deadline() {
    run(async |_keeps_the_deadline| {
        let mut reactor = Reactor::new().unwrap();
        let handle = reactor.handle();
        let sleep = Duration::from_millis(3);
        let start = Instant::now();
        let task = handle.spawn(handle.sleep(sleep));
        assert_eq!(turn_now(&mut reactor).tasks, 1);
        let turn = reactor.turn(None).unwrap();
        assert!(start.elapsed() >= sleep);
        assert_eq!((turn.tasks, turn.next_deadline), (1, None));
        assert!(task.is_finished());
    });
}

#[test]
fn a_turn_counts_the_tasks_it_polled_and_says_whether_more_are_ready() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let twice = handle.spawn(yield_now());
    let once = handle.spawn(async {});
    let first = turn_now(&mut reactor);
    assert_eq!((first.tasks, first.more), (2, true));
    assert!(once.is_finished() && !twice.is_finished());
    let second = turn_now(&mut reactor);
    assert_eq!((second.tasks, second.more), (1, false));
    assert!(twice.is_finished());
    assert_eq!(turn_now(&mut reactor).tasks, 0);
}

#[test]
fn a_turn_counts_the_sockets_that_became_ready() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let mut peers = Vec::new();
    let mut readers = Vec::new();
    for _ in 0..3 {
        let (mut stream, peer) = drive(&mut reactor, stream_and_peer(&handle, Transport::Unix));
        peers.push(peer);
        readers.push(handle.spawn(async move { stream.read_exact_into(&mut [0]).await }));
    }
    settle(&mut reactor);
    for peer in &mut peers[1..] {
        peer.write_all(b"x").unwrap();
    }
    let turn = turn_now(&mut reactor);
    assert_eq!((turn.events, turn.tasks, turn.more), (2, 2, false));
    let finished: Vec<_> = readers.iter().map(|task| task.is_finished()).collect();
    assert_eq!(finished, [false, true, true]);
}

#[test]
fn a_turn_names_the_earliest_deadline() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    assert_eq!(turn_now(&mut reactor).next_deadline, None);
    let before = Instant::now();
    let _tasks = [3600, 60, 600]
        .map(Duration::from_secs)
        .map(|duration| handle.spawn(handle.sleep(duration)));
    let after = Instant::now();
    let deadline = turn_now(&mut reactor)
        .next_deadline
        .expect("three are armed");
    let minute = Duration::from_secs(60);
    assert!((before + minute..=after + minute).contains(&deadline));
}

#[test]
fn a_waiting_turn_is_ended_by_another_threads_wake() {
    run(async |_keeps_the_deadline| {
        let mut reactor = Reactor::new().unwrap();
        settle(&mut reactor);
        let remote = reactor.handle().remote();
        let thread = thread::spawn(move || remote.wake());
        let turn = reactor.turn(None).unwrap();
        assert_eq!((turn.events, turn.tasks), (0, 0));
        thread.join().unwrap();
    });
}

#[test]
fn an_idle_reactor_takes_no_turns() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let (mut stream, mut peer) = drive(&mut reactor, stream_and_peer(&handle, Transport::Tcp));
    let (listener, _folder) = listen(&handle, Transport::Tcp);
    let _accepting = handle.spawn(async move { listener.accept().await.map(drop) });
    let timer = handle.clone();
    let _reading = handle.spawn(async move {
        let mut byte = [0];
        loop {
            let read = stream.read_exact_into(&mut byte);
            let hour = Duration::from_secs(3600);
            timer.timeout(hour, read).await.unwrap().unwrap();
            stream.write_all(&byte).await.unwrap();
        }
    });
    // It has had something to do, and has none any more.
    peer.write_all(b"x").unwrap();
    let mut answer = [0];
    peer.set_nonblocking(true).unwrap();
    turn_until(&mut reactor, || peer.read(&mut answer).is_ok());
    settle(&mut reactor);

    let idle = Duration::from_millis(50);
    let start = Instant::now();
    let mut turns = 0;
    while start.elapsed() < idle {
        let turn = reactor.turn(Some(idle)).unwrap();
        assert_eq!((turn.events, turn.tasks, turn.more), (0, 0, false));
        turns += 1;
    }
    assert_eq!(turns, 1, "something ended the wait early");
    assert!(!is_readable(&reactor, Duration::ZERO));
}

#[test]
fn a_foreign_loop_that_polls_the_descriptor_serves_connections_and_deadlines() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let (listener, _folder) = listen(&handle, Transport::Tcp);
    let address = listener.local_address();
    drop(handle.spawn(echo_frames(listener)));
    let ticks = Rc::new(Cell::new(0));
    let ticking = ticks.clone();
    let timer = handle.clone();
    let ticker = handle.spawn(async move {
        for _ in 0..10 {
            timer.sleep(Duration::from_millis(2)).await;
            ticking.set(ticking.get() + 1);
        }
    });

    let done = Arc::new(AtomicBool::new(false));
    let (say_done, remote) = (done.clone(), handle.remote());
    let client = thread::spawn(move || {
        let mut peer = connect_blocking(&address);
        for round in 0..200_u32 {
            let frame = [4_u32.to_be_bytes(), round.to_be_bytes()].concat();
            peer.write_all(&frame).unwrap();
            let mut answer = [0; 8];
            peer.read_exact(&mut answer).unwrap();
            assert_eq!(answer[..], frame);
        }
        say_done.store(true, Ordering::Release);
        remote.wake();
    });

    loop {
        let turn = turn_now(&mut reactor);
        if done.load(Ordering::Acquire) && ticker.is_finished() {
            break;
        }
        if turn.more {
            continue;
        }
        let until = turn.next_deadline;
        let wait = until.map_or(DEADLINE, |at| at.saturating_duration_since(Instant::now()));
        let ready = is_readable(&reactor, wait);
        let due = until.is_some_and(|deadline| deadline <= Instant::now());
        assert!(ready || due, "nothing came for {wait:?}");
    }
    client.join().unwrap();
    assert_eq!(ticks.get(), 10);
}

#[test]
fn whatever_makes_work_while_no_turn_runs_makes_the_descriptor_readable() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let remote = handle.remote();
    let waker = Arc::new(Mutex::new(None::<Waker>));
    let keep = waker.clone();
    let _parked = handle.spawn(poll_fn(move |context| {
        *keep.lock().unwrap() = Some(context.waker().clone());
        Poll::<()>::Pending
    }));
    settle(&mut reactor);

    let mut expect = |name: &str, tasks, on_a_thread: thread::JoinHandle<()>| {
        on_a_thread.join().unwrap();
        assert!(is_readable(&reactor, Duration::ZERO), "after {name}");
        assert_eq!(turn_now(&mut reactor).tasks, tasks, "{name}");
        settle(&mut reactor);
        assert!(
            !is_readable(&reactor, Duration::ZERO),
            "for ever after {name}"
        );
    };
    let theirs = remote.clone();
    expect("a wake", 0, thread::spawn(move || theirs.wake()));
    let spawns = move || remote.spawn(async |_handle| ()).unwrap();
    expect("a spawn from afar", 1, thread::spawn(spawns));
    let wakes = move || {
        let waker = waker.lock().unwrap();
        waker.as_ref().expect("polled before").wake_by_ref();
    };
    expect("a waker's wake", 1, thread::spawn(wakes));

    assert!(!is_readable(&reactor, Duration::ZERO));
    drop(handle.spawn(async {}));
    assert!(is_readable(&reactor, Duration::ZERO), "after a spawn");
    settle(&mut reactor);

    // Of a future that somebody else polls: the loop has to know when it is due.
    let mut sleep = pin!(handle.sleep(DEADLINE));
    let mut context = Context::from_waker(Waker::noop());
    assert!(sleep.as_mut().poll(&mut context).is_pending());
    assert!(is_readable(&reactor, Duration::ZERO), "after a deadline");
    assert!(turn_now(&mut reactor).next_deadline.is_some());
}

async fn echo_frames(listener: Listener) {
    let (read, write) = listener.accept().await.unwrap().split();
    let mut frames = FrameReader::new(read, Prefix::U32Be, 64);
    let mut answers = FrameWriter::new(write, Prefix::U32Be);
    while let Some(frame) = frames.next().await.unwrap() {
        answers.write(frame).await.unwrap();
    }
}
