//! The counters say what has happened, exactly; a task that holds the loop is named.

mod support;

use std::cell::RefCell;
use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};
use readinto::{FrameReader, FrameWriter, Handle, Prefix, Reactor, Shards, Stats, Stream};
use support::turns::{drive, settle, turn_now};
use support::{
    Transport, arrived, drop_once, framed, listen, over_each_transport, pattern, reset, run,
    stream_and_peer, yield_now,
};

fn counted(handle: &Handle, before: &Stats) -> Stats {
    handle.stats().since(before)
}

#[test]
fn bytes_and_frames_are_counted_each_way() {
    over_each_transport(async |handle, transport| {
        let (stream, mut peer) = stream_and_peer(&handle, transport).await;
        let (read, write) = stream.split();
        let mut frames = FrameReader::new(read, Prefix::U32Be, 1 << 20);
        let mut answers = FrameWriter::new(write, Prefix::U32Be);
        let before = handle.stats();
        let lens = [0, 1, 100, 20_000];
        for len in lens {
            peer.write_all(&framed(Prefix::U32Be, &pattern(1, len)))
                .unwrap();
            let payload = frames.next().await.unwrap().unwrap();
            answers.feed(payload).await.unwrap();
        }
        answers.flush().await.unwrap();
        let stats = counted(&handle, &before);
        let bytes = lens.iter().map(|len| 4 + *len as u64).sum::<u64>();
        assert_eq!((stats.frames_in, stats.frames_out), (4, 4));
        assert_eq!((stats.bytes_in, stats.bytes_out), (bytes, bytes));
        peer.read_exact(&mut vec![0; bytes as usize]).unwrap();
    });
}

#[test]
fn turns_polls_and_tasks_are_counted() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let before = handle.stats();
    let tasks: Vec<_> = (0..3).map(|_| handle.spawn(yield_now())).collect();
    assert_eq!((handle.stats().tasks, handle.stats().spawned), (3, 3));
    settle(&mut reactor);
    let stats = counted(&handle, &before);
    assert_eq!(stats.polls, 6, "each of three twice");
    assert_eq!(stats.turns, 3, "and one to see that there is no more");
    // The spawning is one wake-up, and what the tasks do to themselves another.
    assert_eq!((stats.wake_ups, stats.sleeps, stats.events), (2, 0, 0));
    assert_eq!(stats.tasks, 0);
    drop(tasks);

    let before = handle.stats();
    reactor.turn(Some(Duration::from_millis(1))).unwrap();
    let stats = counted(&handle, &before);
    assert_eq!((stats.turns, stats.sleeps, stats.spins), (1, 1, 0));
}

#[test]
fn spinning_is_counted_and_is_no_sleep() {
    let spins_of_a_turn = || {
        let mut reactor = Reactor::builder()
            .busy_poll(Duration::from_millis(2))
            .build()
            .unwrap();
        turn_now(&mut reactor);
        let before = reactor.handle().stats();
        reactor.turn(Some(Duration::from_millis(1))).unwrap();
        let stats = counted(&reactor.handle(), &before);
        assert_eq!(stats.sleeps, 0);
        stats.spins
    };
    // It may be over before its first spin, where the processor is taken away from it.
    assert!((0..50).any(|_| spins_of_a_turn() > 0));
}

#[test]
fn waiting_yielding_and_giving_up_are_counted() {
    run(async |handle| {
        let (mut stream, mut peer) = stream_and_peer(&handle, Transport::Tcp).await;
        let mut buf = vec![0; 1_000_000];

        let before = handle.stats();
        drop_once(stream.read_exact_into(&mut buf), || true).await;
        let stats = counted(&handle, &before);
        assert_eq!((stats.would_block, stats.poisoned), (1, 0), "{stats:?}");

        let before = handle.stats();
        peer.write_all(&pattern(1, 900_000)).unwrap();
        arrived(&stream, 900_000).await;
        let mut polls = 0;
        drop_once(stream.read_exact_into(&mut buf), || {
            polls += 1;
            polls == 10
        })
        .await;
        let stats = counted(&handle, &before);
        assert_eq!(stats.bytes_in, 900_000);
        assert_eq!(stats.budget_yields, 3, "900 000 bytes by 262 144 a poll");
        assert_eq!(stats.poisoned, 1);
    });
}

#[test]
fn connections_and_what_they_hold_are_counted() {
    run(async |handle| {
        let before = handle.stats();
        let (listener, _folder) = listen(&handle, Transport::Tcp);
        assert_eq!(handle.stats().sockets, before.sockets + 1);
        let mut peer = support::connect_blocking(&listener.local_address());
        let stream: Stream = listener.accept().await.unwrap();
        let stats = counted(&handle, &before);
        assert_eq!((stats.accepted, stats.sockets), (1, before.sockets + 2));

        let mut frames = FrameReader::new(stream.split().0, Prefix::U32Be, 1 << 20);
        assert_eq!(handle.stats().memory_lent, 0);
        peer.write_all(&framed(Prefix::U32Be, &pattern(1, 100_000)))
            .unwrap();
        frames.next().await.unwrap();
        assert_eq!(handle.stats().memory_lent, 100_000);
        drop(frames);
        let stats = handle.stats();
        assert_eq!(stats.memory_lent, 0);
        assert!(stats.memory_idle >= 100_000, "{stats:?}");
        assert_eq!(stats.sockets, before.sockets + 1);
        reset(peer);
    });
}

