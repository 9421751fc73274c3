//! Tasks that wait to send into a full channel: a value that is received wakes one of them,
//! who waited longest, and whatever becomes of that one, the room is not lost.

mod support;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use readinto::Reactor;
use readinto::channel::{SendError, TaskSender, ThreadReceiver, from_task};
use support::turns::settle;

/// One poll for each value, however many wait.
#[test]
fn a_value_that_is_received_wakes_one() {
    const WAITING: usize = 100;
    const RECEIVED: usize = 20;
    for at_once in [1, 4] {
        let mut reactor = Reactor::new().unwrap();
        let handle = reactor.handle();
        let (sender, receiver) = from_task(4);
        for number in 0..WAITING {
            let sender = sender.clone();
            drop(handle.spawn(async move { sender.send(number).await }));
        }
        settle(&mut reactor);
        let before = handle.stats();
        let mut received = Vec::new();
        for _ in 0..RECEIVED / at_once {
            received.extend((0..at_once).map(|_| receiver.recv().unwrap()));
            settle(&mut reactor);
        }
        let stats = handle.stats().since(&before);
        assert_eq!(stats.polls, RECEIVED as u64);
        assert!(received.into_iter().eq(0..RECEIVED));
    }
}

#[test]
fn who_comes_later_is_served_later() {
    let (sender, receiver) = full_channel();
    let mut first = Sending::begin(&sender, 1);
    assert_eq!(receiver.recv(), Some(0));
    let mut second = Sending::begin(&sender, 2);
    let mut third = Sending::begin(&sender, 3);
    assert_eq!([&first, &second, &third].map(Sending::wake_ups), [1, 0, 0]);
    // Who is polled for another reason has to wait all the same.
    assert!(third.poll().is_pending());
    assert!(second.poll().is_pending());
    assert_eq!(first.poll(), Poll::Ready(Ok(())));
    assert_eq!(receiver.recv(), Some(1));
    assert_eq!([&second, &third].map(Sending::wake_ups), [1, 0]);
    assert_eq!(second.poll(), Poll::Ready(Ok(())));
    assert_eq!(receiver.recv(), Some(2));
    assert_eq!(third.poll(), Poll::Ready(Ok(())));
}

#[test]
fn who_is_woken_and_gives_up_wakes_the_next() {
    let (sender, receiver) = full_channel();
    let first = Sending::begin(&sender, 1);
    let asleep = Sending::begin(&sender, 2);
    let mut third = Sending::begin(&sender, 3);
    assert_eq!(receiver.recv(), Some(0));
    assert_eq!(first.wake_ups(), 1);
    drop(asleep);
    assert_eq!(third.wake_ups(), 0);
    drop(first);
    assert_eq!(third.wake_ups(), 1);
    assert_eq!(third.poll(), Poll::Ready(Ok(())));
}

#[test]
fn who_finds_the_room_taken_stays_the_first() {
    let (sender, receiver) = full_channel();
    let mut first = Sending::begin(&sender, 1);
    let mut second = Sending::begin(&sender, 2);
    assert_eq!(receiver.recv(), Some(0));
    sender.try_send(7).unwrap();
    assert!(first.poll().is_pending());
    assert_eq!(receiver.recv(), Some(7));
    assert_eq!([&first, &second].map(Sending::wake_ups), [2, 0]);
    assert_eq!(first.poll(), Poll::Ready(Ok(())));
    assert_eq!(receiver.recv(), Some(1));
    assert_eq!(second.poll(), Poll::Ready(Ok(())));
}

/// One of them has been woken and not polled since.
#[test]
fn the_end_wakes_all() {
    let (sender, receiver) = full_channel();
    let mut sending = [1, 2, 3].map(|value| Sending::begin(&sender, value));
    assert_eq!(receiver.recv(), Some(0));
    drop(receiver.clone());
    assert_eq!(sending.each_ref().map(Sending::wake_ups), [1, 0, 0]);
    drop(receiver);
    assert_eq!(sending.each_ref().map(Sending::wake_ups), [1, 1, 1]);
    assert_eq!(
        Sending::new(&sender, 4).poll(),
        Poll::Ready(Err(SendError::Closed(4)))
    );
    for (value, sending) in (1..).zip(&mut sending) {
        assert_eq!(sending.poll(), Poll::Ready(Err(SendError::Closed(value))));
    }
}

/// Of one value, which is there.
fn full_channel() -> (TaskSender<u8>, ThreadReceiver<u8>) {
    let (sender, receiver) = from_task(1);
    sender.try_send(0).unwrap();
    (sender, receiver)
}

type Sent = Result<(), SendError<u8>>;

/// A value on its way, polled by hand.
struct Sending {
    future: Pin<Box<dyn Future<Output = Sent>>>,
    wake_ups: Arc<WakeUps>,
}

#[derive(Default)]
struct WakeUps(AtomicUsize);

impl Wake for WakeUps {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Sending {
    fn new(sender: &TaskSender<u8>, value: u8) -> Sending {
        let sender = sender.clone();
        Sending {
            future: Box::pin(async move { sender.send(value).await }),
            wake_ups: Arc::default(),
        }
    }

    /// One that finds no room.
    fn begin(sender: &TaskSender<u8>, value: u8) -> Sending {
        let mut sending = Sending::new(sender, value);
        assert!(sending.poll().is_pending());
        sending
    }

    fn poll(&mut self) -> Poll<Sent> {
        let waker = Waker::from(self.wake_ups.clone());
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn wake_ups(&self) -> usize {
        self.wake_ups.0.load(Ordering::Relaxed)
    }
}
