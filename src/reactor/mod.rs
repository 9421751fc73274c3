//! Who runs when: the reactor, its turns, and the handle that spawns on it.
//!
//! A turn polls the kernel once, wakes what became ready, then polls each task
//! that was ready by then once. Tasks that are woken during the turn wait for
//! the next one, so that I/O is looked at between any two polls of one task.

mod awake;
mod budget;
mod handle;
mod join;
mod registration;
mod remote;
mod scheduled_io;
mod task;
mod timer;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use mio::{Events, Token};

pub(crate) use budget::SHARED_LIMIT;
pub use handle::Handle;
pub(crate) use handle::Inner;
pub use join::{JoinError, JoinHandle, Panic};
pub(crate) use registration::Registration;
pub use remote::{Remote, RemoteSpawnError};
pub(crate) use scheduled_io::{Direction, ScheduledIo};
pub use timer::{Elapsed, Sleep};

use awake::AwakeFlag;
use budget::Budget;
use remote::Job;
use task::{TaskId, TaskTable};

/// Runs tasks and waits for their sockets, on one thread.
///
/// # Examples
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let mut reactor = readinto::Reactor::new()?;
/// let answer = reactor.block_on(async { 42 })?;
/// assert_eq!(answer, 42);
/// # Ok(())
/// # }
/// ```
///
/// It stays on the thread that made it:
///
/// ```compile_fail
/// let reactor = readinto::Reactor::new().unwrap();
/// std::thread::spawn(move || drop(reactor));
/// ```
///
/// Dropping it drops its tasks, and closes the sockets that they own. Sockets
/// held elsewhere stay open; an operation on them that would have to wait
/// fails with [`io::ErrorKind::NotConnected`], and a deadline that is waited
/// for elsewhere counts as passed.
pub struct Reactor {
    poll: mio::Poll,
    events: Events,
    jobs: Receiver<Box<dyn Job>>,
    handle: Handle,
    /// The future that `block_on` is driving.
    root: Option<TaskId>,
}

impl Reactor {
    /// A reactor with the default settings.
    ///
    /// # Errors
    ///
    /// Those of creating an epoll instance and an eventfd: usually that the
    /// process is out of file descriptors.
    pub fn new() -> io::Result<Reactor> {
        Reactor::builder().build()
    }

    /// Settings for a reactor that is to differ from the default.
    pub fn builder() -> Builder {
        Builder {
            remote_capacity: 1024,
        }
    }

    /// The means to spawn tasks and to open sockets on this reactor.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs `future`, and all spawned tasks meanwhile, until it completes.
    ///
    /// Tasks that are still running then go on in the next call of `block_on`
    /// or [`turn`](Reactor::turn).
    ///
    /// # Errors
    ///
    /// An error of the kernel's poll, as in [`turn`](Reactor::turn).
    ///
    /// # Panics
    ///
    /// If `future` panics. (A panic in a spawned task is its
    /// [`JoinHandle`]'s affair.)
    pub fn block_on<F: Future>(&mut self, future: F) -> io::Result<F::Output> {
        let mut future = pin!(future);
        let root = self.inner().tasks.root_waker();
        let waker = Waker::from(root.clone());
        let mut context = Context::from_waker(&waker);
        self.root = Some(root.id());
        self.inner().root_ready.set(true);
        loop {
            if self.inner().root_ready.take() {
                root.set_polled();
                self.inner().budget.reset();
                if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                    return Ok(output);
                }
            }
            self.run_turn(None)?;
        }
    }

    /// Runs one turn: polls the kernel, then the tasks that are ready.
    ///
    /// If no task is ready, it waits up to `timeout` (`None`: as long as it
    /// takes) for a socket, a deadline or another thread; mio rounds the wait
    /// up to whole milliseconds. A signal may end the wait early. To have a
    /// foreign event loop wait instead, give it the reactor's descriptor
    /// ([`AsFd`]) and the time of [`Turn::next_deadline`], and call `turn` with
    /// a timeout of zero when either is due, or at once if [`Turn::more`].
    ///
    /// # Errors
    ///
    /// An error of the kernel's poll. None is known to happen but by somebody
    /// else's closing the descriptor.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let mut reactor = readinto::Reactor::new()?;
    /// let task = reactor.handle().spawn(async {});
    /// while !task.is_finished() {
    ///     let turn = reactor.turn(None)?;
    ///     println!("{} polled, {} socket events", turn.tasks, turn.events);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<Turn> {
        self.root = None;
        self.inner().root_ready.set(false);
        self.run_turn(timeout)
    }

    fn run_turn(&mut self, timeout: Option<Duration>) -> io::Result<Turn> {
        let events = self.poll_io(timeout)?;
        self.inner().fire_timers();
        self.inner().awake.set_awake();
        self.take_jobs();
        let tasks = self.run_ready();
        // For futures that somebody polls by hand between two turns.
        self.inner().budget.reset();
        Ok(Turn {
            events,
            tasks,
            // Idle from here on, even before the next poll, so that other
            // threads end the sleep of a foreign loop as well.
            more: self.has_work() || !self.inner().awake.try_idle(),
            next_deadline: self.inner().timers.borrow().next_deadline(),
        })
    }

    fn inner(&self) -> &Inner {
        &self.handle.inner
    }

    /// Waits for the kernel, and wakes those whose sockets are ready.
    fn poll_io(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let may_wait = !self.has_work() && self.inner().awake.try_idle();
        let timeout = if may_wait {
            self.inner().time_to_wait(timeout)
        } else {
            Some(Duration::ZERO)
        };
        let polled = self.poll.poll(&mut self.events, timeout);
        self.inner().awake.set_notified();
        match polled {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(0),
            Err(error) => return Err(error),
        }

        let mut count = 0;
        for event in self.events.iter() {
            if event.token() == WAKE_TOKEN {
                continue;
            }
            count += 1;
            let io = self.inner().ios.borrow().get(event.token().0).cloned();
            if let Some(io) = io {
                io.dispatch(event);
            }
        }
        Ok(count)
    }

    /// Spawns what other threads have sent by now.
    fn take_jobs(&self) {
        for job in self.jobs.try_iter().take(self.jobs.len()) {
            job.run(&self.handle);
        }
    }

    /// Polls each task that is ready by now.
    fn run_ready(&self) -> usize {
        let inner = self.inner();
        let mut tasks = 0;
        for id in inner.ready.drain() {
            if Some(id) == self.root {
                inner.root_ready.set(true);
            } else {
                inner.budget.reset();
                tasks += usize::from(inner.tasks.run(id));
            }
        }
        tasks
    }

    fn has_work(&self) -> bool {
        self.inner().is_any_ready() || !self.jobs.is_empty()
    }
}