#[test]
fn a_frame_that_waits_for_memory_is_counted_once() {
    let mut reactor = Reactor::builder()
        .memory_budget(256 * 1024)
        .build()
        .unwrap();
    let handle = reactor.handle();
    let mut held = Vec::new();
    for _ in 0..2 {
        let (stream, mut peer) = drive(&mut reactor, stream_and_peer(&handle, Transport::Unix));
        peer.write_all(&framed(Prefix::U32Be, &pattern(1, 150_000)))
            .unwrap();
        let mut frames = FrameReader::new(stream.split().0, Prefix::U32Be, 1 << 20);
        held.push(handle.spawn(async move {
            frames.next().await.unwrap();
            (frames, peer)
        }));
    }
    settle(&mut reactor);
    let first = drive(&mut reactor, held.remove(0)).unwrap();
    settle(&mut reactor);
    assert_eq!(handle.stats().memory_waits, 1);
    drop(first);
    drive(&mut reactor, held.remove(0)).unwrap();
    assert_eq!(handle.stats().memory_waits, 1);
}

#[test]
fn sums_and_differences_are_those_of_each_counter() {
    let mut one = Stats::default();
    (one.turns, one.bytes_in, one.tasks) = (5, 7, 2);
    let sum = one.plus(&one);
    assert_eq!((sum.turns, sum.bytes_in, sum.tasks), (10, 14, 4));
    let grown = sum.since(&one);
    assert_eq!((grown.turns, grown.bytes_in), (5, 7));
    assert_eq!(grown.tasks, 4, "what is held now is not a difference");
    assert_eq!(one.since(&sum).turns, 0, "nothing grows backwards");
    let counted: Vec<_> = sum.counters().filter(|&(_, value)| value > 0).collect();
    assert_eq!(counted, [("turns", 10), ("bytes_in", 14)]);
    let held: Vec<_> = sum.gauges().filter(|&(_, value)| value > 0).collect();
    assert_eq!(held, [("tasks", 4)]);
}

#[test]
fn a_task_that_holds_the_loop_is_named() {
    let lines = Lines::install();
    let threshold = Duration::from_millis(20);
    let mut reactor = Reactor::builder().watch_stalls(threshold).build().unwrap();
    let handle = reactor.handle();
    drive(&mut reactor, yield_now());
    assert_eq!(handle.stats().stalls, 0);

    let mut stalled = Vec::new();
    for _ in 0..3 {
        let line = line!() + 1;
        let task = handle.spawn(hold_the_loop(threshold));
        drive(&mut reactor, task).unwrap();
        stalled.push(line);
    }
    assert_eq!(handle.stats().stalls, 3);
    // The others came within the same second.
    assert_names(&lines.take(), "hold_the_loop", stalled[0]);
    let turns = handle.turn_lengths().unwrap();
    assert!(turns.longest() >= threshold);
    assert!(turns.count() > 3);
    assert!(turns.quantile(0.01) < threshold, "{turns:?}");
    assert!(Reactor::new().unwrap().handle().turn_lengths().is_none());
}

/// What comes from another thread has a place too: where that thread sent it.
#[test]
fn what_other_threads_spawn_is_named_as_theirs() {
    let lines = Lines::install();
    let threshold = Duration::from_millis(20);
    let builder = Reactor::builder().watch_stalls(threshold);
    let mut reactor = builder.clone().build().unwrap();
    let remote = reactor.handle().remote();
    let spawned = thread::spawn(move || {
        let line = line!() + 1;
        let spawned = remote.spawn(move |_| hold_the_loop(threshold));
        spawned.unwrap();
        line
    });
    let spawned = spawned.join().unwrap();
    settle(&mut reactor);
    assert_names(&lines.take(), "hold_the_loop", spawned);

    let started = line!() + 1;
    let shards = Shards::start(builder, [()], move |_, ()| held_and_reported(threshold)).unwrap();
    let lines = shards.join().remove(0).unwrap();
    assert_names(&lines, "held_and_reported", started);
}

/// What was reported of this future's first poll, on the thread that has polled it.
async fn held_and_reported(threshold: Duration) -> Vec<String> {
    hold_the_loop(threshold).await;
    yield_now().await;
    Lines.take()
}

/// One line, of that future, made in that line of this file.
#[track_caller]
fn assert_names(lines: &[String], future: &str, line: u32) {
    let [only] = lines else {
        panic!("{lines:?}");
    };
    for part in [future, &format!("tests/stats.rs:{line}:")] {
        assert!(only.contains(part), "{part}: {only}");
    }
}

async fn hold_the_loop(threshold: Duration) {
    thread::sleep(2 * threshold);
}

/// What was logged by this test's thread at warn and above.
struct Lines;

thread_local! {
    static LOGGED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

impl Lines {
    fn install() -> Lines {
        // Another test may have done so.
        let _ = log::set_logger(&Lines);
        log::set_max_level(LevelFilter::Warn);
        Lines
    }

    fn take(&self) -> Vec<String> {
        LOGGED.take()
    }
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        LOGGED.with_borrow_mut(|lines| lines.push(record.args().to_string()));
    }

    fn flush(&self) {}
}
