//! Who runs when: the reactor, its turns, and the handle that spawns on it.
//!
//! A turn polls the kernel once, wakes what became ready, then polls each task
//! that was ready by then once, but those that move much only as far as a share of
//! the turn goes (`run_queue.rs`). Tasks that are woken during the turn wait for
//! the next one, so that I/O is looked at between any two polls of one task.

mod awake;
mod budget;
mod builder;
mod handle;
mod inner;
mod join;
mod parked;
mod queue;
mod ready;
mod registration;
mod remote;
mod run_queue;
mod scheduled_io;
mod spin;
mod stall;
mod stats;
mod task;
mod timeout;
mod timer;

// What the files that a model checker compiles take their tools from.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
}
mod channel {
    pub(super) use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};
}
mod mutex {
    pub(super) use std::sync::{Mutex, MutexGuard};
}

use std::any::type_name;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::Location;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use mio::{Events, Token};

pub(crate) use budget::{LIMIT, WHOLE, Wish};
use budget::{SHARE, SPARSE};
pub use builder::Builder;
pub use handle::Handle;
pub(crate) use inner::Inner;
pub use join::{JoinError, JoinHandle, Panic};
pub(crate) use registration::{Registration, Unregistered};
pub use remote::{Remote, RemoteSpawnError};
pub(crate) use scheduled_io::{Direction, ScheduledIo};
pub use stall::TurnLengths;
pub use stats::Stats;
pub use timeout::Elapsed;
pub use timer::Sleep;

use ready::TaskId;
use remote::Jobs;
use run_queue::Flow;
use spin::Spin;
use stall::Origin;

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
    spin: Spin,
    jobs: Jobs,
    handle: Handle,
    /// The future that `block_on` is driving.
    root: Option<TaskId>,
    turns: u32,
}

impl Reactor {
    /// A reactor with the default settings.
    ///
    /// # Errors
    ///
    /// Those of creating an epoll instance and an eventfd: usually that the
    /// process is out of file descriptors.
    ///
    /// # Examples
    ///
    /// See [`Reactor`].
    pub fn new() -> io::Result<Reactor> {
        Reactor::builder().build()
    }

    /// Settings for a reactor that is to differ from the default.
    ///
    /// # Examples
    ///
    /// See [`Builder::build`].
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The means to spawn tasks and to open sockets on this reactor.
    ///
    /// # Examples
    ///
    /// See [`Handle`].
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
    ///
    /// # Examples
    ///
    /// See [`Reactor`].
    #[track_caller]
    pub fn block_on<F: Future>(&mut self, future: F) -> io::Result<F::Output> {
        self.block_on_as::<F, F>(Location::caller(), future)
    }

