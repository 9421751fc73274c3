//! Values cross between threads and tasks, in order and none lost; each side that has
//! to wait is woken, and sees the end of the other.

mod support;

use std::iter;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use readinto::Reactor;
use readinto::channel::{SendError, TaskReceiver, ThreadReceiver, ThreadSender};
use readinto::channel::{from_task, to_task};
use static_assertions::{assert_impl_all, assert_not_impl_any};
use support::turns::{complete, drive, settle, turn_now, turn_until};
use support::{peer_thread, run};

assert_impl_all!(ThreadSender<u8>: Send, Sync, Clone);
assert_impl_all!(ThreadReceiver<u8>: Send, Sync, Clone);
assert_not_impl_any!(TaskReceiver<u8>: Clone);

const VALUES: usize = 20_000;

/// The queue is so short that both sides wait again and again.
#[test]
fn all_values_of_all_threads_come_in_the_order_of_each() {
    run(async |_| {
        let (sender, mut receiver) = to_task(2);
        let threads: Vec<_> = (0..3)
            .map(|thread| {
                let sender = sender.clone();
                peer_thread(move || (0..VALUES).for_each(|n| sender.send((thread, n)).unwrap()))
            })
            .collect();
        drop(sender);
        let mut next = [0; 3];
        while let Some((thread, value)) = receiver.recv().await {
            let expected: &mut usize = &mut next[thread];
            assert_eq!(value, *expected);
            *expected += 1;
        }
        assert_eq!(next, [VALUES; 3]);
        for thread in threads {
            thread.join().await;
        }
    });
}

#[test]
fn all_values_of_all_tasks_reach_the_threads() {
    run(async |handle| {
        let (sender, receiver) = from_task(2);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let receiver = receiver.clone();
                peer_thread(move || receiver.collect::<Vec<usize>>())
            })
            .collect();
        drop(receiver);
        let tasks: Vec<_> = (0..3)
            .map(|task| {
                let sender = sender.clone();
                handle.spawn(async move {
                    for n in 0..VALUES {
                        sender.send(3 * n + task).await.unwrap();
                    }
                })
            })
            .collect();
        drop(sender);
        for task in tasks {
            task.await.unwrap();
        }
        let mut received = Vec::new();
        for thread in threads {
            let values = thread.join().await;
            for task in 0..3 {
                let of_task = values.iter().filter(|&value| value % 3 == task);
                assert!(of_task.is_sorted(), "out of order");
            }
            received.extend(values);
        }
        received.sort_unstable();
        assert!(received.into_iter().eq(0..3 * VALUES));
    });
}

/// A hundred values that come at once are one wake-up.
#[test]
fn a_task_that_is_woken_already_is_not_woken_again() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let (sender, mut receiver) = to_task(100);
    let receiving = handle.spawn(async move {
        let mut count = 0;
        while receiver.recv().await.is_some() {
            count += 1;
        }
        count
    });
    settle(&mut reactor);
    let before = handle.stats();
    thread::spawn(move || (0..100).for_each(|n| sender.send(n).unwrap()))
        .join()
        .unwrap();
    settle(&mut reactor);
    let stats = handle.stats().since(&before);
    assert_eq!((stats.polls, stats.wake_ups), (1, 1));
    assert_eq!(drive(&mut reactor, receiving).unwrap(), 100);
}

/// Whoever has sent something comes behind those who wait already.
#[test]
fn tasks_that_wait_to_send_take_turns() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let (sender, receiver) = from_task(1);
    for number in 0..3 {
        let sender = sender.clone();
        drop(handle.spawn(async move { while sender.send(number).await.is_ok() {} }));
    }
    let mut received = [0; 3];
    for _ in 0..30 {
        settle(&mut reactor);
        received[receiver.recv().unwrap()] += 1;
    }
    // The first has sent two before the others are there.
    assert_eq!(received, [11, 10, 9]);
}