impl AsFd for Reactor {
    /// The epoll descriptor: readable when a socket is ready or another thread
    /// has called.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.registry().as_fd()
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        self.inner().closed.set(true);
        self.inner().tasks.abort_all();
        // The queue lives as long as a `Remote` does; what is in it need not.
        self.jobs.try_iter().for_each(drop);
        self.inner().wake_all();
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner().fmt_as("Reactor", f)
    }
}

/// Settings of a [`Reactor`]; made by [`Reactor::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder {
    remote_capacity: usize,
}

impl Builder {
    /// How many closures [`Remote::spawn`] may have waiting at once, 1024 by
    /// default; the queue of them takes 24 bytes each from the start.
    pub fn remote_capacity(mut self, closures: usize) -> Builder {
        self.remote_capacity = closures;
        self
    }

    /// Makes the reactor.
    ///
    /// # Errors
    ///
    /// As [`Reactor::new`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let reactor = readinto::Reactor::builder().remote_capacity(16).build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn build(self) -> io::Result<Reactor> {
        let poll = mio::Poll::new()?;
        let awake = Arc::new(AwakeFlag::new(poll.registry(), WAKE_TOKEN)?);
        let (remote, jobs) = remote::remote(awake.clone(), self.remote_capacity);
        let (ready_sender, ready) = task::ready_queue(awake.clone());
        let inner = Inner {
            registry: poll.registry().try_clone()?,
            awake,
            ios: RefCell::default(),
            timers: RefCell::default(),
            tasks: TaskTable::new(ready_sender),
            ready,
            root_ready: Cell::new(false),
            budget: Budget::default(),
            remote,
            closed: Cell::new(false),
        };
        Ok(Reactor {
            poll,
            events: Events::with_capacity(EVENTS),
            jobs,
            handle: Handle {
                inner: Rc::new(inner),
            },
            root: None,
        })
    }
}

/// What one [`Reactor::turn`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Turn {
    /// Sockets that the kernel reported ready.
    pub events: usize,
    /// Tasks that were polled.
    pub tasks: usize,
    /// Whether a task is ready already: the next turn will not wait.
    pub more: bool,
    /// When the earliest [`Sleep`] or timeout is due.
    pub next_deadline: Option<Instant>,
}

/// The eventfd's; sockets count up from zero.
const WAKE_TOKEN: Token = Token(usize::MAX);

/// How many events one poll can return; more wait for the next turn.
const EVENTS: usize = 1024;