    /// As [`block_on`](Reactor::block_on), with another future's name, and another
    /// place, for the report of a stall.
    pub(crate) fn block_on_as<Named, F: Future>(
        &mut self,
        location: &'static Location<'static>,
        future: F,
    ) -> io::Result<F::Output> {
        let origin = Origin {
            name: type_name::<Named>,
            location,
        };
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
                let tasks = &self.inner().tasks;
                self.inner().turn_begins();
                let poll =
                    tasks.while_running(root.id(), &waker, || future.as_mut().poll(&mut context));
                self.inner().poll_ended(origin);
                self.inner().turn_ended();
                if let Poll::Ready(output) = poll {
                    return Ok(output);
                }
            }
            self.run_turn(None)?;
        }
    }

    /// Runs one turn: polls the kernel, then the tasks that are ready, but of those that
    /// move much only some ([Fairness](crate#fairness)): [`Turn::more`] tells whether
    /// others are left.
    ///
    /// If no task is ready, it waits up to `timeout` (`None`: as long as it
    /// takes) for a socket, a deadline or another thread; the wait is rounded up
    /// to whole milliseconds. It may end early: at a signal, to free memory that
    /// has been idle for seconds, or shortly before a deadline that is polled for
    /// ([`Builder::busy_poll`]). Memory is freed in turns only. To have a
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
        self.inner().counters.turns.add(1);
        self.inner().counters.events.add(events as u64);
        self.turns = self.turns.wrapping_add(1);
        if self.turns.is_multiple_of(BETWEEN_SWEEPS) || self.inner().pool.has_spare() {
            // One that is never idle, or never for long, has no other occasion.
            self.inner().pool.sweep_if_due(Instant::now());
        }
        self.inner().fire_timers();
        self.inner().resume_spent();
        self.take_in();
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
        let mut timeout = timeout;
        let mut may_wait = !self.has_work() && self.inner().awake.try_idle();
        if may_wait && self.spin.is_on() {
            let start = Instant::now();
            if let Some(count) = self.poll_busily(start, timeout)? {
                return Ok(count);
            }
            timeout = timeout.map(|timeout| timeout.saturating_sub(start.elapsed()));
            may_wait = !self.has_work() && self.inner().awake.try_idle();
        }
        let timeout = if may_wait {
            self.inner().time_to_wait(timeout, self.spin.is_on())
        } else {
            Some(Duration::ZERO)
        };
        if timeout != Some(Duration::ZERO) {
            self.inner().counters.sleeps.add(1);
        }
        let count = self.poll_once(timeout)?;
        if count == 0 && may_wait {
            self.inner().pool.sweep_if_due(Instant::now());
        }
        if self.spin.is_on() && (count > 0 || self.has_work()) {
            self.spin.ended(Instant::now());
        }
        Ok(count)
    }

    /// Polls the kernel without waiting, until something has come or is due.
    ///
    /// Returns `None` when it is time to sleep. Other threads that call
    /// meanwhile need no system call for it: their work is looked for as well.
    fn poll_busily(
        &mut self,
        start: Instant,
        limit: Option<Duration>,
    ) -> io::Result<Option<usize>> {
        let deadline = self.inner().timers.borrow().next_deadline();
        let limit = limit.and_then(|limit| start.checked_add(limit));
        let Some(until) = self.spin.until(start, deadline) else {
            return Ok(None);
        };
        self.inner().awake.leave_idle();
        loop {
            let count = self.poll_once(Some(Duration::ZERO))?;
            let now = Instant::now();
            if count > 0 || self.has_work() {
                self.spin.ended(now);
                return Ok(Some(count));
            }
            if [deadline, limit].iter().flatten().any(|&end| end <= now) {
                return Ok(Some(0));
            }
            self.inner().pool.sweep_if_due(now);
            if now >= until {
                self.spin.failed();
                return Ok(None);
            }
            self.inner().counters.spins.add(1);
            std::hint::spin_loop();
        }
    }

    /// Polls the kernel once, and wakes those whose sockets are ready.
    fn poll_once(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let polled = self.poll.poll(&mut self.events, timeout);
        self.inner().awake.leave_idle();
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
                io.dispatch(event, &self.inner().tasks);
            }
        }
        Ok(count)
    }

    /// Takes in what other threads, and wakers, have brought.
    fn take_in(&mut self) {
        let inner = &self.handle.inner;
        inner.awake.take_announced(|| {
            inner.counters.wake_ups.add(1);
            inner.tasks.take_woken(&inner.ready);
            self.jobs.run(&self.handle);
        });
    }

    /// Polls the tasks that are ready by now: all that are sparse, and bulk ones as far
    /// as their share goes. They may move as much, and take as long, as the sparse ones,
    /// of which some may move nothing and compute.
    fn run_ready(&self) -> usize {
        let inner = self.inner();
        inner.turn_begins();
        // To ask for the time costs as much as a small task.
        let began = (inner.tasks.runnable_of(Flow::Bulk) > 0).then(Instant::now);
        let mut ran = self.run_flow(Flow::Sparse, |_| true);
        if let Some(began) = began {
            let (share, took) = (ran.moved.max(SHARE), began.elapsed());
            let goes_on = |moved| moved < share || began.elapsed() < 2 * took;
            ran.tasks += self.run_flow(Flow::Bulk, goes_on).tasks;
        }
        inner.turn_ended();
        inner.counters.polls.add(ran.tasks as u64);
        ran.tasks
    }

    /// Polls the tasks of one flow that are ready by now, as long as it `goes_on` after
    /// what they have moved.
    #[inline]
    fn run_flow(&self, flow: Flow, goes_on: impl Fn(usize) -> bool) -> Ran {
        let inner = self.inner();
        let mut ran = Ran::default();
        for left in (1..=inner.tasks.runnable_of(flow)).rev() {
            let Some(id) = inner.tasks.next_runnable(flow, left) else {
                break;
            };
            if Some(id) == self.root {
                inner.root_ready.set(true);
                continue;
            }
            let others_wait = flow == Flow::Sparse && inner.tasks.runnable() > 0;
            inner.budget.renew(if others_wait { SPARSE } else { LIMIT });
            if let Some(origin) = inner.tasks.run(id, &inner.budget) {
                inner.poll_ended(origin);
                ran.tasks += 1;
                ran.moved += inner.budget.spent();
            }
            if !goes_on(ran.moved) {
                break;
            }
        }
        ran
    }

    fn has_work(&self) -> bool {
        self.inner().is_any_ready()
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
        self.inner().pool.close();
        self.inner().tasks.abort_all();
        self.inner().wake_all();
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner().fmt_as("Reactor", f)
    }
}

/// What the tasks of a flow did in a turn.
#[derive(Clone, Copy, Debug, Default)]
struct Ran {
    /// How many were polled.
    tasks: usize,
    /// What they spent of their budgets, in bytes.
    moved: usize,
}

/// What one [`Reactor::turn`] did.
///
/// # Examples
///
/// See [`Reactor::turn`].
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

/// How many turns lie between two looks at whether idle memory is to be freed.
///
/// A look at the clock costs a twentieth of a round trip's instructions; where something
/// small comes every second, these turns are how long idle memory may be kept.
const BETWEEN_SWEEPS: u32 = 8;
