//! What other threads bring to a reactor arrives, once and in each sender's order,
//! and ends its sleep; what comes as the reactor goes is not kept. Loom tries all
//! orders of two threads and the loop up to two preemptions of a thread, or three
//! where there is less to do.
//!
//! The queues, the wakers, `Remote` and the states of the awake flag are the
//! library's own files; the loop that they meet is a short one of this test's. Loom's
//! locks stand in for the eventfd and for the channel.

#[path = "../src/reactor/awake/state.rs"]
#[allow(dead_code, reason = "the model needs a part of it")]
mod state;

#[path = "../src/reactor/ready.rs"]
#[allow(dead_code, reason = "the model needs a part of it")]
mod ready;

#[path = "../src/reactor/queue.rs"]
#[allow(dead_code, reason = "the model needs a part of it")]
mod queue;

#[path = "../src/reactor/remote.rs"]
#[allow(dead_code, unreachable_pub, reason = "the model needs a part of it")]
mod remote;

mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, Ordering};
}

mod mutex {
    pub(crate) use loom::sync::{Mutex, MutexGuard};
}

/// What a reactor would report of a task.
mod stall {
    use std::panic::Location;

    #[allow(dead_code, reason = "the model reports nothing")]
    pub(crate) struct Origin {
        pub(crate) name: fn() -> &'static str,
        pub(crate) location: &'static Location<'static>,
    }
}

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;

use awake::AwakeFlag;
use ready::{ReadyReceiver, TaskId, TaskWaker, ready_queue};
use remote::{Jobs, Remote, RemoteSpawnError, remote};

/// The real flag, with a lock for the eventfd.
mod awake {
    use loom::sync::{Condvar, Mutex};

    use super::state::State;

    #[derive(Debug)]
    pub(crate) struct AwakeFlag {
        pub(crate) state: State,
        eventfd: Mutex<usize>,
        written: Condvar,
    }

    impl AwakeFlag {
        pub(crate) fn new() -> AwakeFlag {
            AwakeFlag {
                state: State::notified(),
                eventfd: Mutex::new(0),
                written: Condvar::new(),
            }
        }

        pub(crate) fn notify(&self) {
            if self.state.notify() {
                *self.eventfd.lock().unwrap() += 1;
                self.written.notify_one();
            }
        }

        pub(crate) fn notify_if_idle(&self) {
            if self.state.is_idle() {
                self.notify();
            }
        }

        /// Sleeps until it is written to: for ever, which loom reports, if a wake-up
        /// was lost.
        pub(crate) fn sleep(&self) {
            let mut count = self.eventfd.lock().unwrap();
            while *count == 0 {
                count = self.written.wait(count).unwrap();
            }
            assert_eq!(*count, 1, "a second write in one sleep");
            *count = 0;
        }
    }
}

/// As much of crossbeam-channel as the ready queue needs.
mod channel {
    use std::collections::VecDeque;
    use std::iter;

    pub(crate) use crossbeam_channel::TrySendError;
    use loom::sync::{Arc, Mutex};

    pub(crate) fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
        let queue = Arc::new(Mutex::new(VecDeque::new()));
        let sender = Sender {
            queue: queue.clone(),
            capacity,
        };
        (sender, Receiver { queue })
    }

    pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
        bounded(usize::MAX)
    }

    #[derive(Debug)]
    pub(crate) struct Sender<T> {
        queue: Arc<Mutex<VecDeque<T>>>,
        capacity: usize,
    }

    impl<T> Sender<T> {
        pub(crate) fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
            let mut queue = self.queue.lock().unwrap();
            if queue.len() >= self.capacity {
                return Err(TrySendError::Full(item));
            }
            queue.push_back(item);
            Ok(())
        }

        pub(crate) fn send(&self, item: T) -> Result<(), TrySendError<T>> {
            self.try_send(item)
        }
    }

    #[derive(Debug)]
    pub(crate) struct Receiver<T> {
        queue: Arc<Mutex<VecDeque<T>>>,
    }

    impl<T> Receiver<T> {
        pub(crate) fn try_iter(&self) -> impl Iterator<Item = T> {
            iter::from_fn(|| self.queue.lock().unwrap().pop_front())
        }

        pub(crate) fn len(&self) -> usize {
            self.queue.lock().unwrap().len()
        }
    }
}

/// Spawns by polling once: what is spawned here never waits.
#[derive(Clone)]
pub(crate) struct Handle;

impl Handle {
    fn spawn_from<F: Future<Output = ()>>(&self, _: stall::Origin, future: F) -> Pin<Box<F>> {
        let mut task = Box::pin(future);
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(task.as_mut().poll(&mut context), Poll::Ready(()));
        task
    }
}

/// The loop's end.
struct Loop {
    awake: Arc<AwakeFlag>,
    ready: ReadyReceiver,
    jobs: Jobs,
}

