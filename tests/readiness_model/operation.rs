//! An operation that is polled, handed over and dropped as the test likes.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};

use readinto::{Handle, JoinHandle, StreamError};

/// Who polls an operation, which decides on the kind of its waker.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Driver {
    /// A task, by its own waker.
    Task,
    /// A task, by a waker that wraps its own.
    Combinator,
    /// The test, between two turns, once it has been woken; but a task does what is
    /// long, as all that runs between two turns shares one budget.
    Hand,
}

/// What an operation leaves: the buffer that it filled, if it did, and its result.
pub(crate) type Outcome = (Vec<u8>, Result<(), StreamError>);

/// An operation in progress.
pub(crate) struct Operation {
    shared: Rc<Shared>,
    driving: Driving,
}

enum Driving {
    Task(JoinHandle<()>),
    Hand(Arc<Woken>),
}

struct Shared {
    len: usize,
    future: RefCell<Option<Pin<Box<dyn Future<Output = Outcome>>>>>,
    outcome: Cell<Option<Outcome>>,
    waker: RefCell<Option<Waker>>,
    polls: Rc<Cell<usize>>,
}

impl Operation {
    /// Has `driver` poll `future`, which moves `len` bytes; `polls` counts how often.
    pub(crate) fn new(
        handle: &Handle,
        len: usize,
        future: impl Future<Output = Outcome> + 'static,
        driver: Driver,
        polls: Rc<Cell<usize>>,
    ) -> Operation {
        let shared = Rc::new(Shared {
            len,
            future: RefCell::new(Some(Box::pin(future))),
            outcome: Cell::new(None),
            waker: RefCell::new(None),
            polls,
        });
        let driving = Driving::start(handle, &shared, driver);
        Operation { shared, driving }
    }

    pub(crate) fn hand_over(&mut self, handle: &Handle, driver: Driver) {
        self.driving.stop();
        self.driving = Driving::start(handle, &self.shared, driver);
    }

    /// Polls it if that is for the test to do; tells whether it did.
    pub(crate) fn poll_by_hand(&self) -> bool {
        match &self.driving {
            Driving::Hand(woken) if woken.0.swap(false, Relaxed) => {
                let _ = self.shared.poll(&woken.clone().into());
                true
            }
            _ => false,
        }
    }

    /// The waker of its last poll.
    pub(crate) fn waker(&self) -> Option<Waker> {
        self.shared.waker.borrow().clone()
    }

    pub(crate) fn take_outcome(&self) -> Option<Outcome> {
        self.shared.outcome.take()
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.driving.stop();
    }
}

impl Driving {
    fn start(handle: &Handle, shared: &Rc<Shared>, driver: Driver) -> Driving {
        let polled = shared.clone();
        match driver {
            Driver::Task => {
                Driving::Task(handle.spawn(poll_fn(move |context| polled.poll(context.waker()))))
            }
            Driver::Hand if shared.len <= MOST_BY_HAND => {
                let woken = Arc::new(Woken::default());
                let _ = polled.poll(&woken.clone().into());
                Driving::Hand(woken)
            }
            Driver::Combinator | Driver::Hand => {
                Driving::Task(handle.spawn(poll_fn(move |context| {
                    polled.poll(&Arc::new(Wrapping(context.waker().clone())).into())
                })))
            }
        }
    }

    fn stop(&self) {
        if let Driving::Task(task) = self {
            task.abort();
        }
    }
}

impl Shared {
    fn poll(&self, waker: &Waker) -> Poll<()> {
        let mut slot = self.future.borrow_mut();
        let future = slot.as_mut().expect("not polled after its end");
        self.polls.set(self.polls.get() + 1);
        self.waker.replace(Some(waker.clone()));
        future
            .as_mut()
            .poll(&mut Context::from_waker(waker))
            .map(|outcome| {
                *slot = None;
                self.outcome.set(Some(outcome));
            })
    }
}

/// The waker of who polls by hand.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

/// The waker of a future that polls others.
struct Wrapping(Waker);

impl Wake for Wrapping {
    fn wake(self: Arc<Self>) {
        self.0.wake_by_ref();
    }
}

/// The longest operation that is polled by hand: of those, [`MOST_AT_ONCE`] fit into
/// one budget.
///
/// [`MOST_AT_ONCE`]: crate::MOST_AT_ONCE
const MOST_BY_HAND: usize = 5000;
