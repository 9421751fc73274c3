//! The reactor: what drives it, which threads may reach it, and how several
//! of them get along.

mod support;

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::future::{pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use readinto::{
    Address, FrameError, Handle, JoinError, JoinHandle, Listener, Reactor, Remote, Stream,
    StreamError,
};
use static_assertions::{assert_impl_all, assert_not_impl_any};

use support::turns::{drive, settle, turn_now, turn_until};
use support::{DEADLINE, Transport, connected_pair, listen, run, yield_now};

// Nothing in the data path is shared between threads, so nothing may leave the
// one that made it; the one exception says so.
assert_not_impl_any!(Reactor: Send, Sync);
assert_not_impl_any!(Handle: Send, Sync);
assert_not_impl_any!(Stream: Send, Sync);
assert_not_impl_any!(Listener: Send, Sync);
assert_not_impl_any!(JoinHandle<()>: Send, Sync);
assert_impl_all!(Remote: Send, Sync, Clone);
// Errors travel: into `io::Error`, into a `Box<dyn Error + Send + Sync>`.
assert_impl_all!(JoinError: Error, Send, Sync);
assert_impl_all!(FrameError: Error, Send, Sync);
assert_impl_all!(StreamError: Error, Send, Sync);

#[test]
fn block_on_returns_the_output_of_its_future() {
    let mut reactor = Reactor::new().unwrap();
    assert_eq!(reactor.block_on(async { 42 }).unwrap(), 42);
    let local = String::from("borrowed by a future that is not 'static");
    assert_eq!(reactor.block_on(async { local.len() }).unwrap(), 40);
}

#[test]
fn tasks_go_on_from_one_block_on_to_the_next() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let (mut here, mut there) = drive(&mut reactor, connected_pair(&handle, Transport::Tcp));
    let reading = handle.spawn(async move {
        let mut two = [0; 2];
        there.read_exact_into(&mut two).await.unwrap();
        two
    });
    drive(&mut reactor, async {
        here.write_all(b"1").await.unwrap();
        yield_now().await;
    });
    assert!(!reading.is_finished());
    drive(&mut reactor, async { here.write_all(b"2").await.unwrap() });
    assert_eq!(&drive(&mut reactor, reading).unwrap(), b"12");
}

#[test]
fn a_panic_in_the_future_of_block_on_leaves_the_reactor_usable() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let (mut here, mut there) = drive(&mut reactor, connected_pair(&handle, Transport::Tcp));
    let parked = handle.spawn(async move {
        let mut byte = [0];
        there.read_exact_into(&mut byte).await.unwrap();
        byte[0]
    });

    for polls_before in [0, 1, 2] {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            reactor.block_on(async {
                for _ in 0..polls_before {
                    yield_now().await;
                }
                panic!("in block_on");
            })
        }));
        assert!(panicked.is_err());
    }

    let answer = drive(&mut reactor, async {
        here.write_all(&[9]).await.unwrap();
        handle.sleep(Duration::from_millis(1)).await;
        parked.await.unwrap()
    });
    assert_eq!(answer, 9);
}

#[test]
fn a_waker_wakes_a_task_from_another_thread() {
    run(async |handle| {
        let task = handle.spawn(Signal::sent_by_a_thread());
        assert_eq!(task.await.unwrap(), 11);
    });
}

#[test]
fn a_waker_wakes_the_future_of_block_on_from_another_thread() {
    run(async |_handle| assert_eq!(Signal::sent_by_a_thread().await, 11));
}

#[test]
fn a_waker_that_outlives_its_task_wakes_nobody() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let kept = Rc::new(RefCell::new(None));
    let keep = kept.clone();
    drop(handle.spawn(poll_fn(move |context| {
        *keep.borrow_mut() = Some(context.waker().clone());
        Poll::Ready(())
    })));
    settle(&mut reactor);
    // Whatever the first task left free, the second may have taken.
    let polls = Rc::new(Cell::new(0));
    let count = polls.clone();
    let successor = handle.spawn(poll_fn(move |_| {
        count.set(count.get() + 1);
        Poll::<()>::Pending
    }));
    settle(&mut reactor);

    let waker: Waker = kept.take().expect("the task was polled");
    waker.wake_by_ref();
    thread::spawn(move || waker.wake()).join().unwrap();
    assert_eq!(turn_now(&mut reactor).tasks, 0);
    assert_eq!(polls.get(), 1);
    assert!(!successor.is_finished());
}

#[test]
fn a_waker_that_outlives_its_reactor_is_harmless() {
    let mut reactor = Reactor::new().unwrap();
    let kept = Rc::new(RefCell::new(Vec::new()));
    for _ in 0..2 {
        let keep = kept.clone();
        drop(reactor.handle().spawn(poll_fn(move |context| {
            keep.borrow_mut().push(context.waker().clone());
            Poll::<()>::Pending
        })));
    }
    settle(&mut reactor);
    drop(reactor);
    for waker in kept.take() {
        waker.wake_by_ref();
        let clone = waker.clone();
        thread::spawn(move || clone.wake()).join().unwrap();
        waker.wake();
    }
}

