//! No wake-up is lost and none is written twice, in any order of two threads that
//! bring work and one that sleeps, and with any reordering that the memory model
//! allows: loom tries them all, up to three preemptions of a thread.
//!
//! The states are those of the library's own file.

#[path = "../src/reactor/awake/state.rs"]
#[allow(dead_code, reason = "the model needs a part of it")]
mod state;

mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU8, Ordering};
}

use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use state::State;

/// What the threads share.
struct Model {
    state: State,
    /// The queue of work: pushed to before the notification, and with no order of
    /// its own that the flag could lean on.
    pushed: AtomicUsize,
    eventfd: Mutex<usize>,
    written: Condvar,
}

impl Model {
    /// What a waker does on another thread.
    fn bring_work(&self) {
        self.pushed.fetch_add(1, Relaxed);
        if self.state.notify() {
            *self.eventfd.lock().unwrap() += 1;
            self.written.notify_one();
        }
    }

    /// What the loop does until it has seen so much work; returns how often it
    /// slept. A lost wake-up is a sleep without end, which loom reports.
    fn run(&self, work: usize) -> usize {
        let mut sleeps = 0;
        let mut seen = 0;
        while seen < work {
            if self.state.try_idle() {
                sleeps += 1;
                let mut count = self.eventfd.lock().unwrap();
                while *count == 0 {
                    count = self.written.wait(count).unwrap();
                }
                assert_eq!(*count, 1, "a second write in one sleep");
                *count = 0;
            }
            self.state.leave_idle();
            self.state
                .take_announced(|| seen = self.pushed.load(Relaxed));
        }
        sleeps
    }
}

#[test]
fn no_wake_up_is_lost_and_a_sleep_costs_one_write() {
    let mut loom = loom::model::Builder::new();
    loom.preemption_bound = Some(3);
    loom.check(|| {
        let model = Arc::new(Model {
            state: State::notified(),
            pushed: AtomicUsize::new(0),
            eventfd: Mutex::new(0),
            written: Condvar::new(),
        });
        let wakers = [0, 1].map(|_| {
            let model = model.clone();
            thread::spawn(move || model.bring_work())
        });
        let sleeps = model.run(2);
        assert!(sleeps <= 2, "{sleeps} sleeps for two pieces of work");
        for waker in wakers {
            waker.join().unwrap();
        }
    });
}