#[test]
fn who_waits_sees_the_other_side_go() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();

    let (sender, mut receiver) = to_task::<u8>(1);
    let receiving = handle.spawn(async move { receiver.recv().await });
    settle(&mut reactor);
    thread::spawn(move || drop(sender));
    assert_eq!(drive(&mut reactor, receiving).unwrap(), None);

    let (sender, receiver) = from_task(1);
    sender.try_send(1).unwrap();
    let sending = handle.spawn(async move { sender.send(2).await });
    settle(&mut reactor);
    assert!(!sending.is_finished());
    thread::spawn(move || drop(receiver));
    assert_eq!(
        drive(&mut reactor, sending).unwrap(),
        Err(SendError::Closed(2))
    );

    let (sender, receiver) = to_task(1);
    sender.try_send(1).unwrap();
    let is_waiting = Arc::new(AtomicBool::new(false));
    let waiting = is_waiting.clone();
    let sending = thread::spawn(move || {
        waiting.store(true, Ordering::Release);
        // The receiver that goes makes room as it drops what it has not received.
        iter::repeat_with(|| sender.send(2)).find_map(Result::err)
    });
    turn_until(&mut reactor, || is_waiting.load(Ordering::Acquire));
    drop(receiver);
    assert_eq!(sending.join().unwrap(), Some(SendError::Closed(2)));

    let (sender, receiver) = from_task::<u8>(1);
    let receiving = thread::spawn(move || receiver.recv());
    drop(sender);
    assert_eq!(receiving.join().unwrap(), None);
}

/// The values that were sent before the end are received before it.
#[test]
fn the_end_comes_after_the_last_value() {
    let (sender, mut receiver) = to_task(2);
    sender.send('a').unwrap();
    sender.send('b').unwrap();
    drop(sender);
    assert_eq!(complete(receiver.recv()), Some('a'));
    assert_eq!(complete(receiver.recv()), Some('b'));
    assert_eq!(complete(receiver.recv()), None);
}

#[test]
fn a_dropped_recv_loses_nothing() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let (sender, mut receiver) = to_task(1);
    let inner = handle.clone();
    let task = handle.spawn(async move {
        let none = inner.timeout(Duration::ZERO, receiver.recv()).await;
        assert!(none.is_err());
        receiver.recv().await
    });
    settle(&mut reactor);
    sender.send(7).unwrap();
    assert_eq!(drive(&mut reactor, task).unwrap(), Some(7));
    assert_eq!(turn_now(&mut reactor).tasks, 0);
}

/// Tasks that wait and give up don't add up, though nothing ever comes.
#[test]
fn who_has_given_up_waiting_is_forgotten() {
    struct Nobody;
    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }
    let nobody = Arc::new(Nobody);
    let waker = Waker::from(nobody.clone());
    let mut context = Context::from_waker(&waker);

    let (sender, _receiver) = from_task(1);
    sender.try_send(0).unwrap();
    let mut sending = Box::pin(sender.send(1));
    assert!(sending.as_mut().poll(&mut context).is_pending());
    let (_sender, mut receiver) = to_task::<u8>(1);
    let mut receiving = Box::pin(receiver.recv());
    assert!(receiving.as_mut().poll(&mut context).is_pending());
    assert_eq!(Arc::strong_count(&nobody), 4, "one for each that waits");
    drop((sending, receiving));
    assert_eq!(Arc::strong_count(&nobody), 2);
}

#[test]
fn what_nobody_has_received_goes_with_the_receiver() {
    let value = Arc::new(());
    let (sender, receiver) = to_task(2);
    sender.send(value.clone()).unwrap();
    sender.send(value.clone()).unwrap();
    assert_eq!(Arc::strong_count(&value), 3);
    drop(receiver);
    assert_eq!(Arc::strong_count(&value), 1);
    assert!(sender.send(value).is_err());
}

/// A capacity of none has room for one, or nothing could ever be sent; one that no memory
/// can hold is the caller's mistake.
#[test]
fn the_capacity_is_the_bound() {
    for (capacity, room) in [(0, 1), (1, 1), (5, 5)] {
        let (sender, _receiver) = to_task(capacity);
        let sent = (0..).take_while(|&n| sender.try_send(n).is_ok()).count();
        assert_eq!(sent, room);
        let (sender, _receiver) = from_task(capacity);
        let sent = (0..).take_while(|&n| sender.try_send(n).is_ok()).count();
        assert_eq!(sent, room);
    }
    assert!(catch_unwind(|| to_task::<u8>(usize::MAX)).is_err());
    assert!(catch_unwind(|| from_task::<u8>(usize::MAX)).is_err());
}