#[test]
fn two_reactors_on_one_thread_serve_each_other() {
    let mut left = Reactor::new().unwrap();
    let mut right = Reactor::new().unwrap();
    let (listener, _folder) = listen(&right.handle(), Transport::Tcp);
    let address = listener.local_address();
    let server = right.handle().spawn(echo_once(listener));
    let handle = left.handle();
    let client = handle.clone().spawn(ask(handle, address));
    let start = Instant::now();
    while !client.is_finished() {
        assert!(start.elapsed() < DEADLINE);
        turn_now(&mut left);
        turn_now(&mut right);
    }
    turn_until(&mut right, || server.is_finished());
}

#[test]
fn a_reactor_can_run_inside_a_task_of_another() {
    run(async |outer| {
        let inside = outer.spawn(async {
            let mut reactor = Reactor::new().unwrap();
            let handle = reactor.handle();
            drive(&mut reactor, async {
                let sum = handle.spawn(async { 3 + 4 });
                handle.sleep(Duration::from_millis(1)).await;
                sum.await.unwrap()
            })
        });
        assert_eq!(inside.await.unwrap(), 7);
    });
}

#[test]
fn a_task_can_wait_for_a_task_of_another_reactor() {
    let mut working = Reactor::new().unwrap();
    let mut waiting = Reactor::new().unwrap();
    let work = working.handle().spawn(ready(5));
    let wait = waiting.handle().spawn(async { work.await.unwrap() + 1 });
    settle(&mut waiting);
    settle(&mut working);
    turn_until(&mut waiting, || wait.is_finished());
    assert_eq!(drive(&mut waiting, wait).unwrap(), 6);
}

#[test]
fn two_reactors_on_two_threads_talk_to_each_other() {
    let (sender, receiver) = mpsc::channel();
    let server = thread::spawn(move || {
        run(async |handle| {
            let (listener, folder) = listen(&handle, Transport::Unix);
            sender.send(listener.local_address()).unwrap();
            echo_once(listener).await;
            drop(folder);
        });
    });
    let address = receiver.recv_timeout(DEADLINE).unwrap();
    run(async |handle| ask(handle, address).await);
    server.join().unwrap();
}

#[test]
fn what_a_task_owns_is_dropped_when_it_ends_not_when_its_wakers_are() {
    run(async |handle| {
        let resource = Rc::new(());
        let held = resource.clone();
        let wakers = Arc::new(Mutex::new(Vec::new()));
        let keep = wakers.clone();
        let task = handle.spawn(async move {
            let _held = held;
            poll_fn(|context| {
                keep.lock().unwrap().push(context.waker().clone());
                Poll::Ready(())
            })
            .await;
        });
        task.await.unwrap();
        assert_eq!(Rc::strong_count(&resource), 1);
        assert_eq!(wakers.lock().unwrap().len(), 1);
    });
}

#[test]
fn a_read_can_be_driven_by_a_foreign_executor() {
    /// Its channel stands for that executor's queue.
    struct Queue(mpsc::Sender<()>);
    impl Wake for Queue {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(());
        }
    }
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let (sender, receiver) = mpsc::channel();
    let waker = Waker::from(Arc::new(Queue(sender)));
    let mut context = Context::from_waker(&waker);

    let (mut here, mut there) = drive(&mut reactor, connected_pair(&handle, Transport::Tcp));
    let mut byte = [0];
    let mut read = pin!(there.read_exact_into(&mut byte));
    assert!(read.as_mut().poll(&mut context).is_pending());
    drive(&mut reactor, async { here.write_all(b"!").await.unwrap() });
    turn_until(&mut reactor, || receiver.try_recv().is_ok());
    assert!(read.as_mut().poll(&mut context).is_ready());
}

#[test]
fn debug_output_says_how_much_a_reactor_has_to_do() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let idle = handle.spawn(pending::<()>());
    let _pair = drive(&mut reactor, connected_pair(&handle, Transport::Tcp));
    assert_eq!(
        format!("{reactor:?}"),
        "Reactor { tasks: 1, sockets: 2, .. }"
    );
    assert_eq!(format!("{idle:?}"), "JoinHandle { finished: false, .. }");
}

async fn echo_once(listener: Listener) {
    let mut stream = listener.accept().await.unwrap();
    let mut question = [0; 16];
    stream.read_exact_into(&mut question).await.unwrap();
    stream.write_all(&question).await.unwrap();
}

async fn ask(handle: Handle, address: Address) {
    let mut stream = Stream::connect(&handle, &address).await.unwrap();
    stream.write_all(b"sixteen bytes...").await.unwrap();
    let mut answer = [0; 16];
    stream.read_exact_into(&mut answer).await.unwrap();
    assert_eq!(&answer, b"sixteen bytes...");
}

/// What a thread leaves for a future, and whom it then wakes.
#[derive(Default)]
struct Signal {
    value: Option<u32>,
    waker: Option<Waker>,
}

impl Signal {
    /// Waits for a thread that starts when the future has been polled.
    async fn sent_by_a_thread() -> u32 {
        let signal = Arc::new(Mutex::new(Signal::default()));
        poll_fn(move |context| {
            let mut state = signal.lock().unwrap();
            if let Some(value) = state.value {
                return Poll::Ready(value);
            }
            assert!(state.waker.is_none(), "polled again and not woken");
            state.waker = Some(context.waker().clone());
            let theirs = signal.clone();
            thread::spawn(move || {
                let mut state = theirs.lock().unwrap();
                state.value = Some(11);
                let waker = state.waker.take().expect("polled before");
                drop(state);
                waker.wake();
            });
            Poll::Pending
        })
        .await
    }
}
