//! A waker may be anybody's: when it is cloned, woken or dropped it may come back to what
//! it waits for, which then finds nothing borrowed or locked, and forgets no one.

mod support;

use std::cell::RefCell;
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use readinto::channel::from_task;
use readinto::{Handle, Lease, Reactor};
use support::turns::complete;

#[test]
fn who_waits_for_memory_may_drop_another_that_waits() {
    const WHILE_POLLED: [&[Call]; 2] = [&[Call::Clone], &[Call::Drop]];
    const WHILE_WOKEN: &[Call] = &[Call::Clone, Call::Wake, Call::Drop];
    for calls in [WHILE_POLLED[0], WHILE_POLLED[1], WHILE_WOKEN] {
        let reactor = with_budget();
        let handle = reactor.handle();
        let held = lease_all(&handle);
        let [mut first, mut second, mut third] = [(); 3].map(|()| {
            let handle = handle.clone();
            Box::pin(async move { handle.lease(MOST).await })
        });
        let foreign = foreign_waker();
        assert!(poll_by(&foreign, &mut first).is_pending());
        assert!(poll_by(Waker::noop(), &mut second).is_pending());
        assert!(poll_by(Waker::noop(), &mut third).is_pending());

        run_at(calls, move || drop(second));
        if WHILE_POLLED.contains(&calls) {
            assert!(poll_by(&foreign, &mut first).is_pending());
            assert!(has_run(), "{calls:?}");
        }
        drop(held);
        assert!(has_run(), "{calls:?}");
        let Poll::Ready(lent) = poll_by(&foreign, &mut first) else {
            panic!("forgotten: {calls:?}");
        };
        drop(lent);
        assert!(poll_by(Waker::noop(), &mut third).is_ready());
    }
}

/// Nobody would tell of it later.
#[test]
fn memory_that_comes_back_as_a_waker_is_cloned_is_not_missed() {
    let reactor = with_budget();
    let handle = reactor.handle();
    let held = lease_all(&handle);
    let mut waiting = Box::pin(handle.lease(MOST));
    run_at(&[Call::Clone], move || drop(held));
    assert!(poll_by(&foreign_waker(), &mut waiting).is_ready());
    assert!(has_run());
}

#[test]
fn room_in_a_channel_that_comes_as_a_waker_is_cloned_is_not_missed() {
    let (sender, receiver) = from_task(1);
    sender.try_send(0).unwrap();
    let mut sending = Box::pin(sender.send(1));
    run_at(&[Call::Clone], move || {
        assert_eq!(receiver.recv(), Some(0));
        // Kept until then: the channel ends with it.
        run_at(&[Call::Wake], move || drop(receiver));
    });
    let polled = poll_by(&foreign_waker(), &mut sending);
    assert!(polled.is_ready() || has_run(), "nobody told it");
}

#[test]
fn who_waits_for_room_in_a_channel_may_drop_another_that_waits() {
    let (sender, receiver) = from_task(1);
    sender.try_send(0).unwrap();
    let [mut first, mut second, mut third] = [1, 2, 3].map(|value| {
        let sender = sender.clone();
        Box::pin(async move { sender.send(value).await })
    });
    assert!(poll_by(&foreign_waker(), &mut first).is_pending());
    assert!(poll_by(Waker::noop(), &mut second).is_pending());
    assert!(poll_by(&foreign_waker(), &mut third).is_pending());
    run_at(&[Call::Wake], move || drop(first));
    // The one that is woken drops itself, which wakes the second.
    assert_eq!(receiver.recv(), Some(0));
    assert!(has_run());
    assert!(poll_by(Waker::noop(), &mut third).is_pending());
    assert_eq!(poll_by(Waker::noop(), &mut second), Poll::Ready(Ok(())));
}

/// What can be lent of the budget.
const MOST: usize = 768 * 1024;

fn with_budget() -> Reactor {
    Reactor::builder()
        .memory_budget(MOST / 3 * 4)
        .build()
        .unwrap()
}

fn lease_all(handle: &Handle) -> Lease {
    complete(handle.lease(MOST)).unwrap()
}

fn poll_by<F: Future>(waker: &Waker, future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(waker))
}

/// What is done to a waker.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    Clone,
    Wake,
    Drop,
}

type Action = Box<dyn FnOnce()>;

thread_local! {
    static ACTION: RefCell<Option<(&'static [Call], Action)>> = const { RefCell::new(None) };
}

/// Has `action` run at the next of these calls of a foreign waker of this thread.
fn run_at(calls: &'static [Call], action: impl FnOnce() + 'static) {
    ACTION.set(Some((calls, Box::new(action))));
}

fn has_run() -> bool {
    ACTION.with_borrow(Option::is_none)
}

fn called(call: Call) {
    let action =
        ACTION.with_borrow_mut(|action| action.take_if(|(calls, _)| calls.contains(&call)));
    if let Some((_, action)) = action {
        action();
    }
}

fn foreign_waker() -> Waker {
    static VTABLE: RawWakerVTable = RawWakerVTable::new(
        |_| {
            called(Call::Clone);
            RawWaker::new(ptr::null(), &VTABLE)
        },
        |_| called(Call::Wake),
        |_| called(Call::Wake),
        |_| called(Call::Drop),
    );
    // SAFETY: there is no data; what runs is the calling thread's own.
    unsafe { Waker::new(ptr::null(), &VTABLE) }
}
