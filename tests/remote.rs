//! Work from other threads: nothing is lost, nothing comes twice, and each
//! sender's work keeps its order.

mod support;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use readinto::{Handle, Reactor, Remote, RemoteSpawnError};

use support::turns::{drive, is_readable, settle, turn_now, turn_until};
use support::{DEADLINE, run, yield_now};

#[test]
fn eight_threads_spawn_and_wake_a_million_times_and_nothing_is_lost() {
    run(async |handle| {
        // What arrives is counted on the reactor's thread, without atomics.
        thread_local! {
            static NEXT: RefCell<[usize; THREADS]> = const { RefCell::new([0; THREADS]) };
        }
        let mailboxes: Vec<Mailbox> = (0..THREADS).map(|_| Mailbox::default()).collect();
        let receivers: Vec<_> = mailboxes
            .iter()
            .map(|mailbox| handle.spawn(mailbox.clone().receive(EACH)))
            .collect();

        let senders: Vec<_> = (0..THREADS)
            .map(|sender| {
                let remote = handle.remote();
                let mailbox = mailboxes[sender].clone();
                thread::spawn(move || {
                    for number in 0..EACH {
                        spawn_retrying(&remote, async move |_handle: Handle| {
                            let expected = NEXT.with_borrow_mut(|next| {
                                next[sender] += 1;
                                next[sender] - 1
                            });
                            assert_eq!(number, expected, "lost, doubled or out of order");
                        });
                        mailbox.put_and_wake();
                    }
                })
            })
            .collect();

        for receiver in receivers {
            assert_eq!(receiver.await.unwrap(), EACH);
        }
        while handle.tasks() > 0 || NEXT.with_borrow(|next| next.iter().any(|&n| n < EACH)) {
            yield_now().await;
        }
        for sender in senders {
            sender.join().unwrap();
        }
        assert_eq!(NEXT.take(), [EACH; THREADS]);
    });
}

/// Each spawn finds the reactor asleep, or about to be, or just woken, or polling
/// busily.
#[test]
fn a_spawn_ends_the_reactors_sleep_whenever_it_comes() {
    for busily in [0, 20].map(Duration::from_micros) {
        let mut reactor = Reactor::builder().busy_poll(busily).build().unwrap();
        let remote = reactor.handle().remote();
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let remote = remote.clone();
                thread::spawn(move || {
                    let (sender, receiver) = mpsc::channel();
                    for round in 0..500 {
                        let sender = sender.clone();
                        spawn_retrying(&remote, async move |_handle: Handle| {
                            sender.send(round).unwrap();
                        });
                        assert_eq!(receiver.recv_timeout(DEADLINE / 2), Ok(round));
                    }
                })
            })
            .collect();
        // Parked meanwhile: only what the threads send makes it run.
        let all_done = Mailbox::default();
        let done = all_done.clone();
        let joiner = thread::spawn(move || {
            let results: Vec<_> = threads.into_iter().map(|t| t.join()).collect();
            done.put_and_wake();
            results
        });
        drive(&mut reactor, all_done.receive(1));
        for result in joiner.join().unwrap() {
            result.unwrap();
        }
    }
}

#[test]
fn closures_of_one_sender_run_in_their_order_and_on_the_reactors_thread() {
    let mut reactor = Reactor::new().unwrap();
    let remote = reactor.handle().remote();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for number in 0..1000 {
            let sender = sender.clone();
            let spawned = remote.spawn(move |_handle| {
                // The future is made here, so it need not be `Send`.
                let number = Rc::new(number);
                async move { sender.send((*number, thread::current().id())).unwrap() }
            });
            spawned.expect("1000 fit into the default capacity");
        }
    })
    .join()
    .unwrap();
    settle(&mut reactor);
    let here = thread::current().id();
    let expected: Vec<_> = (0..1000).map(|number| (number, here)).collect();
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_queue_that_is_full_gives_the_closure_back_and_takes_it_later() {
    let mut reactor = Reactor::builder().remote_capacity(4).build().unwrap();
    let remote = reactor.handle().remote();
    let ran = Arc::new(AtomicUsize::new(0));
    let closure = || {
        let ran = ran.clone();
        async move |_handle: Handle| {
            ran.fetch_add(1, Ordering::Relaxed);
        }
    };
    for _ in 0..4 {
        remote.spawn(closure()).unwrap();
    }
    let error = remote.spawn(closure()).unwrap_err();
    assert!(matches!(error, RemoteSpawnError::Full(_)));
    assert!(error.to_string().contains("full"), "{error}");
    let given_back = error.into_inner();

    settle(&mut reactor);
    assert_eq!(ran.load(Ordering::Relaxed), 4);
    remote.spawn(given_back).unwrap();
    settle(&mut reactor);
    assert_eq!(ran.load(Ordering::Relaxed), 5);
}

#[test]
fn a_reactor_that_is_gone_gives_the_closure_back() {
    let reactor = Reactor::new().unwrap();
    let remote = reactor.handle().remote();
    drop(reactor);
    remote.wake();
    let resource = Arc::new(());
    let held = resource.clone();
    let error = thread::spawn(move || {
        remote.wake();
        remote.spawn(async move |_handle| drop(held)).unwrap_err()
    })
    .join()
    .unwrap();
    assert!(matches!(error, RemoteSpawnError::Gone(_)));
    assert!(error.to_string().contains("gone"), "{error}");
    assert_eq!(Arc::strong_count(&resource), 2);
    drop(error.into_inner());
    assert_eq!(Arc::strong_count(&resource), 1);
}