impl Loop {
    fn new(capacity: usize) -> (Loop, Remote, Arc<TaskWaker>) {
        let awake = Arc::new(AwakeFlag::new());
        let (remote, jobs) = remote(awake.clone(), capacity);
        let (sender, ready) = ready_queue(awake.clone());
        let task = TaskWaker::new(TaskId::NONE, sender);
        let the_loop = Loop { awake, ready, jobs };
        (the_loop, remote, task)
    }

    /// Does what a reactor does, with one task, until that is `done`.
    fn run(&mut self, task: &TaskWaker, mut poll: impl FnMut(), done: impl Fn() -> bool) {
        let mut sleeps = 0;
        while !done() {
            if self.awake.state.try_idle() {
                sleeps += 1;
                self.awake.sleep();
            }
            self.awake.state.leave_idle();
            let mut woken = Vec::new();
            self.awake.state.take_announced(|| {
                woken.extend(self.ready.take_queued());
                self.jobs.run(&Handle);
            });
            assert!(woken.len() <= 1, "the task is queued twice");
            for id in woken {
                assert_eq!(id, task.id());
                task.set_polled();
                poll();
            }
        }
        assert!(sleeps <= 3, "{sleeps} sleeps for three pieces of work");
    }
}

fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut loom = loom::model::Builder::new();
    loom.preemption_bound = Some(preemptions);
    loom.check(model);
}

#[test]
fn a_task_sees_all_that_it_was_woken_for() {
    check(2, || {
        let (mut the_loop, _remote, task) = Loop::new(1);
        let brought = Arc::new(AtomicUsize::new(0));
        let threads = [0, 1].map(|_| {
            let (task, brought) = (task.clone(), brought.clone());
            thread::spawn(move || {
                brought.fetch_add(1, Relaxed);
                task.wake_by_ref();
            })
        });
        let seen = Cell::new(0);
        the_loop.run(
            &task,
            || seen.set(brought.load(Relaxed)),
            || seen.get() == 2,
        );
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn closures_run_once_and_in_their_senders_order() {
    check(2, || {
        let (mut the_loop, remote, task) = Loop::new(3);
        let ran = Arc::new(std::sync::Mutex::new(Vec::new()));
        let spawn = |remote: &Remote, ran: &Arc<std::sync::Mutex<Vec<_>>>, number| {
            let ran = ran.clone();
            let spawned = remote.spawn(async move |_handle| ran.lock().unwrap().push(number));
            assert!(spawned.is_ok(), "there is room for three");
        };
        let threads = [vec![1, 2], vec![11]].map(|numbers| {
            let (remote, ran) = (remote.clone(), ran.clone());
            thread::spawn(move || {
                numbers
                    .into_iter()
                    .for_each(|number| spawn(&remote, &ran, number));
            })
        });
        the_loop.run(&task, || (), || ran.lock().unwrap().len() >= 3);
        for thread in threads {
            thread.join().unwrap();
        }
        let mut ran = ran.lock().unwrap().clone();
        ran.retain(|&number| number != 11);
        assert_eq!(ran, [1, 2]);
    });
}

#[test]
fn a_closure_that_finds_no_room_is_given_back_and_the_others_run() {
    check(2, || {
        let (mut the_loop, remote, task) = Loop::new(1);
        let ran = Arc::new(AtomicUsize::new(0));
        let refused = Arc::new(AtomicUsize::new(0));
        let threads = [0, 1].map(|_| {
            let (remote, ran, refused) = (remote.clone(), ran.clone(), refused.clone());
            thread::spawn(move || {
                let counts = async move |_handle| {
                    ran.fetch_add(1, Relaxed);
                };
                match remote.spawn(counts) {
                    Ok(()) => {}
                    Err(RemoteSpawnError::Full(_)) => {
                        refused.fetch_add(1, Relaxed);
                        remote.wake();
                    }
                    Err(error) => panic!("{error}"),
                }
            })
        });
        let (all_ran, all_refused) = (ran.clone(), refused.clone());
        the_loop.run(
            &task,
            || (),
            move || all_ran.load(Relaxed) + all_refused.load(Relaxed) == 2,
        );
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(ran.load(Relaxed) >= 1, "there was room for one");
    });
}

#[test]
fn a_closure_that_comes_as_the_loop_goes_is_given_back_or_dropped() {
    check(3, || {
        let (the_loop, remote, _task) = Loop::new(2);
        let resource = Arc::new(());
        let threads = [0, 1].map(|_| {
            let (remote, held) = (remote.clone(), resource.clone());
            thread::spawn(move || drop(remote.spawn(async move |_handle| drop(held))))
        });
        drop(the_loop);
        for thread in threads {
            thread.join().unwrap();
        }
        // The remote is still there, and the queue with it.
        assert_eq!(Arc::strong_count(&resource), 1, "the queue has kept one");
        assert!(matches!(
            remote.spawn(async |_handle| ()),
            Err(RemoteSpawnError::Gone(_))
        ));
    });
}
