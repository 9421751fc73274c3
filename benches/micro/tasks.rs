//! Tasks: waking, polling, spawning, and calls from other threads.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group};
use readinto::Reactor;

/// So many at once that the kernel's poll in each turn does not count.
const TASKS: u64 = 1000;

criterion_group!(all, wake_and_poll, spawn_and_complete, call_from_a_thread);

fn wake_and_poll(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("task");
    group.throughput(Throughput::Elements(TASKS));
    let mut reactor = Reactor::new().expect("a reactor");
    for _ in 0..TASKS {
        drop(reactor.handle().spawn(poll_fn(|context| -> Poll<()> {
            context.waker().wake_by_ref();
            Poll::Pending
        })));
    }
    group.bench_function("wake and poll", |bencher| {
        bencher.iter(|| {
            let turn = reactor.turn(Some(Duration::ZERO)).expect("a turn");
            assert_eq!(turn.tasks as u64, TASKS);
        });
    });
    group.finish();
}

fn spawn_and_complete(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("task");
    group.throughput(Throughput::Elements(TASKS));
    let mut reactor = Reactor::new().expect("a reactor");
    group.bench_function("spawn and complete", |bencher| {
        bencher.iter(|| {
            for _ in 0..TASKS {
                drop(reactor.handle().spawn(async {}));
            }
            let turn = reactor.turn(Some(Duration::ZERO)).expect("a turn");
            assert_eq!(turn.tasks as u64, TASKS);
        });
    });
    group.finish();
}

/// The reactor sleeps, is called, and answers: there and back.
fn call_from_a_thread(criterion: &mut Criterion) {
    let (sender, receiver) = mpsc::channel();
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = stopped.clone();
    let thread = thread::spawn(move || {
        let mut reactor = Reactor::new().expect("a reactor");
        sender.send(reactor.handle().remote()).expect("a receiver");
        while !stop.load(Ordering::Acquire) {
            reactor.turn(None).expect("a turn");
        }
    });
    let remote = receiver.recv().expect("a remote");

    criterion.bench_function("remote/call and answer", |bencher| {
        let (answer, answered) = mpsc::channel();
        bencher.iter(|| {
            let answer = answer.clone();
            let called = remote.spawn(|_| async move { answer.send(()).expect("a receiver") });
            called.expect("there is room");
            answered.recv().expect("an answer");
        });
    });

    stopped.store(true, Ordering::Release);
    remote.wake();
    thread.join().expect("the reactor has ended");
}