/// The remote outlives the reactor here: what it keeps, it keeps for ever.
#[test]
fn a_closure_that_comes_as_the_reactor_goes_is_given_back_or_dropped() {
    let resource = Arc::new(());
    for round in 0..1000 {
        let reactor = Reactor::builder().remote_capacity(4).build().unwrap();
        let remote = reactor.handle().remote();
        let (begun, begins) = mpsc::channel();
        let (sending, held) = (remote.clone(), resource.clone());
        let thread = thread::spawn(move || {
            begun.send(()).unwrap();
            loop {
                let held = held.clone();
                let spawned = sending.spawn(async move |_handle: Handle| drop(held));
                if let Err(RemoteSpawnError::Gone(_)) = spawned {
                    return;
                }
            }
        });
        begins.recv().unwrap();
        drop(reactor);
        thread.join().unwrap();
        assert_eq!(
            Arc::strong_count(&resource),
            1,
            "the queue has kept one in round {round}"
        );
    }
}

#[test]
fn a_panic_in_a_closure_or_in_its_task_harms_nobody_else() {
    let mut reactor = Reactor::new().unwrap();
    let remote = reactor.handle().remote();
    let ran = Arc::new(AtomicUsize::new(0));
    let count = ran.clone();
    thread::spawn(move || {
        let panics = |_handle: Handle| -> std::future::Ready<()> { panic!("in the closure") };
        remote.spawn(panics).unwrap();
        remote.spawn(async |_handle| panic!("in the task")).unwrap();
        let counts = async move |_handle: Handle| {
            count.fetch_add(1, Ordering::Relaxed);
        };
        remote.spawn(counts).unwrap();
    })
    .join()
    .unwrap();
    settle(&mut reactor);
    assert_eq!(ran.load(Ordering::Relaxed), 1);
    assert_eq!(reactor.handle().tasks(), 0);
}

#[test]
fn many_wakes_cost_one_turn() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let polls = Rc::new(Cell::new(0));
    let waker = Arc::new(Mutex::new(None::<Waker>));
    let (count, keep) = (polls.clone(), waker.clone());
    let _task = handle.spawn(poll_fn(move |context| {
        count.set(count.get() + 1);
        *keep.lock().unwrap() = Some(context.waker().clone());
        Poll::<()>::Pending
    }));
    settle(&mut reactor);

    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (waker, remote) = (waker.clone(), handle.remote());
            thread::spawn(move || {
                for _ in 0..1000 {
                    waker
                        .lock()
                        .unwrap()
                        .as_ref()
                        .expect("polled")
                        .wake_by_ref();
                    remote.wake();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let turn = turn_now(&mut reactor);
    assert_eq!((turn.tasks, turn.more), (1, false));
    assert_eq!(polls.get(), 2);
    assert!(
        !is_readable(&reactor, Duration::ZERO),
        "a wake was left behind"
    );
}

#[test]
fn a_task_may_use_its_own_reactors_remote() {
    let mut reactor = Reactor::builder().remote_capacity(1).build().unwrap();
    let handle = reactor.handle();
    let remote = handle.remote();
    let (sender, receiver) = mpsc::channel();
    drop(handle.spawn(async move {
        for number in 0..3 {
            let sender = sender.clone();
            let mut spawned = remote.spawn(async move |_handle| sender.send(number).unwrap());
            while let Err(error) = spawned {
                yield_now().await;
                spawned = remote.spawn(error.into_inner());
            }
        }
    }));
    turn_until(&mut reactor, || {
        handle.tasks() == 0 && receiver.try_iter().last() == Some(2)
    });
}

#[test]
fn a_remote_does_not_keep_the_reactor_alive() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let remote = handle.remote();
    let resource = Rc::new(());
    let held = resource.clone();
    drop(handle.spawn(async move {
        let _held = held;
        std::future::pending::<()>().await;
    }));
    settle(&mut reactor);
    drop(reactor);
    assert_eq!(Rc::strong_count(&resource), 1);
    assert!(remote.spawn(async |_handle| ()).is_err());
}

/// Spawns, waiting for room as long as there is none.
fn spawn_retrying<F>(remote: &Remote, make: impl AsyncJob<F>)
where
    F: Future<Output = ()> + 'static,
{
    let mut make = make;
    loop {
        match remote.spawn(make) {
            Ok(()) => return,
            Err(error @ RemoteSpawnError::Full(_)) => {
                make = error.into_inner();
                thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// What [`Remote::spawn`] takes.
trait AsyncJob<F>: FnOnce(Handle) -> F + Send + 'static {}

impl<M, F> AsyncJob<F> for M where M: FnOnce(Handle) -> F + Send + 'static {}

/// Counts on one side, wakes on the other.
#[derive(Clone, Default)]
struct Mailbox {
    count: Arc<AtomicUsize>,
    waker: Arc<Mutex<Option<Waker>>>,
}

impl Mailbox {
    fn put_and_wake(&self) {
        self.count.fetch_add(1, Ordering::Release);
        if let Some(waker) = &*self.waker.lock().unwrap() {
            waker.wake_by_ref();
        }
    }

    /// Takes out until `expected` have come, and parks in between.
    async fn receive(self, expected: usize) -> usize {
        let mut received = 0;
        poll_fn(move |context| {
            *self.waker.lock().unwrap() = Some(context.waker().clone());
            received += self.count.swap(0, Ordering::AcqRel);
            if received < expected {
                return Poll::Pending;
            }
            Poll::Ready(received)
        })
        .await
    }
}

const THREADS: usize = 8;

/// Spawns by each thread, and as many wakes: a million in all.
const EACH: usize = 62_500;
