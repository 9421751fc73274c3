//! Whoever waits for a place gets one in the end, whatever threads do meanwhile. Loom tries
//! all orders of three threads up to two preemptions of a thread; a lost wake-up is a
//! deadlock there.
//!
//! The queue is the library's own file; the places are a count of this test's.

#[path = "../src/wait_queue.rs"]
mod wait_queue;

#[path = "../src/waiting.rs"]
#[allow(dead_code, reason = "the model needs a part of it")]
mod waiting;

mod mutex {
    pub(crate) use loom::sync::{Mutex, MutexGuard};
}

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;

use wait_queue::WaitQueue;

/// A number of places, and who waits for one.
struct Places {
    free: AtomicUsize,
    is_gone: AtomicBool,
    waiting: WaitQueue,
}

impl Places {
    fn new(free: usize) -> Arc<Places> {
        Arc::new(Places {
            free: AtomicUsize::new(free),
            is_gone: AtomicBool::new(false),
            waiting: WaitQueue::default(),
        })
    }

    /// Whether a place was taken, rather than that all have gone.
    async fn take(&self) -> bool {
        self.waiting.take(|| self.free(), || self.try_take()).await
    }

    fn try_take(&self) -> Option<bool> {
        if self.is_gone.load(Ordering::Acquire) {
            return Some(false);
        }
        let one_less = |free: usize| free.checked_sub(1);
        let order = Ordering::AcqRel;
        let taken = self.free.fetch_update(order, Ordering::Acquire, one_less);
        taken.ok().map(|_| true)
    }

    fn free(&self) -> usize {
        self.free.load(Ordering::Acquire)
    }

    fn give_back(&self) {
        self.free.fetch_add(1, Ordering::AcqRel);
        self.waiting.wake(|| self.free());
    }

    fn end(&self) {
        self.is_gone.store(true, Ordering::Release);
        self.waiting.close();
    }
}

/// A thread that sleeps until it is woken.
#[derive(Default)]
struct Sleeper {
    woken: Mutex<bool>,
    wake: Condvar,
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.wake.notify_one();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let sleeper = Arc::new(Sleeper::default());
    let waker = Waker::from(sleeper.clone());
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut woken = sleeper.woken.lock().unwrap();
        while !*woken {
            woken = sleeper.wake.wait(woken).unwrap();
        }
        *woken = false;
    }
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut loom = loom::model::Builder::new();
    loom.preemption_bound = Some(2);
    loom.check(model);
}

#[test]
fn each_place_that_is_freed_lets_in_one() {
    check(|| {
        let places = Places::new(0);
        let threads = [0, 1].map(|_| {
            let places = places.clone();
            thread::spawn(move || assert!(block_on(places.take())))
        });
        places.give_back();
        places.give_back();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(places.free(), 0);
    });
}

#[test]
fn all_get_the_only_place_one_after_the_other() {
    check(|| {
        let places = Places::new(1);
        let threads = [0, 1].map(|_| {
            let places = places.clone();
            thread::spawn(move || {
                block_on(places.take());
                places.give_back();
            })
        });
        block_on(places.take());
        places.give_back();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(places.free(), 1);
    });
}

#[test]
fn who_gives_up_does_not_keep_the_turn() {
    check(|| {
        let places = Places::new(0);
        let waiting = places.clone();
        let waiting = thread::spawn(move || assert!(block_on(waiting.take())));
        let giving_up = places.clone();
        let giving_up = thread::spawn(move || {
            let taken = {
                let future = pin!(giving_up.take());
                future.poll(&mut Context::from_waker(Waker::noop()))
            };
            if taken.is_ready() {
                giving_up.give_back();
            }
        });
        places.give_back();
        waiting.join().unwrap();
        giving_up.join().unwrap();
        assert_eq!(places.free(), 0);
    });
}

#[test]
fn the_end_is_seen_by_all() {
    check(|| {
        let places = Places::new(0);
        let threads = [0, 1].map(|_| {
            let places = places.clone();
            thread::spawn(move || assert!(!block_on(places.take())))
        });
        places.end();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}
